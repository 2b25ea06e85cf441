"""What every kernel takes and writes; the activations and what each keeps for its gradient; the element-wise losses.

A backend is a module with one plain function for each entry of `KERNELS`. All backends give the same
answer; `kernels/reference` says which one is right.

Rules that hold for every kernel:

- The float arrays of one call share one dtype, float32 or float64; they are aligned and in native byte order.
- `x (m, k)` and `w (n, k)` of the linear kernels may have any strides, negative ones included.
  Every other array is C-contiguous.
- Outputs do not overlap inputs or each other. A kernel writes its outputs and nothing else.
- Any dimension may be 0. An empty sum is 0.
- `act` is an `Activation`, `kind` a `Loss`, `params` its parameters in its own order.

This module may import numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

FLOATS = ("float32", "float64")

#: kernel name -> its argument names, in order. Outputs come last.
KERNELS: dict[str, tuple[str, ...]] = {
    # y = act(z), z = x wᵀ + b. `b` and `z` may be None; `z` is written where the activation saves it.
    "linear_forward": ("x", "w", "b", "act", "params", "y", "z"),
    # dz = dy · act'(saved); dx = dz w, dw = dzᵀ x, db = Σ_rows dz. Any of dx, dw, db may be None, and so may
    # x (dw not wanted) and w (dx not wanted). With `accumulate`, dw and db are added to what is there.
    "linear_backward": ("dy", "x", "w", "saved", "act", "params", "dx", "dw", "db", "accumulate"),
    # y = act(x), element by element, any shape
    "activation_forward": ("x", "act", "params", "y"),
    # dx = dy · act'(saved)
    "activation_backward": ("dy", "saved", "act", "params", "dx"),
    # y = x, or weight · x where x is not positive; x (rows, channels, inner), weight (channels,), or (1,) for all
    "prelu_forward": ("x", "weight", "y"),
    # dx, and dweight (as weight) = Σ dy · x where x is not positive; either may be None
    "prelu_backward": ("dy", "x", "weight", "dx", "dweight"),
    # y = (x - mean) · rstd · weight + bias; x (rows, n), weight and bias (n,) or None. Writes the mean and
    # rstd = 1 / √(variance + eps) of each row (rows,)
    "layer_norm_forward": ("x", "weight", "bias", "eps", "y", "mean", "rstd"),
    # any of dx (rows, n), dweight and dbias (n,) may be None
    "layer_norm_backward": ("dy", "x", "weight", "mean", "rstd", "dx", "dweight", "dbias"),
    # The same with the mean, rstd and variance of each column (n,): the biased variance, Σ (x - mean)² / rows
    "batch_norm_forward": ("x", "weight", "bias", "eps", "y", "mean", "rstd", "var"),
    # with statistics that are given
    "batch_norm_apply": ("x", "weight", "bias", "mean", "rstd", "y"),
    # training: mean and rstd are those of x, and depend on it; else they were given
    "batch_norm_backward": ("dy", "x", "weight", "mean", "rstd", "training", "dx", "dweight", "dbias"),
    # y = x · keep / (1 - p), any shape. Element i is kept if the word i % 4 of Philox 4x32-10, with the key `seed` and
    # the counter offset + i // 4, both uint64, is at least ⌊p · 2³²⌋. With p = 1 none is. seed: or an array (1,).
    "dropout": ("x", "p", "seed", "offset", "y"),
    # rows of x (rows, classes)
    "softmax_forward": ("x", "y"),
    "log_softmax_forward": ("x", "y"),
    "softmax_backward": ("dy", "y", "dx"),
    "log_softmax_backward": ("dy", "y", "dx"),
    # logits (rows, classes); target: int64 labels (rows,) or probabilities (rows, classes);
    # weight (classes,), sample_weight (rows,) or None. Writes dlogits (rows, classes) and loss: (1,) for
    # reduction "mean" and "sum", (rows,) for "none". With labels, and without label_smoothing, dlogits may be logits.
    "cross_entropy": (
        "logits",
        "target",
        "weight",
        "sample_weight",
        "ignore_index",
        "label_smoothing",
        "reduction",
        "loss",
        "dlogits",
    ),
    # input: log-probabilities (rows, classes); target: int64 labels (rows,); the rest as for cross_entropy
    "nll_loss": ("input", "target", "weight", "ignore_index", "reduction", "loss", "dinput"),
    # -> index of the first label (rows,) outside 0..classes-1 that is not ignore_index; -1 if there is none
    "find_bad_label": ("labels", "classes", "ignore_index"),
    # f(input, target) · weight and its derivative by input, element by element: input, target and dinput of one shape;
    # weight of that shape or None; pos_weight (n,) or None, for "bce_with_logits": element i has pos_weight[i % n].
    # "mean" divides by `divisor`; where that is 0, the gradient is 0. Writes dinput and loss: (1,), or the shape of
    # input for "none".
    "elementwise_loss": (
        "input",
        "target",
        "weight",
        "pos_weight",
        "kind",
        "params",
        "reduction",
        "divisor",
        "loss",
        "dinput",
    ),
    # -> index of the first element of a, of any shape, outside 0..1 or NaN; -1 if there is none
    "find_outside_unit": ("a",),
    # The gradients, a list of arrays, are clipped in place. norm (1,): √Σ g² over all of them, as it was; if max_norm
    # is finite, and max_norm / (norm + 1e-6) < 1 or NaN, they are multiplied by that.
    "clip_norm": ("max_norm", "grads", "norm"),
    # g = min(max(g, -limit), limit), NaN stays
    "clip_value": ("limit", "grads"),
    # The optimizers: params and state are read and updated in place. grads, params and each kind of state are lists of
    # arrays, one for each parameter and of its shape; a kind that is not kept is None. step counts from 1; it may be
    # a float64 array (1,). Denormal numbers may count as 0.
    "sgd": (
        *("grads", "lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize", "first"),
        *("params", "momentum_buffers"),
    ),
    "adam": (
        *("grads", "lr", "beta1", "beta2", "eps", "weight_decay", "decoupled_weight_decay", "maximize", "step"),
        *("params", "exp_avgs", "exp_avg_sqs", "max_exp_avg_sqs"),
    ),
    "rmsprop": (
        *("grads", "lr", "alpha", "eps", "weight_decay", "momentum", "maximize"),
        *("params", "square_avgs", "grad_avgs", "momentum_buffers"),
    ),
    "adagrad": (
        *("grads", "lr", "lr_decay", "weight_decay", "eps", "maximize", "step"),
        *("params", "state_sums"),
    ),
    "adadelta": (
        *("grads", "lr", "rho", "eps", "weight_decay", "maximize"),
        *("params", "square_avgs", "acc_deltas"),
    ),
    "nadam": (
        *("grads", "lr", "beta1", "beta2", "eps", "weight_decay", "decoupled_weight_decay", "maximize", "step"),
        *("mu", "mu_next", "mu_product"),
        *("params", "exp_avgs", "exp_avg_sqs"),
    ),
    "radam": (
        *("grads", "lr", "beta1", "beta2", "eps", "weight_decay", "decoupled_weight_decay", "maximize", "step"),
        *("params", "exp_avgs", "exp_avg_sqs"),
    ),
}

#: kernel name -> those of its arguments that it writes without reading them; linear_backward accumulates if asked to
OUTPUTS: dict[str, tuple[str, ...]] = {
    "linear_forward": ("y", "z"),
    "linear_backward": ("dx", "dw", "db"),
    "activation_forward": ("y",),
    "activation_backward": ("dx",),
    "prelu_forward": ("y",),
    "prelu_backward": ("dx", "dweight"),
    "layer_norm_forward": ("y", "mean", "rstd"),
    "layer_norm_backward": ("dx", "dweight", "dbias"),
    "batch_norm_forward": ("y", "mean", "rstd", "var"),
    "batch_norm_apply": ("y",),
    "batch_norm_backward": ("dx", "dweight", "dbias"),
    "dropout": ("y",),
    "softmax_forward": ("y",),
    "log_softmax_forward": ("y",),
    "softmax_backward": ("dx",),
    "log_softmax_backward": ("dx",),
    "cross_entropy": ("loss", "dlogits"),
    "nll_loss": ("loss", "dinput"),
    "elementwise_loss": ("loss", "dinput"),
    "clip_norm": ("norm",),
}

#: A backend may have, beside these functions, a class `Program(calls, slots, results)`: calls of kernels that are run
#: many times; where it has none, `ops` runs them one after the other. calls: [(kernel name, arguments), ...]. slots:
#: arrays among the arguments that stand for others, given at each run. results: the arrays that are read afterwards;
#: None is all of them.
#:   run(*arrays) runs the calls in their order, with these in the place of the slots, of the same dtypes, sizes and
#:   layouts. -> -1, or the index of the call that ended it: a `find_...` that found something. A backend may do several
#:   calls as one, with sums in another order: then arrays that are no results hold anything, and a call that ended it
#:   is only known to be one of those that were done together; no result, parameter or state was written then.
#:   replace(index, arguments) gives a call other arguments, the slots being the same.
#:   repeat(x, y, order, counters, loss) runs them for one batch after the other of the rows of x and y: the slots are
#:   two arrays of such rows; order: their indices, (batches · rows of a slot,), intp. counters: float64 arrays (1,),
#:   each one more in the next batch. loss: (1,), read after each. -> batches done, the sum of their losses; fewer than
#:   there are if a call ended one, and then the counters are those of that one.
#:   parts() -> [(index of a call, name, how)]: what is run, each from that call to the next one's; how: as text, or "".
PROGRAM = "Program"

#: Beside that it may have: describe() -> {label: text}, what runs, for people; at_once(), a context manager in which it
#: compiles what it would otherwise compile only for shapes that come often; offer(addresses), which is told, before
#: anything is compiled, where the functions of the C engine's thread pool are (cython_cpu.pool_addresses); and
#: fma_peak(bits), how many GFLOP/s a core can do at most.

REDUCTIONS = ("none", "mean", "sum")


@dataclass(frozen=True)
class Activation:
    """An element-wise function y = f(z).

    name: as in torch.nn.functional. code: its number in the C engine.
    saves: "y" or "z", what its derivative is computed from, so what a layer keeps between the two directions.
    params: parameter names and defaults, in the order in which kernels receive them; `defaults` has the values alone.
    nonnegative, positive: parameters that must be >= 0 (a negative slope could not be told from y alone), or > 0.
    increasing: parameters none of which may be less than the one before it.
    custom: of one that the user wrote, its compiled functions: numba_scalars.compiled.Functions. It stands in no table.
    """

    name: str
    code: int
    saves: str
    params: dict[str, float] = field(default_factory=dict)
    nonnegative: tuple[str, ...] = ()
    positive: tuple[str, ...] = ()
    increasing: tuple[str, ...] = ()
    custom: Any = None
    defaults: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "defaults", tuple(self.params.values()))

    def __deepcopy__(self, memo: Any) -> Activation:
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        return super().__reduce_ex__(protocol) if self.custom is None else self.custom.reduced()


# The order is that of `enum act` in cython_cpu/c/engine.h; a test compares the two.
ACTIVATIONS: dict[str, Activation] = {
    a.name: a
    for a in (
        Activation("identity", 0, "y"),
        Activation("relu", 1, "y"),
        Activation("leaky_relu", 2, "y", {"negative_slope": 0.01}, ("negative_slope",)),
        Activation("relu6", 3, "y"),
        Activation("sigmoid", 4, "y"),
        Activation("tanh", 5, "y"),
        Activation("elu", 6, "y", {"alpha": 1.0}, ("alpha",)),
        Activation("selu", 7, "y"),
        Activation("softsign", 8, "y"),
        Activation("gelu", 9, "z"),
        Activation("gelu_tanh", 10, "z"),
        Activation("silu", 11, "z"),
        Activation("softplus", 12, "z", {"beta": 1.0, "threshold": 20.0}),
        Activation("mish", 13, "z"),
        Activation("hardswish", 14, "z"),
        Activation("logsigmoid", 15, "y"),
        Activation("celu", 16, "y", {"alpha": 1.0}, positive=("alpha",)),
        Activation("tanhshrink", 17, "z"),
        Activation("hardsigmoid", 18, "y"),
        Activation("hardtanh", 19, "y", {"min_val": -1.0, "max_val": 1.0}, increasing=("min_val", "max_val")),
        Activation("hardshrink", 20, "y", {"lambd": 0.5}, ("lambd",)),
        Activation("softshrink", 21, "y", {"lambd": 0.5}, ("lambd",)),
        Activation("threshold", 22, "z", {"threshold": 0.0, "value": 0.0}),  # torch has no defaults; these give relu
    )
}

#: the code of every activation that the user wrote
CUSTOM = len(ACTIVATIONS)


@dataclass(frozen=True)
class Loss:
    """A loss f(input, target) of single elements.

    name: as in torch.nn.functional, without its "_loss". code: its number in the C engine.
    params: parameter names and defaults, in the order in which kernels receive them; `defaults` has the values alone.
    mean_over_weights: with a weight, "mean" divides by the sum of the weights, not by the number of elements.
    custom: of one that the user wrote, its compiled functions: numba_scalars.compiled.LossFunctions. In no table.
    """

    name: str
    code: int
    params: dict[str, float] = field(default_factory=dict)
    mean_over_weights: bool = False
    custom: Any = None
    defaults: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "defaults", tuple(self.params.values()))

    def __deepcopy__(self, memo: Any) -> Loss:
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        return super().__reduce_ex__(protocol) if self.custom is None else self.custom.reduced()


# The order is that of `enum loss` in cython_cpu/c/engine.h; a test compares the two.
LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("mse", 0, mean_over_weights=True),
        Loss("l1", 1, mean_over_weights=True),
        Loss("smooth_l1", 2, {"beta": 1.0}),
        Loss("huber", 3, {"delta": 1.0}),
        Loss("bce", 4),
        Loss("bce_with_logits", 5),
        Loss("kl_div", 6),
        Loss("kl_div_log_target", 7),
    )
}

#: the code of every loss that the user wrote
CUSTOM_LOSS = len(LOSSES)
