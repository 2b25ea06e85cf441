"""Compiled networks in files."""

import numpy as np
import pytest
from networks import EAGER, LABELS, MODELS, K, Residual, Written, X, plainly, training

import fastmlp as fm


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
@pytest.mark.parametrize("name", [name for name in MODELS if name not in EAGER])
def test_a_saved_network_predicts_alike(tmp_path, name, suffix):
    model, loss, optimizer = training(MODELS[name])
    for _ in range(3):
        plainly(model, loss, optimizer, X.astype("f"), LABELS)
    net, path = fm.compile(model), tmp_path / f"net.{suffix}"
    net.save(path)
    again = fm.Network.load(path)
    np.testing.assert_array_equal(again.predict(X.astype("f")), net.predict(X.astype("f")))
    assert again.reason is None and not again.model.training


def test_what_cannot_be_saved_or_loaded(tmp_path):
    with pytest.raises(RuntimeError, match=r"save: the model is no chain of layers: add\(\) is not a layer"):
        fm.compile(Residual()).save(tmp_path / "net.npz")
    fm.save(Written().state_dict(), tmp_path / "state.npz")
    with pytest.raises(ValueError, match=r"state\.npz: expected a file that Network.save wrote"):
        fm.Network.load(tmp_path / "state.npz")
    linear = {"kind": "linear", "activation": "relu", "weight": np.ones((2, K))}
    for entry in (
        *({"kind": "convolution"}, {"king": "linear"}, linear | {"weight": "w"}, linear | {"activation": "rely"}),
        *({"kind": "linear"}, {"kind": "prelu"}, {"kind": "activation"}, linear | {"params": {"alpha": 1.0}}),
    ):
        fm.save({"format": "fastmlp predictor 1", "layers": [entry]}, tmp_path / "bad.npz")
        with pytest.raises(ValueError, match=r"bad\.npz: its layers are damaged"):
            fm.Network.load(tmp_path / "bad.npz")
