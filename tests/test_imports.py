"""Who may import whom. Walks the import statements of the sources, compiled modules' .pyx included."""

import ast
import re
import sys
from importlib import import_module
from pathlib import Path

import pytest

KERNELS = "fastmlp.kernels"
CONTRACT = f"{KERNELS}.contract"


def rooms(names):
    return {f"fastmlp.{name}" for name in names.split()}


#: room -> the rooms of this project that it may import. A new module or kernel folder gets a row here.
ROOMS = {
    "fastmlp": rooms("warming ops backend nn optim autograd grad_mode creation functions printing written")
    | rooms("data io metrics plan plots train utils devices cuda"),
    "fastmlp.plan": rooms("ops checks autograd tape waiting grad_mode creation io nn optim memory") | {CONTRACT},
    "fastmlp.optim": rooms("ops checks autograd tape grad_mode memory"),
    "fastmlp.nn": rooms("ops checks autograd tape waiting grad_mode creation devices memory") | {CONTRACT},
    "fastmlp.functions": rooms("autograd tape gradients nn"),
    "fastmlp.creation": rooms("autograd tape gradients checks devices memory"),
    "fastmlp.autograd": rooms("grad_mode checks methods shapes gradients tape"),
    "fastmlp.waiting": rooms("tape gradients grad_mode ops checks autograd"),  # autograd: for types alone
    "fastmlp.tape": rooms("gradients grad_mode checks waiting autograd"),  # the last two for types alone
    "fastmlp.grad_mode": set(),
    "fastmlp.methods": rooms("gradients shapes tape autograd"),
    "fastmlp.shapes": rooms("gradients devices printing tape autograd"),
    "fastmlp.devices": set(),
    "fastmlp.memory": set(),
    "fastmlp.cuda": set(),
    "fastmlp.written": rooms("ops checks autograd waiting nn")
    | {CONTRACT, f"{KERNELS}.numba_scalars"},  # the latter when it is asked for
    "fastmlp.gradients": rooms("ops checks"),
    "fastmlp.ops": rooms("backend checks memory _fast") | {CONTRACT},
    "fastmlp.checks": rooms("_fast memory") | {CONTRACT},
    "fastmlp._fast": set(),
    "fastmlp.printing": rooms("checks"),
    "fastmlp.io": rooms("checks autograd tape"),
    "fastmlp.metrics": rooms("checks"),
    "fastmlp.data": rooms("checks autograd tape creation"),
    "fastmlp.train": rooms("checks autograd tape grad_mode creation data metrics nn optim plan")
    | rooms("plots"),  # when asked for
    "fastmlp.utils": rooms("data"),
    "fastmlp.plots": rooms("checks autograd tape nn train"),
    "fastmlp.warming": rooms("ops checks autograd creation grad_mode nn optim"),
    "fastmlp.__main__": rooms("backend"),  # and checking and bench by name, when asked for
    "fastmlp.checking": rooms("backend autograd creation nn optim plan")
    | {CONTRACT, f"{KERNELS}.cases", f"{KERNELS}.selfcheck"},
    "fastmlp.backend": set(),  # the kernel packages by name, when they are asked for
    KERNELS: set(),
    CONTRACT: set(),
    f"{KERNELS}.cases": {CONTRACT},
    f"{KERNELS}.reference": {CONTRACT},
    f"{KERNELS}.selfcheck": {f"{KERNELS}.cases", f"{KERNELS}.reference"},
    f"{KERNELS}.numba_scalars": {CONTRACT},
    f"{KERNELS}.cython_cpu": {CONTRACT},
    f"{KERNELS}.numba_cpu": {CONTRACT, f"{KERNELS}.numba_scalars"},
}
ROOMS["fastmlp.bench"] = set(ROOMS)  # it stands above all of them
#: other people's packages, beside NumPy and the standard library, that a room may import
LIBRARIES = {
    f"{KERNELS}.cython_cpu": {"cython", "libc", "cpython"},
    f"{KERNELS}.numba_scalars": {"numba", "llvmlite"},
    f"{KERNELS}.numba_cpu": {"numba", "llvmlite"},
    "fastmlp._fast": {"cpython", "libc"},
    "fastmlp.gradients": {"cython"},
    "fastmlp.waiting": {"cython"},
    "fastmlp.tape": {"cython"},
    "fastmlp.optim": {"cython"},
    "fastmlp.plan": {"cython"},
    "fastmlp.train": {"rich"},  # where it is installed
    "fastmlp.plots": {"matplotlib"},
    "fastmlp.bench": {"torch", "jax", "sklearn", "onnx", "onnxruntime", "matplotlib", "rich", "pytest"},
}

FOLDERS = {name: Path(import_module(name).__file__).parent for name in ("fastmlp", KERNELS, "fastmlp.bench")}


def sources():
    """module name -> its file"""
    found = {}
    for package, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*.p*")):
            inner = path.relative_to(folder)
            module = ".".join((package, *inner.with_suffix("").parts)).removesuffix(".__init__")
            nested = any(other != package and path.is_relative_to(FOLDERS[other]) for other in FOLDERS)
            if path.suffix in (".py", ".pyx", ".pxd") and not (package == "fastmlp" and nested):
                found.setdefault(module, []).append(path)
    return found


SOURCES = sources()
FILES = [(module, path) for module, paths in SOURCES.items() for path in paths]


def statements(path):
    """(level, module, names) of every import statement; level counts the leading dots."""
    text = path.read_text()
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                yield from ((0, alias.name, []) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield node.level, node.module or "", [alias.name for alias in node.names]
    else:
        for line in re.findall(r"^[ \t]*(?:from|c?import)[ \t].*", text, re.MULTILINE):
            if whole := re.match(r"\s*from\s+(\.*)(\S*)\s+c?import\b", line):
                yield len(whole[1]), whole[2], []
            elif re.match(r"\s*c?import\b", line):
                for name in re.sub(r"^\s*c?import\b|#.*", "", line).split(","):
                    yield 0, name.split()[0], []


def imported(module, path):
    """Full names of the modules that the file imports."""
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    for level, name, members in statements(path):
        if level:
            above = package.split(".")[: len(package.split(".")) - level + 1]
            name = ".".join((*above, *filter(None, [name])))
        elif path.suffix != ".py" and f"{package}.{name}" in SOURCES:
            name = f"{package}.{name}"  # Cython's include path: `from engine cimport ...`
        inner = [f"{name}.{member}" for member in members if f"{name}.{member}" in SOURCES]
        yield from inner
        if len(inner) < len(members) or not members:
            yield name


def room_of(module):
    """The row of the table that a module belongs to: its own, or its kernel folder's, or bench's."""
    shared = ("fastmlp", KERNELS)  # these two hold rooms; their other modules are not one room
    while module not in ROOMS:
        module = module.rpartition(".")[0]
        if module in ("", *shared):
            return None
    return module


@pytest.mark.parametrize("module, path", FILES, ids=[f"{m}{p.suffix}" for m, p in FILES])
def test_imports_follow_the_table(module, path):
    room = room_of(module)
    assert room, f"{module} has no row in ROOMS: which rooms may it import?"
    for name in imported(module, path):
        top = name.partition(".")[0]
        if top == "fastmlp":
            target = room_of(name)
            assert target == room or target in ROOMS[room], f"{module} must not import {name}"
        else:
            allowed = sys.stdlib_module_names | {"numpy"} | LIBRARIES.get(room, set())
            assert top in allowed, f"{module} must not import {name}"


def test_the_walk_sees_the_imports():
    """The two edges that everything else hangs on; without them the table would hold for the wrong reason."""
    assert CONTRACT in set(imported("fastmlp.checks", FOLDERS["fastmlp"] / "checks.py"))
    assert "fastmlp.backend" in set(imported("fastmlp.ops.layers", FOLDERS["fastmlp"] / "ops" / "layers.py"))
    assert f"{KERNELS}.reference.linear" in SOURCES
    pyx = [(m, p) for m, p in FILES if p.suffix == ".pyx"]
    assert all(list(imported(m, p)) for m, p in pyx)


def test_importing_fastmlp_loads_no_kernels_and_no_heavy_library(python):
    loaded = set(python("import sys, fastmlp; print(*sys.modules)").split())
    assert "fastmlp.ops" in loaded
    heavy = {"numba", "llvmlite", "matplotlib", "torch", "sklearn", "scipy", "pandas"}
    kernels = {name for name in loaded if name.startswith(f"{KERNELS}.")} - {CONTRACT}
    assert not loaded & heavy
    assert not kernels


def test_fastmlp_takes_no_top_level_name_but_its_own(python):
    """A package named `kernels` or `bench` would collide with other people's."""
    loaded = set(python("import sys, fastmlp, fastmlp.bench, fastmlp.kernels; print(*sys.modules)").split())
    assert not loaded & {"kernels", "bench"}
