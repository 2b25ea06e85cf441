"""Programs of an introduction to fully connected networks, written for torch: the imports are changed, nothing else."""

import re

import numpy as np
import pytest

NETWORK = '''
import fastmlp as torch
from fastmlp import nn
from fastmlp import optim
from fastmlp.nn import functional as F

torch.manual_seed(42)

class MyFcnn(nn.Module):
    def __init__(self, input_size):
        super(MyFcnn, self).__init__()
        self.fc1 = nn.Linear(input_size, 64)
        nn.init.kaiming_uniform_(self.fc1.weight)
        nn.init.zeros_(self.fc1.bias)
        self.fc2 = nn.Linear(64, 32)
        nn.init.kaiming_uniform_(self.fc2.weight)
        nn.init.zeros_(self.fc2.bias)
        self.fc3 = nn.Linear(32, 1)
        nn.init.xavier_uniform_(self.fc3.weight)
        nn.init.zeros_(self.fc3.bias)

    def forward(self, x):
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        x = F.sigmoid(self.fc3(x))
        return x

input_size = 10
model = MyFcnn(input_size)
print(model)
criterion = nn.BCELoss()
optimizer = optim.Adam(model.parameters(), lr=0.01)

def train():
    model.train()
    x = torch.randn(100, input_size)
    y = torch.randint(0, 2, (100, 1)).float()
    epochs = 10
    for epoch in range(epochs):
        y_pred = model(x)
        loss = criterion(y_pred, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"Epoch [{epoch + 1}/{epochs}], Loss: {loss.item():.4f}")

X_test = torch.randn(20, input_size)
y_test = torch.randint(0, 2, (20, 1)).float()

def eval():
    model.eval()
    with torch.no_grad():
        y_pred = model(X_test)
        y_pred = (y_pred > 0.5).float()
        accuracy = (y_pred == y_test).float().mean().item()
        print(f"Test Accuracy: {accuracy:.4f}")

if __name__ == '__main__':
    train()
    eval()
'''

SOFTMAX = '''
import fastmlp as torch
import fastmlp.nn as nn

input_tensor = torch.tensor([[-1.0, 2.0, -3.0, 4.0], [-2, 3, -3, 9]])
softmax = nn.Softmax()
output_tensor = softmax(input_tensor)
torch.set_printoptions(sci_mode=False)
print("input:", input_tensor)
print("output:", output_tensor)
'''

#: what each plot differs in: how y is written, its derivative in NumPy
PLOTS = {
    "torch.sigmoid(x)": lambda x: np.exp(-x) / (1 + np.exp(-x)) ** 2,
    "torch.tanh(x)": lambda x: 1 - np.tanh(x) ** 2,
    "F.relu(x)": lambda x: (x > 0) * 1.0,
    "F.leaky_relu(x, slope)": lambda x: np.where(x > 0, 1, 0.03),
}
PLOT = '''
import fastmlp as torch
import fastmlp.nn.functional as F
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt

slope = 0.03
_, ax = plt.subplots(1, 2)
x = torch.linspace(-5, 5, 200)
y = {call}
ax[0].plot(x, y)
ax[0].plot(x.numpy(), y.numpy())
x = torch.linspace(-5, 5, 200, requires_grad=True)
{call}.sum().backward()
ax[1].plot(x.detach().numpy(), x.grad)
ax[1].plot(x.detach().numpy(), x.grad.detach().numpy())
ax[1].lines[0].set_color("red")
plt.show()
'''


def test_the_network_trains_and_is_evaluated(python):
    lines = python(NETWORK).splitlines()
    assert lines[:5] == [
        "MyFcnn(",
        "  (fc1): Linear(in_features=10, out_features=64, bias=True)",
        "  (fc2): Linear(in_features=64, out_features=32, bias=True)",
        "  (fc3): Linear(in_features=32, out_features=1, bias=True)",
        ")",
    ]
    epochs = [re.fullmatch(r"Epoch \[(\d+)/10\], Loss: (\d\.\d{4})", line) for line in lines[5:15]]
    assert [int(m[1]) for m in epochs] == list(range(1, 11))
    losses = [float(m[2]) for m in epochs]
    assert losses[-1] < losses[0]
    assert re.fullmatch(r"Test Accuracy: [01]\.\d\d[05]0", lines[15])
    assert len(lines) == 16


def test_the_same_seed_gives_the_same_run(python):
    assert python(NETWORK) == python(NETWORK)


def test_softmax_prints_what_the_article_shows(python):
    printed = python("import warnings; warnings.simplefilter('ignore')\n" + SOFTMAX)
    assert printed == (
        "input: tensor([[-1.,  2., -3.,  4.],\n"
        "        [-2.,  3., -3.,  9.]])\n"
        "output: tensor([[    0.0059,     0.1184,     0.0008,     0.8749],\n"
        "        [    0.0000,     0.0025,     0.0000,     0.9975]])\n"
    )


@pytest.mark.parametrize("call", PLOTS)
def test_an_activation_and_its_derivative_are_plotted(python, call):
    pytest.importorskip("matplotlib")
    found = python(
        "import warnings; warnings.simplefilter('ignore')\n"  # there is no screen to show it on
        + PLOT.replace("{call}", call)
        + "print([line.get_ydata().tolist() for line in (*ax[0].lines, *ax[1].lines)])"
    )
    values, again, slopes, slopes_again = np.array(eval(found))
    x = np.linspace(-5, 5, 200).astype(np.float32).astype(float)
    np.testing.assert_allclose(slopes, PLOTS[call](x), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(values, again)
    np.testing.assert_array_equal(slopes, slopes_again)
