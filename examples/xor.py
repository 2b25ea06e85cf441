"""One layer cannot learn XOR, two can: python examples/xor.py [--out out/xor.png] [--epochs 500] [--seed 0]

A single layer separates the plane by a straight line, and no line has (0, 0) and (1, 1) on its one side, (0, 1) and
(1, 0) on the other (Minsky & Papert, Perceptrons, 1969): at most 3 of the 4 points are right. A hidden layer bends it.
"""

from matplotlib.figure import Figure
from options import options

import fastmlp
from fastmlp import nn, optim, plots

X = fastmlp.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
Y = fastmlp.tensor([[0.0], [1.0], [1.0], [0.0]])


def train(model, epochs):
    """Learns the four points, all of them in each step. -> the share that is right afterwards"""
    criterion = nn.BCELoss()
    optimizer = optim.Adam(model.parameters(), lr=0.05)
    for _ in range(epochs):
        loss = criterion(model(X), Y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with fastmlp.no_grad():
        right = (model(X) > 0.5).float() == Y
    print(f"loss {loss.item():.4f}  accuracy {right.float().mean().item():.0%}")
    return right.float().mean().item()


def main():
    args = options(__doc__, "out/xor.png", epochs=500)
    fastmlp.manual_seed(args.seed)
    models = {
        "one layer": nn.Sequential(nn.Linear(2, 1), nn.Sigmoid()),
        "two layers": nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1), nn.Sigmoid()),
    }
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, (name, model) in zip(figure.subplots(1, 2), models.items()):
        print(f"{name:10}  ", end="")
        accuracy = train(model, args.epochs)
        plots.decision_boundary(model, X, Y, axes=axes)
        axes.set(title=f"{name}: accuracy {accuracy:.0%}", xlabel="first input", ylabel="second input")
    figure.suptitle("the probability of XOR = 1")
    figure.savefig(args.out)
    print(f"decision boundaries: {args.out}")


if __name__ == "__main__":
    main()
