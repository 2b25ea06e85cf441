"""Learn to read handwritten digits with `fastmlp.ops` alone: python examples/digits.py [--out curve.png]

A 64-128-64-10 classifier learns scikit-learn's bundled digits (1797 real scans of 8 x 8 pixels). A quarter of
them is held out and never trained on. The loss curve is saved as PNG; then the same training step is timed on
the fused kernels and on the NumPy reference. The exit status is 1 if the held-out accuracy is below 97 %.

    m batch   k features in   n features out   x (m, k)   w (n, k)   b (n,)   y = act(x wᵀ + b)  (m, n)
"""

import argparse
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure  # not pyplot: a bare Figure draws with Agg and needs no screen
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

import fastmlp
from fastmlp import ops

SIZES = (64, 128, 64, 10)
ACTIVATIONS = ("relu", "relu", "identity")  # the last layer gives logits
BATCH = 64
TARGET = 0.97


def load(seed):
    """-> x_train, x_test (·, 64) float32 within 0..1, labels_train, labels_test (·,) int64"""
    x, labels = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    return train_test_split(x, labels, test_size=0.25, stratify=labels, random_state=seed)


def layers_of(flat):
    """The (w, b) of every layer as views into one flat vector, so that an optimizer sees a single array."""
    layers, start = [], 0
    for k, n in pairwise(SIZES):
        w, b = np.split(flat[start : start + n * k + n], [n * k])
        layers.append((w.reshape(n, k), b))
        start += n * k + n
    return layers


def he_initialised(rng):
    """All parameters in one float32 vector: w ~ N(0, 2/k), which keeps the variance through relu; b = 0."""
    flat = np.zeros(sum(n * k + n for k, n in pairwise(SIZES)), np.float32)
    for w, _ in layers_of(flat):
        w[...] = rng.normal(0, np.sqrt(2 / w.shape[1]), w.shape)
    return flat


def gradients(layers, grads, x, labels):
    """The loss of a batch x (m, 64), labels (m,); its gradient is written into `grads`, shaped as `layers`."""
    tape = []
    for (w, b), act in zip(layers, ACTIVATIONS):
        y, saved = ops.linear(x, w, b, act, save=True)  # matmul, bias and activation in one pass
        tape.append((x, saved))
        x = y
    loss, dy = ops.cross_entropy(x, labels)  # the loss and its gradient in one pass
    for i in reversed(range(len(layers))):
        (x, saved), (w, _), (dw, db) = tape[i], layers[i], grads[i]
        # dw and db go straight into the flat gradient; nobody needs dx of the first layer
        dy, _, _ = ops.linear_backward(dy, x, w, saved, ACTIVATIONS[i], dx=i > 0, dw=dw, db=db)
    return float(loss)


def evaluate(layers, x, labels):
    """-> mean loss, share of right answers"""
    for (w, b), act in zip(layers, ACTIVATIONS):
        x = ops.linear(x, w, b, act)
    loss, _ = ops.cross_entropy(x, labels)
    return float(loss), float((x.argmax(axis=1) == labels).mean())


class Adam:
    """Kingma & Ba 2015, over one flat vector."""

    def __init__(self, parameters, lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        self.parameters, self.lr, self.beta1, self.beta2, self.eps = parameters, lr, beta1, beta2, eps
        self.m, self.v, self.t = np.zeros_like(parameters), np.zeros_like(parameters), 0

    def step(self, g):
        self.t += 1
        self.m += (1 - self.beta1) * (g - self.m)
        self.v += (1 - self.beta2) * (g * g - self.v)
        rate = self.lr * (1 - self.beta2**self.t) ** 0.5 / (1 - self.beta1**self.t)
        self.parameters -= rate * self.m / (np.sqrt(self.v) + self.eps)


def train(flat, data, epochs, rng):
    """Train the parameters `flat` in place. -> a row for each epoch: train loss, test loss, test accuracy"""
    x_train, x_test, labels_train, labels_test = data
    gradient, history = np.zeros_like(flat), []
    layers, grads, optimizer = layers_of(flat), layers_of(gradient), Adam(flat)
    for epoch in range(1, epochs + 1):
        order = rng.permutation(len(x_train))
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            gradients(layers, grads, x_train[batch], labels_train[batch])
            optimizer.step(gradient)
        train_loss, _ = evaluate(layers, x_train, labels_train)
        test_loss, accuracy = evaluate(layers, x_test, labels_test)
        history.append((train_loss, test_loss, accuracy))
        report(epoch, epochs, f"loss {train_loss:.4f}  held out {test_loss:.4f}  accuracy {accuracy:.2%}")
    return np.array(history)


def report(epoch, epochs, text):
    """One line that rewrites itself on a terminal; about ten plain lines in a log."""
    terminal, last = sys.stdout.isatty(), epoch == epochs
    if terminal or last or epoch % max(1, epochs // 10) == 0:
        print(f"epoch {epoch:3}/{epochs}  {text}", end="\r" if terminal and not last else "\n", flush=True)


def save_curve(history, path):
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = np.arange(1, len(history) + 1)
    left.semilogy(epochs, history[:, 0], label="train")
    left.semilogy(epochs, history[:, 1], label="held out")
    left.legend()
    left.set(xlabel="epoch", ylabel="mean loss", title="Cross-entropy")
    right.plot(epochs, 100 * history[:, 2])
    right.axhline(100 * TARGET, linestyle=":", color="grey", label=f"target, {TARGET:.0%}")
    right.legend()
    right.set(xlabel="epoch", ylabel="%", title=f"Held-out accuracy: {history[-1, 2]:.2%}")
    figure.savefig(path, dpi=120)


def compare(flat, x, labels, rounds=40, steps=25):
    """Print the time of one training step on the fused kernels and on NumPy, in turn A B A B, on one thread."""
    fused = fastmlp.get_backend()
    if fused == "numpy":
        print("timing: skipped, because the NumPy reference is itself the backend in use")
        return
    gradient = np.zeros_like(flat)
    layers, grads, optimizer = layers_of(flat), layers_of(gradient), Adam(flat)
    answers = {}
    for name in (fused, "numpy"):  # right first, then fast
        with fastmlp.use_backend(name):
            gradients(layers, grads, x, labels)
        answers[name] = gradient.copy()
    np.testing.assert_allclose(answers[fused], answers["numpy"], rtol=0, atol=1e-5 * np.abs(gradient).max())

    def turn():
        """-> seconds for each step: forward, loss and gradients alone; with Adam"""
        clock = [time.perf_counter()]
        for _ in range(steps):
            gradients(layers, grads, x, labels)
            clock.append(time.perf_counter())
            optimizer.step(gradient)
            clock.append(time.perf_counter())
        spans = np.diff(clock)
        return spans[::2].mean(), spans.mean() * 2

    turns = {fused: [], "numpy": []}
    fastmlp.set_num_threads(1)
    with threadpool_limits(1):  # more of NumPy's threads would still spin when the next turn begins
        for _ in range(rounds):
            for name in turns:
                with fastmlp.use_backend(name):
                    turns[name].append(turn())
    print(f"time per training step, batch {len(x)}, one thread: median of {rounds} turns [quartiles]")
    print(f"{'':28}{fused + ', fused':>20}{'numpy, reference':>20}{'ratio':>8}")
    quartiles = [1e6 * np.percentile(t, [50, 25, 75], axis=0).T for t in turns.values()]
    for what, a, b in zip(("forward, loss, gradients", "the same and Adam in NumPy"), *quartiles):
        cells = ("{:.0f} µs [{:.0f}-{:.0f}]".format(*q) for q in (a, b))
        print("{:28}{:>20}{:>20}{:>7.2f}x".format(what, *cells, b[0] / a[0]))


def main():
    parser = argparse.ArgumentParser(description="Train a digit classifier with fastmlp.ops; time its kernels.")
    parser.add_argument("--out", type=Path, default=Path("out/digits.png"), help="where to save the loss curve")
    parser.add_argument("--epochs", type=int, default=40, help="passes over the training data")
    parser.add_argument("--seed", type=int, default=0, help="of the split, the weights and the order")
    args = parser.parse_args()
    if args.epochs < 1:
        parser.error(f"--epochs: expected at least 1, got {args.epochs}")
    kinds = Figure().canvas.get_supported_filetypes()
    if args.out.suffix[1:].lower() not in kinds:
        parser.error(f"--out: expected a file that ends in one of {', '.join(kinds)}, got {args.out}")
    try:
        args.out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        parser.error(f"--out: {e}")

    data = x_train, x_test, labels_train, _ = load(args.seed)
    rng = np.random.default_rng(args.seed)
    flat = he_initialised(rng)
    print(f"digits: {len(x_train)} to learn from, {len(x_test)} held out; backend {fastmlp.get_backend()}")
    history = train(flat, data, args.epochs, rng)
    save_curve(history, args.out)
    print(f"loss curve: {args.out}")
    accuracy = history[-1, 2]
    if accuracy < TARGET:
        sys.exit(f"error: held-out accuracy {accuracy:.2%} is below {TARGET:.0%} after {args.epochs} epochs")
    compare(he_initialised(rng), x_train[:BATCH], labels_train[:BATCH])


if __name__ == "__main__":
    main()
