"""Yes or no: python examples/binary.py [--out out/binary.png] [--epochs 100] [--seed 0]

scikit-learn's breast_cancer: 569 tumours, 30 measurements of each; is it benign? A quarter is held out for the end. Of
the rest a fifth tells when to stop: when its loss has not improved for ten epochs. The parameters of the best are kept.
"""

from options import options
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

import fastmlp
from fastmlp import Trainer, nn, optim


def main():
    args = options(__doc__, "out/binary.png", epochs=100)
    x, y = load_breast_cancer(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.25, stratify=y, random_state=args.seed)
    mean, std = x_train.mean(axis=0), x_train.std(axis=0)
    x_train, x_test = (x_train - mean) / std, (x_test - mean) / std
    y_train, y_test = (y[:, None].astype(float) for y in (y_train, y_test))  # (m, 1), as the model's output

    fastmlp.manual_seed(args.seed)
    model = nn.Sequential(nn.Linear(30, 16), nn.ReLU(), nn.Linear(16, 1))  # a logit; the loss has the sigmoid within
    optimizer = optim.AdamW(model.parameters(), lr=3e-3, weight_decay=2.0)  # few samples: the weights are kept small
    trainer = Trainer(model, nn.BCEWithLogitsLoss(), optimizer, metrics=["accuracy"])
    history = trainer.fit(x_train, y_train, epochs=args.epochs, validation_split=0.2, early_stopping=10)

    held_out = trainer.evaluate(x_test, y_test)
    always = max(y_test.mean(), 1 - y_test.mean())
    best = history.best
    print(f"best epoch {best['epoch']} of {len(history.epochs)}: validation loss {best['val_loss']:.4f}")
    print(f"held-out accuracy {held_out['accuracy']:.2%}, of {len(y_test)}; always the commoner answer: {always:.2%}")
    history.plot(args.out)
    print(f"curves: {args.out}")


if __name__ == "__main__":
    main()
