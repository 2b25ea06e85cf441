"""Records what torch's losses are along the training runs of tests/test_nn.py, for machines without torch.

    python tools/record_torch.py        writes tests/torch_losses.json; needs torch
"""

import json
import sys
from pathlib import Path

import torch

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS))

import test_nn  # noqa: E402


def main():
    torch.set_default_dtype(torch.float64)  # of what NAdam keeps
    runs = {test_nn.run_name(*run): test_nn.losses(torch, *run, "float64").tolist() for run in test_nn.RUNS}
    text = json.dumps({"torch": torch.__version__, "steps": test_nn.STEPS, "runs": runs}, indent=1)
    (TESTS / "torch_losses.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
