"""Builds the C engine once for every instruction set, the Cython modules on top of it, and what is compiled of Python.

The micro-kernels (`c/kernels.c`) are compiled once per instruction set and precision into objects of their own,
with their own flags; nothing else sees those flags. `FASTMLP_CFLAGS` adds flags to every C file (sanitizers).
"""

import os
import platform
import shlex
import tempfile
from pathlib import Path

import numpy as np
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path("kernels/cython_cpu")
C = HERE / "c"
HEADERS = [str(h) for h in sorted(C.glob("*.h"))]
FLAGS = ["-O3", "-g0", "-std=gnu11", "-fvisibility=hidden"]
FLAGS += ["-fno-math-errno", "-ffp-contract=off", "-fno-trapping-math"]  # vmath.h needs sums and products as written
NUMPY_API = [("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")]
EXTRA = shlex.split(os.environ.get("FASTMLP_CFLAGS", ""))

# instruction set -> its flags; the order in which c/engine.c prefers them is its own
X86 = {
    "generic": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"],
}
ARM = {"generic": [], "neon": []}

#: Python that runs in every operation on tensors, and is compiled with the types in the .pxd beside it
COMPILED_PYTHON = ["tape.py", "waiting.py", "gradients.py", "optim/batches.py"]
COMPILED_PYTHON += ["plan/plans.py", "plan/updates.py", "plan/watch.py"]


def instruction_sets():
    machine = platform.machine().lower()
    if machine in ("x86_64", "amd64"):
        return X86
    if machine in ("aarch64", "arm64"):
        return ARM
    return {"generic": []}


class BuildEngine(build_ext):
    """Compiles the micro-kernels first and hands their objects to the `engine` extension."""

    def build_extensions(self):
        built = {name: flags for name, flags in instruction_sets().items() if self._accepts(flags)}
        objects = [
            obj for name, flags in built.items() for bits in (32, 64) for obj in self._kernels(name, flags, bits)
        ]
        for ext in self.extensions:
            if ext.name.endswith(".engine"):
                ext.extra_objects = objects
                ext.define_macros = NUMPY_API + [(f"HAVE_{name.upper()}", "1") for name in built]
        super().build_extensions()

    def _accepts(self, flags):
        with tempfile.TemporaryDirectory() as folder:
            probe = Path(folder, "probe.c")
            probe.write_text("int main(void) { return 0; }\n")
            try:
                self.compiler.compile([str(probe)], output_dir=folder, extra_postargs=[*flags, "-Werror"])
            except Exception:
                return False
        return True

    def _kernels(self, name, flags, bits):
        folder = Path(self.build_temp, f"{name}_{bits}")
        return self.compiler.compile(
            [str(C / "kernels.c")],
            output_dir=str(folder),
            macros=[("ISA", name), (f"ISA_{name.upper()}", "1"), ("REAL_BITS", str(bits))],
            extra_postargs=FLAGS + EXTRA + flags,
            depends=HEADERS,
        )


def kernel_module(name, sources=()):
    """A .pyx of kernels/cython_cpu over the engine."""
    return Extension(
        f"fastmlp.kernels.cython_cpu.{name}",
        [str(HERE / f"{name}.pyx"), *(str(C / s) for s in sources)],
        include_dirs=[str(C), np.get_include()],
        define_macros=NUMPY_API,
        extra_compile_args=["-O2", "-fvisibility=hidden", *EXTRA],
        extra_link_args=EXTRA,
        depends=[*HEADERS, str(C / "kernels.c")],
        libraries=[] if os.name == "nt" else ["pthread", "m"],
    )


def module(file):
    """A .pyx or .py of fastmlp/."""
    return Extension(
        f"fastmlp.{Path(file).with_suffix('')}".replace("/", "."),
        [f"fastmlp/{file}"],
        include_dirs=[np.get_include()],
        define_macros=NUMPY_API,
        extra_compile_args=["-O2", "-g0", *EXTRA],
        extra_link_args=EXTRA,
    )


setup(
    packages=[
        "fastmlp",
        "fastmlp.nn",
        "fastmlp.io",
        "fastmlp.ops",
        "fastmlp.train",
        "fastmlp.utils",
        "fastmlp.optim",
        "fastmlp.plan",
        "fastmlp.kernels",
        "fastmlp.kernels.cases",
        "fastmlp.kernels.reference",
        "fastmlp.kernels.numba_cpu",
        "fastmlp.kernels.numba_scalars",
        "fastmlp.kernels.cython_cpu",
        "fastmlp.bench",
    ],
    package_dir={"fastmlp": "fastmlp", "fastmlp.kernels": "kernels", "fastmlp.bench": "bench"},
    package_data={"fastmlp": ["py.typed", "*.pyi"]},
    ext_modules=cythonize(
        [
            *map(module, ["_fast.pyx", *COMPILED_PYTHON]),
            kernel_module("engine", ["engine.c", "pool.c"]),
            kernel_module("linear"),
            kernel_module("activations"),
            kernel_module("softmax"),
            kernel_module("losses"),
            kernel_module("optim"),
            kernel_module("normalize"),
            kernel_module("dropout"),
            kernel_module("chain"),
            kernel_module("program"),
        ],
        include_path=[str(HERE)],
        compiler_directives={"language_level": 3, "annotation_typing": False, "auto_pickle": False, "nonecheck": True},
    ),
    cmdclass={"build_ext": BuildEngine},
)
