"""Files: what was saved comes back, others can read it, and a damaged file is a ValueError of bounded size."""

import io
import json
import struct
import warnings
import zipfile

import numpy as np
import pytest

import fastmlp
from fastmlp import nn, optim
from fastmlp.io import load, safetensors, save

SUFFIXES = (".npz", ".safetensors")
DTYPES = "float64 float32 float16 int64 int32 int16 int8 uint64 uint32 uint16 uint8 bool".split()


def example():
    rng = np.random.default_rng(0)
    state = {f"{i}.{dtype}": (rng.normal(size=(i % 3, 4)) * 50).astype(dtype) for i, dtype in enumerate(DTYPES[:7])}
    return state | {"scalar": np.array(2.5), "empty": np.empty((0, 3), np.float32), "mask": np.array([True, False])}


def assert_same(got, state):
    """Both are dicts, of arrays or of the tensors that `load` gives."""
    assert set(got) == set(state)
    for name, a in state.items():
        found = got[name] if isinstance(got[name], np.ndarray) else got[name].numpy()
        assert found.dtype == a.dtype, name
        assert found.flags.writeable
        np.testing.assert_array_equal(found, a, strict=True)


@pytest.fixture(params=SUFFIXES)
def path(request, tmp_path):
    return tmp_path / f"state{request.param}"


# ------------------------------------------------------------------------------------- there and back


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (0,), (5,), (2, 3), (0, 4), (2, 0, 3), (3, 1, 2)])
def test_every_dtype_and_shape(path, dtype, shape):
    a = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    save({"a": a}, path)
    assert_same(load(path), {"a": a})


def test_every_layout(path):
    a = np.arange(24.0).reshape(2, 3, 4)
    state = {"T": a.T, "steps": a[:, ::-1, ::2], "fortran": np.asfortranarray(a), "big": a.astype(">f8")}
    save(state, path)
    assert_same(load(path), {name: a.astype(np.float64) for name, a in state.items()})


def test_special_values_keep_their_bits(path):
    bits = np.array([0x7FC00001, 0xFFC00000, 0x80000000, 0x7F800000, 1], np.uint32)
    save({"a": bits.view(np.float32)}, path)
    np.testing.assert_array_equal(load(path)["a"].numpy().view(np.uint32), bits)


@pytest.mark.parametrize("name", ["../../etc/x", "/root", "file", "self", "a.npy", "ä β", "", " ", "C:\\x", "a\nb"])
def test_a_name_is_just_a_name(path, name):
    save({name: np.ones(2)}, path)
    assert_same(load(path), {name: np.ones(2)})
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_nothing_at_all(path):
    save({}, path)
    assert load(path) == {}


def test_a_nested_state(path):
    weights = {"0.weight": np.ones((2, 3), np.float32), "0.bias": np.zeros(2, np.float32)}
    moments = {0: {"step": np.array(3.0), "m": np.arange(6.0)}, 1: {"step": np.array(3.0), "m": np.arange(2.0)}}
    group = {"lr": 1e-3, "betas": (0.9, 0.999), "amsgrad": False, "maximize": None, "params": [0, 1], "name": "all"}
    state = {"model": weights, "optimizer": {"state": moments, "param_groups": [group]}, "epoch": 3, "best": np.inf}
    save(state, path)
    got = load(path)
    assert_same(got["model"], weights)
    assert set(got["optimizer"]["state"]) == {0, 1}
    for i, kept in moments.items():
        assert_same(got["optimizer"]["state"][i], kept)
    assert got["optimizer"]["param_groups"] == [group] and (got["epoch"], got["best"]) == (3, np.inf)
    assert type(got["optimizer"]["param_groups"][0]["betas"]) is tuple


def test_what_is_loaded_is_tensors(path):
    save({"w": np.ones(3)}, path)
    got = load(path, weights_only=True, map_location="cpu")["w"]
    assert type(got) is fastmlp.Tensor and got.unsqueeze(0).shape == (1, 3) and not got.requires_grad
    save({"model": {"w": np.ones(3), "t": fastmlp.ones(2)}, "epoch": 3}, path)
    got = load(path, weights_only=False)["model"]
    assert type(got["w"]) is type(got["t"]) is fastmlp.Tensor


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"map_location": "cuda"}, ValueError, "map_location: only None or 'cpu' is possible in fastmlp, got 'cuda'"),
        ({"weights_only": 1}, TypeError, "weights_only: expected True or False, got 1"),
    ],
)
def test_what_torchs_load_can_and_this_cannot(path, options, error, message):
    save({}, path)
    with pytest.raises(error, match=message):
        load(path, **options)


def test_a_nested_state_has_its_arrays_by_name(tmp_path):
    save({"model": {"w": np.ones(2)}, "epoch": 3}, tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as z:
        np.testing.assert_array_equal(z["model.w"], np.ones(2))


def test_numpy_reads_what_we_write(tmp_path):
    save(example(), tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as z:
        assert_same(dict(z), example())


@pytest.mark.parametrize("savez", [np.savez, np.savez_compressed])
def test_we_read_what_numpy_writes(tmp_path, savez):
    state = example() | {"fortran": np.asfortranarray(np.ones((2, 3))), "many": np.zeros(100_000)}
    savez(tmp_path / "s.npz", **state)
    assert_same(load(tmp_path / "s.npz"), state)


def test_safetensors_reads_what_we_write(tmp_path):
    package = pytest.importorskip("safetensors.numpy")
    save(example(), tmp_path / "s.safetensors")
    assert_same(package.load_file(tmp_path / "s.safetensors"), example())
    save({"model": {"w": np.ones(2)}, "epoch": 3}, tmp_path / "s.safetensors")
    assert_same(package.load_file(tmp_path / "s.safetensors"), {"model.w": np.ones(2)})


def test_we_read_what_safetensors_writes(tmp_path):
    package = pytest.importorskip("safetensors.numpy")
    package.save_file(example(), tmp_path / "s.safetensors", metadata={"format": "pt"})
    assert_same(load(tmp_path / "s.safetensors"), example())


def test_a_state_of_torch(tmp_path):
    torch = pytest.importorskip("torch")
    package = pytest.importorskip("safetensors.torch")
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    half = {"half": torch.randn(5).bfloat16()}
    package.save_file(model.state_dict() | half, tmp_path / "s.safetensors")
    expected = {name: t.numpy() for name, t in model.state_dict().items()} | {"half": half["half"].float().numpy()}
    assert_same(load(tmp_path / "s.safetensors"), expected)
    save(model.state_dict(), tmp_path / "t.npz")
    assert_same(load(tmp_path / "t.npz"), {name: t.numpy() for name, t in model.state_dict().items()})


def test_a_model_and_its_optimizer_go_on_where_they_were(path):
    x = fastmlp.tensor(np.random.default_rng(0).normal(size=(20, 3)), dtype=np.float32)

    def made(seed):
        fastmlp.manual_seed(seed)
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
        return model, optim.Adam(model.parameters(), lr=0.01)

    def learn(model, optimizer):
        for _ in range(5):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
        return {name: t.numpy().copy() for name, t in model.state_dict().items()}

    model, optimizer = made(0)
    learn(model, optimizer)
    save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 5}, path)
    expected = learn(model, optimizer)
    state = load(path)
    model, optimizer = made(1)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    assert_same(learn(model, optimizer), expected)
    assert state["epoch"] == 5


# ------------------------------------------------------------------------------ saving, and what cannot be


def test_an_interrupted_save_leaves_the_old_file(path, monkeypatch):
    save({"a": np.ones(3)}, path)

    def interrupted(fd):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save({"a": np.zeros(3)}, path)
    assert_same(load(path), {"a": np.ones(3)})
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_saving_through_a_link_keeps_the_link(path):
    link = path.with_name(f"link{path.suffix}")
    link.symlink_to(path)
    save({"a": np.ones(3)}, link)
    assert link.is_symlink()
    assert_same(load(path), {"a": np.ones(3)})


@pytest.mark.parametrize(
    "state, error, message",
    [
        ([1], TypeError, "state: expected a dict, got list"),
        ({"a": np.array(["x"])}, TypeError, "'a': expected an array of bools, integers or floats .*, got <U1"),
        ({"a": np.ones(2, complex)}, TypeError, "'a': expected an array of bools, .*, got complex128"),
        ({"a": np.array([None])}, TypeError, "'a': expected an array of bools, .*, got object"),
        ({"a": {"b": {1, 2}}}, TypeError, "'a.b': expected an array, a dict, .*, got set"),
        ({"a": {(1, 2): 1}}, TypeError, "'a': expected keys that are strings or numbers, got tuple"),
        ({"a.b": np.ones(1), "a": {"b": np.ones(1)}}, ValueError, "state: two arrays would be called 'a.b'"),
        ({"\ud800": np.ones(1)}, ValueError, "a name that is no Unicode text"),
    ],
)
def test_what_no_file_holds(path, state, error, message):
    with pytest.raises(error, match=message):
        save(state, path)
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize("name", ["a\0b", "x" * 70_000, "fastmlp.structure"])
def test_names_that_a_zip_cannot_hold(tmp_path, name):
    with pytest.raises(ValueError, match=r"\.npz file"):
        save({name: np.ones(1)}, tmp_path / "s.npz")


def test_a_name_that_safetensors_keeps_for_itself(tmp_path):
    with pytest.raises(ValueError, match=r"no array of a .safetensors file can be called so"):
        save({"__metadata__": np.ones(1)}, tmp_path / "s.safetensors")


@pytest.mark.parametrize("do", [lambda path: save({}, path), load])
def test_other_paths(tmp_path, do):
    with pytest.raises(ValueError, match=r"path: expected a name that ends in .npz or .safetensors, got '.*x.pt'"):
        do(tmp_path / "x.pt")
    with pytest.raises(TypeError, match="path: expected a str or a Path, got int"):
        do(3)


def test_another_name_is_suggested_for_a_file_to_be_written(tmp_path):
    with pytest.raises(ValueError, match=r"got '.*m\.pt'; how about .*m\.safetensors\?$"):
        save({}, tmp_path / "m.pt")


def test_a_folder_that_is_not_there_is_named(path):
    with pytest.raises(FileNotFoundError, match=r"^path: there is no folder '.*nofolder'$"):
        save({}, path.parent / "nofolder" / path.name)


def test_a_file_that_is_not_there(path):
    with pytest.raises(FileNotFoundError):
        load(path)


# ------------------------------------------------------------------------------------- damaged files


@pytest.fixture
def largest(monkeypatch):
    """[the most bytes that one np.empty was asked for]"""
    most, empty = [0], np.empty

    def watched(shape, dtype=float, **rest):
        most[0] = max(most[0], int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize)
        return empty(shape, dtype, **rest)

    monkeypatch.setattr(np, "empty", watched)
    return most


def damaged(data, rng):
    """A copy with a few bytes changed, cut out, doubled or cut off."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        i, n = rng.integers(len(data)), int(rng.integers(1, 9))
        match rng.integers(5):
            case 0:
                data[i] ^= 1 << rng.integers(8)
            case 1:
                data[i : i + n] = rng.bytes(n)
            case 2:
                del data[i : i + n]
            case 3:
                data[i:i] = data[i : i + n]
            case 4:
                del data[i:]
        if not data:
            break
    return bytes(data)


NESTED = {"model": example(), "options": [{"lr": 0.1, "betas": (1, 2)}]}


@pytest.mark.parametrize(
    "write, suffix",
    [
        (lambda path: save(example(), path), ".npz"),
        (lambda path: save(NESTED, path), ".npz"),
        (lambda path: np.savez_compressed(path, **example()), ".npz"),
        (lambda path: save(example(), path), ".safetensors"),
        (lambda path: save(NESTED, path), ".safetensors"),
    ],
    ids=["npz-flat", "npz-nested", "npz-compressed", "safetensors-flat", "safetensors-nested"],
)
def test_a_damaged_file_is_a_ValueError(tmp_path, write, suffix, largest):
    path = tmp_path / f"state{suffix}"
    write(path)
    data = path.read_bytes()
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(1500):
        bad = damaged(data, rng)
        path.write_bytes(bad)
        largest[0] = 0
        try:
            load(path)
        except ValueError as e:
            refused += 1
            assert str(e).startswith(f"{path}: "), e
        assert largest[0] <= len(bad) * 10  # a zip of these small arrays is not much smaller than they are
    assert refused > 700  # a changed element of a safetensors file is still a file


def npz(*members, **options):
    """A zip of (name, bytes) members."""
    f = io.BytesIO()
    with zipfile.ZipFile(f, "w", **options) as z, warnings.catch_warnings(action="ignore"):  # of a name used twice
        for name, data in members:
            z.writestr(name, data)
    return f.getvalue()


def npy(header, data=b"", version=b"\1\0"):
    count = struct.pack("<H" if version[0] == 1 else "<I", len(header))
    return b"\x93NUMPY" + version + count + header.encode("latin1") + data


HEADER = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }"


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "is no .npz file, or is damaged: File is not a zip file"),
        (b"x" * 1000, "is no .npz file, or is damaged"),
        (npz(("a.npy", npy(HEADER.replace("(2,)", "(300000000,)"), bytes(8)))), "says float32 of shape .*, but has 8"),
        (npz(("a.npy", npy(HEADER.replace("(2,)", f"({2**62},0)")))), "impossible shape"),
        (npz(("a.npy", npy(HEADER.replace("(2,)", f"({'1,' * 65})"), bytes(4)))), "65 axes"),
        (npz(("a.npy", npy(HEADER, bytes(9)))), "has 9 bytes"),
        (npz(("a.npy", npy(HEADER, bytes(8))), ("a.npy", npy(HEADER, bytes(8)))), "two members 'a.npy'"),
        (npz(("a.txt", b"hello")), "no .npy array: 'a.txt'"),
        (npz(("a.npy", b"hello")), "magic"),
        (npz(("a.npy", npy(HEADER, bytes(8), b"\4\0"))), r"unknown .npy version \(4, 0\)"),
        (npz(("a.npy", npy(HEADER.replace("<f4", "|O"), bytes(8)))), "no header of an array of bools"),
        (npz(("a.npy", npy(HEADER.replace("<f4", "<f1"), bytes(2)))), "unknown dtype '<f1'"),
        (npz(("a.npy", npy("-" * 60_000, bytes(8)))), "no header of an array of bools"),
        (npz(("a.npy", npy(HEADER, bytes(8)[:-8] + b"\x02" * 2).replace(b"<f4", b"|b1"))), "neither 0 nor 1"),
        (npz(("a.npy", npy(HEADER, bytes(8))), compression=zipfile.ZIP_LZMA), "another method than deflate"),
        (npz(("fastmlp.structure.npy", npy(HEADER.replace("<f4", "|u1"), b"[]"))), "its nested state is damaged"),
        (npz(("fastmlp.structure.npy", npy(HEADER.replace("<f4", "|u1"), b"{}"))), "its nested state is damaged"),
    ],
)
def test_what_is_wrong_with_an_npz(tmp_path, data, message, largest):
    path = tmp_path / "bad.npz"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as e:
        load(path)
    assert str(e.value).startswith(f"{path}: ")
    assert largest[0] <= len(data)


def test_a_member_that_lies_about_its_size(tmp_path, largest):
    """The zip's directory and the .npy header agree on 1.2 GB; the file has 300 bytes."""
    n = 300_000_000
    member = npy(HEADER.replace("(2,)", f"({n},)"), bytes(8))
    data = bytearray(npz(("a.npy", member)))
    at = data.index(b"PK\1\2")  # the central directory: its compressed and its full size at 20 and 24
    for size in (len(member), len(member) - 8 + 4 * n):
        struct.pack_into("<II", data, at + 20, size, len(member) - 8 + 4 * n)
        (tmp_path / "bad.npz").write_bytes(data)
        with pytest.raises(ValueError, match=r"cannot be 120|are larger than its"):
            load(tmp_path / "bad.npz")
    assert largest[0] <= len(data)


def test_npy_versions_2_and_3(tmp_path):
    for version in (b"\2\0", b"\3\0"):
        (tmp_path / "s.npz").write_bytes(npz(("a.npy", npy(HEADER, struct.pack("<2f", 1, 2), version))))
        assert_same(load(tmp_path / "s.npz"), {"a": np.float32([1, 2])})


def tensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(begin=0, end=8, shape=(2,), dtype="F32", **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end], **more}


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "is no .safetensors file, or is cut off: 0 bytes"),
        (b"\1\0\0", "cut off: 3 bytes"),
        (struct.pack("<Q", 2**63) + b"{}", "cut off: 10 bytes, a header of 9223372036854775808"),
        (tensors(b"{'a'"), "no JSON"),
        (tensors(b"[" * 100_000), "no JSON|nested too deep"),
        (tensors(b" {}"), "no JSON object"),
        (tensors(b'{"a": {}, "a": {}}'), "twice"),
        (tensors({"a": 3}), "expected dtype, shape and data_offsets, got 3"),
        (tensors({"a": entry(more=1)}, bytes(8)), "expected dtype, shape and data_offsets"),
        (tensors({"a": entry(dtype="F8_E4M3")}, bytes(8)), "expected one of the dtypes F64, .*, got F8_E4M3"),
        (tensors({"a": entry(dtype=[])}, bytes(8)), "expected one of the dtypes"),
        (tensors({"a": entry(shape=(True, 2))}, bytes(8)), "expected integers >= 0"),
        (tensors({"a": entry(shape=(2.0,))}, bytes(8)), "expected integers >= 0"),
        (tensors({"a": entry(shape=(-2,), begin=8, end=0)}, bytes(8)), "expected integers >= 0"),
        (tensors({"a": entry(shape=(3,))}, bytes(8)), r"F32 of shape \[3\] does not fill bytes 0 to 8"),
        (tensors({"a": entry(end=4 * 2**60, shape=(2**60,))}, bytes(8)), "its arrays take .* bytes, and it has 8"),
        (tensors({"a": entry(end=0, shape=(0, 2**63))}), "impossible shape"),
        (tensors({"a": entry(end=4, shape=(1,) * 65)}, bytes(4)), "65 axes"),
        (tensors({"a": entry(), "b": entry()}, bytes(8)), "'b' begins at byte 0, where 8 was expected"),
        (tensors({"a": entry(), "b": entry(12, 20)}, bytes(20)), "'b' begins at byte 12, where 8"),
        (tensors({"a": entry()}, bytes(9)), "take 8 bytes, and it has 9"),
        (tensors({"a": entry()}, bytes(7)), "take 8 bytes, and it has 7"),
        (tensors({"a": entry(dtype="BOOL", shape=(8,))}, b"\3" * 8), "neither 0 nor 1"),
        (tensors({"__metadata__": {"a": 1}}), "__metadata__ is no object of strings"),
        (tensors({"__metadata__": {"fastmlp.structure": '{"array": "x"}'}}), "nested state is damaged: KeyError"),
        (tensors({"__metadata__": {"fastmlp.structure": '{"dict": [[[], 1]]}'}}), "nested state is damaged: TypeError"),
        (tensors({"__metadata__": {"fastmlp.structure": "[" * 100_000}}), "nested state is damaged: RecursionError"),
        (tensors({"__metadata__": {"fastmlp.structure": "3"}}), "nested state is damaged: it lacks a dict"),
    ],
)
def test_what_is_wrong_with_a_safetensors_file(tmp_path, data, message, largest):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as e:
        load(path)
    assert str(e.value).startswith(f"{path}: ")
    assert largest[0] <= len(data)


def test_a_header_beyond_the_limit_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(safetensors, "LONGEST_HEADER", 50)
    (tmp_path / "s.safetensors").write_bytes(tensors({"a": entry()}, bytes(8)))
    with pytest.raises(ValueError, match="a header of"):
        load(tmp_path / "s.safetensors")
    with pytest.raises(ValueError, match="its names need"):
        save({"a" * 50: np.ones(1)}, tmp_path / "t.safetensors")


def test_the_elements_of_a_safetensors_file_are_aligned(tmp_path):
    save({"c": np.ones(3, np.int8), "a": np.ones(1, np.float16), "b": np.ones(3)}, tmp_path / "s.safetensors")
    data = (tmp_path / "s.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    header = json.loads(data[8 : 8 + length])
    assert {name: e["data_offsets"][0] for name, e in header.items()} == {"b": 0, "a": 24, "c": 26}
