"""How a disease goes on: python examples/regression.py [--out out/regression.png] [--epochs 100] [--seed 0]

scikit-learn's diabetes: 442 patients, 10 measurements of each, and how far the disease has gone a year later. A network
learns it with the mean squared error, beside a straight line in all inputs and the mere mean. R² is 1 for perfect
predictions and 0 for the mean. So few patients make the score of one split a matter of luck, so all are predicted in
turn: five times a fifth is held out, and what predicts it has learnt from the others.
"""

import numpy as np
from matplotlib.figure import Figure
from options import options
from sklearn.datasets import load_diabetes
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold

import fastmlp
from fastmlp import Trainer, metrics, nn, optim


def standardized(train, test):
    """Both, by mean and standard deviation of what may be learnt from."""
    mean, std = train.mean(axis=0), train.std(axis=0)
    return (train - mean) / std, (test - mean) / std


def network(x, y, x_test, epochs, history):
    """Learns (m, 10) -> (m,), stops early by a fifth of it. -> what it says to x_test. `history` gets the curves."""
    x, x_test = standardized(x, x_test)
    target, _ = standardized(y[:, None], y[:, None])
    model = nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.1)
    trainer = Trainer(model, nn.MSELoss(), optimizer)
    history.append(trainer.fit(x, target, epochs=epochs, validation_split=0.2, early_stopping=10, verbose=False))
    return trainer.predict(x_test)[:, 0] * y.std() + y.mean()


def picture(histories, y, predictions):
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for fold, history in enumerate(histories, 1):
        (line,) = left.plot(history.epochs, history.history["loss"], label=f"part {fold}")
        left.plot(history.epochs, history.history["val_loss"], "--", color=line.get_color())
    left.set(title="network: learning (lines), validation (dashes)", xlabel="epoch", ylabel="mean squared error")
    left.legend(title="held out")
    right.scatter(y, predictions, s=10, alpha=0.6)
    right.axline((y.mean(), y.mean()), slope=1, color="grey", linestyle=":", label="perfect")
    right.set(title="held-out patients", xlabel="truth", ylabel="prediction of the network")
    right.legend()
    return figure


def main():
    args = options(__doc__, "out/regression.png", epochs=100)
    fastmlp.manual_seed(args.seed)
    x, y = load_diabetes(return_X_y=True)
    names = ("mean", "linear regression", "network")
    predictions, histories = {name: np.empty_like(y) for name in names}, []
    for learn, held in KFold(5, shuffle=True, random_state=args.seed).split(x):
        for name, model in (("mean", DummyRegressor()), ("linear regression", LinearRegression())):
            predictions[name][held] = model.fit(x[learn], y[learn]).predict(x[held])
        predictions["network"][held] = network(x[learn], y[learn], x[held], args.epochs, histories)

    print(f"diabetes: {len(y)} patients, each predicted by what has not seen it")
    print(f"{'':18}{'R²':>8}{'mean error':>12}")
    for name, p in predictions.items():
        print(f"{name:18}{metrics.r2_score(p, y):8.3f}{metrics.mean_absolute_error(p, y):12.1f}")
    picture(histories, y, predictions["network"]).savefig(args.out)
    print(f"curves and predictions: {args.out}")


if __name__ == "__main__":
    main()
