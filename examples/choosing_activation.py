"""Which activation? python examples/choosing_activation.py [--out out/choosing_activation.png] [--epochs 12] [--seed 0]

Common advice for hidden layers: take ReLU; if it does not do well, leaky ReLU; mind that ReLU's units can die; not
sigmoid, rather tanh. It is put to the test: the same network, eight hidden layers of 64 units, reads scikit-learn's
digits with each activation. All numbers are means over two starts, and what is said of the advice follows from them.

gradient : norm of the first layer's gradient over that of the last layer's, before the first step: where it is
           tiny, it vanishes on its way back, and the first layers learn nothing
dead     : share of hidden units that passed no gradient in a whole epoch, after learning with a rate far too high
"""

import warnings

import numpy as np
from matplotlib.figure import Figure
from options import options
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fastmlp
from fastmlp import Monitor, Trainer, nn, optim

DEPTH, WIDTH, STARTS = 8, 64, 2
GOOD_RATE, HIGH_RATE = 1e-3, 3e-2  # of Adam
#: name -> the module, whose gain its weights are drawn for
ACTIVATIONS = {
    "relu": (nn.ReLU, "relu"),
    "leaky_relu": (nn.LeakyReLU, "leaky_relu"),
    "tanh": (nn.Tanh, "tanh"),
    "sigmoid": (nn.Sigmoid, "sigmoid"),
    "gelu": (nn.GELU, "relu"),  # has no gain of its own
}


def load(seed):
    """-> x_train, x_test (·, 64) of mean 0 and variance 1, labels_train, labels_test (·,)"""
    x, labels = load_digits(return_X_y=True)
    x = ((x - x.mean()) / x.std()).astype(np.float32)
    return train_test_split(x, labels, test_size=0.25, stratify=labels, random_state=seed)


def network(name):
    """Each activation with the weights made for it (He et al. 2015): N(0, gain² / inputs)."""
    activation, gain = ACTIVATIONS[name]
    layers = []
    for inputs in (64, *[WIDTH] * (DEPTH - 1)):
        linear = nn.Linear(inputs, WIDTH)
        nn.init.kaiming_normal_(linear.weight, nonlinearity=gain)
        nn.init.zeros_(linear.bias)
        layers += [linear, activation()]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 10))


def gradient_ratio(model, x, labels):
    """Norm of the first layer's gradient over that of the last layer's, for all rows at once."""
    monitor = Monitor()
    monitor.attach(model)
    nn.CrossEntropyLoss()(model(fastmlp.tensor(x)), fastmlp.tensor(labels)).backward()
    monitor.after_backward()
    monitor.end_epoch()
    monitor.detach()
    return next(iter(monitor.gradients.values()))


def trainer_of(model, rate):
    return Trainer(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=rate), metrics=["accuracy"])


def learn(model, data, epochs):
    """-> held-out accuracy after each epoch (epochs,)"""
    x, x_test, labels, labels_test = data
    history = trainer_of(model, GOOD_RATE).fit(
        x, labels, epochs=epochs, batch_size=64, validation_data=(x_test, labels_test), verbose=False
    )
    return np.array(history.history["val_accuracy"])


def learn_too_fast(model, data, epochs):
    """-> held-out accuracy in the end, share of dead hidden units in the last epoch, the only one that is watched"""
    x, x_test, labels, labels_test = data
    trainer, monitor = trainer_of(model, HIGH_RATE), Monitor()
    trainer.fit(x, labels, epochs=epochs - 1, batch_size=64, verbose=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the monitor's; its numbers are printed in the end
        trainer.fit(x, labels, batch_size=64, callbacks=[monitor], verbose=False)
    return trainer.evaluate(x_test, labels_test)["accuracy"], float(np.mean(list(monitor.dead.values())))


def measure(name, data, epochs, seed):
    """-> the numbers of one start"""
    fastmlp.manual_seed(seed)
    model = network(name)
    found = {"gradient": gradient_ratio(model, data[0], data[2])}
    found["curve"] = learn(model, data, epochs)
    found["accuracy"] = found["curve"][-1]
    found["accuracy, high rate"], found["dead"] = learn_too_fast(network(name), data, max(1, epochs // 2))
    return found


def verdicts(table):
    """The advice, and whether these numbers show it."""
    a, gradient = {name: row["accuracy"] for name, row in table.items()}, table["sigmoid"]["gradient"]
    relu, leaky, best = table["relu"], table["leaky_relu"], max(a, key=a.get)
    relu_high, leaky_high = relu["accuracy, high rate"], leaky["accuracy, high rate"]
    yield "take ReLU", a["relu"] >= a[best] - 0.01, f"{a['relu']:.1%}; the best is {best} with {a[best]:.1%}"
    yield "not sigmoid, rather tanh", a["tanh"] > a["sigmoid"] + 0.01, f"{a['sigmoid']:.1%} against {a['tanh']:.1%}"
    yield "sigmoid's gradient vanishes", gradient < 1e-3, f"{gradient:.1e} of the last layer's reaches the first"
    yield "ReLU's units can die", relu["dead"] > 0.1, f"{relu['dead']:.0%} are dead at the high rate"
    yield "those of leaky ReLU do not", leaky["dead"] < 0.01, f"{leaky['dead']:.0%}"
    better = leaky_high > relu_high + 0.01
    yield "so leaky ReLU learns better there", better, f"{leaky_high:.1%} against {relu_high:.1%}"


def picture(table):
    figure = Figure(figsize=(13, 4), layout="constrained")
    curves, gradients, dead = figure.subplots(1, 3)
    colors = [f"C{i}" for i in range(len(table))]
    for name, row in table.items():
        curves.plot(np.arange(1, len(row["curve"]) + 1), 100 * row["curve"], label=name)
    curves.set(title=f"learning rate {GOOD_RATE:g}", xlabel="epoch", ylabel="held-out accuracy, %", ylim=(0, 100))
    curves.xaxis.get_major_locator().set_params(integer=True)
    curves.legend()
    bars = gradients.bar(list(table), [row["gradient"] for row in table.values()], color=colors)
    gradients.bar_label(bars, fmt="%.2g")
    gradients.set(title="gradient: first layer / last layer, at the start", yscale="log", ylim=(None, 3))
    bars = dead.bar(list(table), [100 * row["dead"] for row in table.values()], color=colors)
    dead.bar_label(bars, fmt="%.1f")
    dead.set(title=f"learning rate {HIGH_RATE:g}: dead units, %", ylim=(0, 100))
    return figure


def main():
    args = options(__doc__, "out/choosing_activation.png", epochs=12)
    data, table = load(args.seed), {}
    print(f"{DEPTH} hidden layers of {WIDTH}, {args.epochs} epochs; with the high rate {max(1, args.epochs // 2)}")
    columns = ("accuracy", "gradient", "dead", "accuracy, high rate")
    print("".join([f"{'':12}", *(f"{column:>{len(column) + 4}}" for column in columns)]))
    for name in ACTIVATIONS:
        starts = [measure(name, data, args.epochs, args.seed + i) for i in range(STARTS)]
        row = table[name] = {key: np.mean([start[key] for start in starts], axis=0) for key in starts[0]}
        print(f"{name:12}{row['accuracy']:12.1%}{row['gradient']:12.2g}{row['dead']:8.1%}{row[columns[3]]:23.1%}")
    print()
    for advice, shows, why in verdicts(table):
        print(f"{'yes' if shows else 'NOT HERE':8}  {advice}: {why}")
    picture(table).savefig(args.out)
    print(f"\ncurves, gradients, dead units: {args.out}")


if __name__ == "__main__":
    main()
