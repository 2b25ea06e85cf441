"""onnxruntime, for prediction. Imported in its own process only."""

import os

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from .peers import Arrays, Version
from .programs import is_probability, layers_of
from .work import Case

TYPES = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}


def versions(case: Case, a: Arrays, compiled: bool) -> list[Version]:
    threads = int(os.environ["OMP_NUM_THREADS"])  # as the worker has set it for everybody
    return [_run(case, a, threads), _bound(case, a, threads)] if case.section == "predict" else []


def _session(case: Case, a: Arrays, threads: int) -> onnxruntime.InferenceSession:
    kind, layers = TYPES[case.dtype], layers_of(a)
    nodes, constants, x = [], [], "x"
    for i, layer in enumerate(layers):
        constants += [numpy_helper.from_array(v, f"{name}{i}") for name, v in zip("wb", layer)]
        nodes.append(helper.make_node("Gemm", [x, f"w{i}", f"b{i}"], [f"z{i}"], transB=1))
        act = "Relu" if i + 1 < len(layers) else "Sigmoid" if is_probability(case.shape) else "Identity"
        x = f"y{i}" if i + 1 < len(layers) else "y"
        nodes.append(helper.make_node(act, [f"z{i}"], [x]))
    shapes = [[case.shape[0], case.shape[at]] for at in (1, -1)]
    ends = [helper.make_tensor_value_info(name, kind, shape) for name, shape in zip("xy", shapes)]
    graph = helper.make_graph(nodes, "mlp", ends[:1], ends[1:], constants)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def _run(case: Case, a: Arrays, threads: int) -> Version:
    session, names, x = _session(case, a, threads), ["y"], a["x"]
    return Version("run", lambda: session.run(names, {"x": x})[0])


def _bound(case: Case, a: Arrays, threads: int) -> Version:
    """Input and output stay where they are: what a program can do that always uses the same arrays."""
    session, y = _session(case, a, threads), np.empty((case.shape[0], case.shape[-1]), case.dtype)
    binding = session.io_binding()
    for bind, name, v in ((binding.bind_input, "x", a["x"]), (binding.bind_output, "y", y)):
        bind(name, "cpu", 0, v.dtype, v.shape, v.ctypes.data)

    def call():
        session.run_with_iobinding(binding)
        return y

    return Version("run_with_iobinding", call)
