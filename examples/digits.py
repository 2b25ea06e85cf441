"""Learn to read handwritten digits: python examples/digits.py [--out out/digits.png] [--epochs 30] [--seed 0]

A 64-256-64-10 classifier learns scikit-learn's bundled digits (1797 real scans of 8 x 8 pixels). A quarter of them is
held out and never trained on. The curves of loss and accuracy are saved as digits.png, histograms of the weights
beside them as digits_weights.png. The exit status is 1 if the held-out accuracy is below 97 %.
"""

import sys
from time import perf_counter

from options import options
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fastmlp
from fastmlp import Trainer, nn, optim, plots
from fastmlp.optim.lr_scheduler import CosineAnnealingLR

TARGET = 0.97


def load(seed):
    """-> x_train, x_test (·, 64) within 0..1, labels_train, labels_test (·,) integers"""
    x, labels = load_digits(return_X_y=True)
    return train_test_split(x / 16, labels, test_size=0.25, stratify=labels, random_state=seed)


def main():
    args = options(__doc__, "out/digits.png", epochs=30)
    x_train, x_test, labels_train, labels_test = load(args.seed)
    print(f"digits: {len(x_train)} to learn from, {len(x_test)} held out; backend {fastmlp.get_backend()}")

    fastmlp.manual_seed(args.seed)
    model = nn.Sequential(
        nn.Linear(64, 256), nn.ReLU(),
        nn.Linear(256, 64), nn.ReLU(),
        nn.Linear(64, 10),  # logits: softmax is within the loss
    )  # fmt: skip
    optimizer = optim.Adam(model.parameters(), lr=5e-3)
    scheduler = CosineAnnealingLR(optimizer, args.epochs)  # large steps first, small ones in the end
    trainer = Trainer(model, nn.CrossEntropyLoss(), optimizer, metrics=["accuracy"], scheduler=scheduler)
    begin = perf_counter()
    # the held-out quarter is looked at after each epoch, for the curves; nothing is learnt or chosen by it
    history = trainer.fit(x_train, labels_train, epochs=args.epochs, validation_data=(x_test, labels_test))
    seconds = perf_counter() - begin

    held_out = trainer.evaluate(x_test, labels_test)
    print(f"{args.epochs} epochs in {seconds:.2f} s: held-out accuracy {held_out['accuracy']:.2%}")
    weights = args.out.with_stem(f"{args.out.stem}_weights")
    history.plot(args.out)
    plots.weights(model, path=weights)
    print(f"curves: {args.out}\nweights: {weights}")
    if held_out["accuracy"] < TARGET:
        sys.exit(f"error: held-out accuracy {held_out['accuracy']:.2%} is below {TARGET:.0%}")


if __name__ == "__main__":
    main()
