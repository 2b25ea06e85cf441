"""The programs of an introduction to fully connected networks, written for torch: only the imports are changed.

    python examples/article.py [--out out/article.png]

A classifier of random data, trained and tested; softmax; sigmoid, tanh, ReLU and leaky ReLU beside their derivatives.
"""

from matplotlib.figure import Figure
from options import options

import fastmlp as torch
from fastmlp import nn, optim
from fastmlp.nn import functional as F

torch.manual_seed(42)


class MyFcnn(nn.Module):
    def __init__(self, input_size):
        super(MyFcnn, self).__init__()  # noqa: UP008
        # each layer takes as many numbers as the one before it gives
        self.fc1 = nn.Linear(input_size, 64)
        # weights for ReLU by He, biases 0
        nn.init.kaiming_uniform_(self.fc1.weight)
        nn.init.zeros_(self.fc1.bias)
        self.fc2 = nn.Linear(64, 32)
        nn.init.kaiming_uniform_(self.fc2.weight)
        nn.init.zeros_(self.fc2.bias)
        self.fc3 = nn.Linear(32, 1)
        # weights for sigmoid by Glorot (Xavier)
        nn.init.xavier_uniform_(self.fc3.weight)
        nn.init.zeros_(self.fc3.bias)

    def forward(self, x):
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        x = F.sigmoid(self.fc3(x))  # a probability
        return x


input_size = 10
model = MyFcnn(input_size)
print(model)
criterion = nn.BCELoss()
optimizer = optim.Adam(model.parameters(), lr=0.01)


def train():
    model.train()
    # 100 samples of 10 features, with random labels
    x = torch.randn(100, input_size)
    y = torch.randint(0, 2, (100, 1)).float()
    epochs = 10
    for epoch in range(epochs):
        # forward
        y_pred = model(x)
        loss = criterion(y_pred, y)
        # backward: the gradients of the last step would be added to
        optimizer.zero_grad()
        loss.backward()
        # update
        optimizer.step()
        print(f"Epoch [{epoch + 1}/{epochs}], Loss: {loss.item():.4f}")


# 20 samples to test it: labels at random, so about half of the answers are right
X_test = torch.randn(20, input_size)
y_test = torch.randint(0, 2, (20, 1)).float()


def eval():
    model.eval()
    with torch.no_grad():
        y_pred = model(X_test)
        y_pred = (y_pred > 0.5).float()
        accuracy = (y_pred == y_test).float().mean().item()
        print(f"Test Accuracy: {accuracy:.4f}")


def softmax():
    # the scores of two samples for four classes
    input_tensor = torch.tensor([[-1.0, 2.0, -3.0, 4.0], [-2, 3, -3, 9]])
    softmax = nn.Softmax(dim=1)  # without dim it is the same here, with a warning, as in torch
    output_tensor = softmax(input_tensor)
    # no scientific notation
    torch.set_printoptions(sci_mode=False)
    print("Input tensor:", input_tensor)
    print("Output tensor:", output_tensor)


def plot(path):
    """The activations of the article, each over its own range, and their derivatives."""
    activations = {
        "sigmoid": (torch.sigmoid, 10),
        "tanh": (torch.tanh, 10),
        "ReLU": (F.relu, 20),
        "Leaky ReLU, slope 0.03": (lambda x: F.leaky_relu(x, 0.03), 5),
    }
    figure = Figure(figsize=(8, 11), layout="constrained")
    for ax, (name, (f, limit)) in zip(figure.subplots(4, 2), activations.items()):
        x = torch.linspace(-limit, limit, 1000)
        ax[0].plot(x, f(x))
        ax[0].set_title(name)
        ax[0].set_ylabel("y")
        # automatic differentiation; backward needs one number, and each y depends on its own x alone
        x = torch.linspace(-limit, limit, 1000, requires_grad=True)
        f(x).sum().backward()
        ax[1].plot(x.detach().numpy(), x.grad.detach().numpy(), color="red")
        ax[1].set_title(f"derivative of {name}", color="red")
        ax[1].set_ylabel("x.grad")
        for a in ax:
            a.set_xlabel("x")
            a.grid(True)
    figure.savefig(path)
    print(f"pictures of the activations: {path}")


if __name__ == "__main__":
    args = options(__doc__, "out/article.png")
    train()
    eval()
    softmax()
    plot(args.out)
