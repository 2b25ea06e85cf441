"""How far from the truth a kernel may be.

The truth is the reference in float64 on the same numbers. A backend may be as wrong as the reference is in the
case's own precision, plus FEW rounding errors:

    |got - truth| <= |same - truth| + FEW · (eps · scale + smallest subnormal)

`scale` is what rounding errors are relative to: for a sum, the sum of the terms' sizes; for a function's value,
that value, so that FEW counts ulps. NaN and ±inf stand where the reference has them.
"""

import numpy as np
from optim_scales import OPTIM_SCALES

from fastmlp.kernels import reference
from fastmlp.kernels.cases import widen
from fastmlp.kernels.reference.losses import ELEMENTWISE, _coefficients

FEW = 4
STEEPEST = 2  # no activation of cases.py is steeper

# ----------------------------------------------------- scales: kernel -> {output: array of its shape}


def _slope(act, params, y, z):
    """act'(z), from whichever of y and z it takes"""
    slope = np.empty_like(z)
    reference.activation_backward(np.ones_like(z), y if act.saves == "y" else z, act, params, slope)
    return slope


def _linear_forward(inputs, truth, start):
    terms = np.abs(inputs["x"]) @ np.abs(inputs["w"]).T
    if inputs["b"] is not None:
        terms += np.abs(inputs["b"])
    return {"y": STEEPEST * terms + np.abs(truth["y"]), "z": terms}


def _linear_backward(inputs, truth, start):
    dz = inputs["dy"].copy()
    if inputs["saved"] is not None:
        reference.activation_backward(inputs["dy"], inputs["saved"], inputs["act"], inputs["params"], dz)
    dz = np.abs(dz) + STEEPEST * np.abs(inputs["dy"])
    scale = {"db": dz.sum(axis=0)}
    if inputs["w"] is not None:
        scale["dx"] = dz @ np.abs(inputs["w"])
    if inputs["x"] is not None:
        scale["dw"] = dz.T @ np.abs(inputs["x"])
    if inputs["accumulate"]:
        scale |= {name: scale[name] + np.abs(start[name]) for name in ("dw", "db") if name in truth}
    return scale


def _activation_forward(inputs, truth, start):
    return {"y": np.abs(truth["y"])}


def _activation_forward_in_float64(inputs, truth, start):
    return plain_formula_scale(inputs, truth, "float64")  # the truth itself comes from the plain formulas


def plain_formula_scale(inputs, truth, dtype):
    """What the reference's formulas can promise: as if x were rounded, too, and x's cofactor were subnormal."""
    x = np.abs(inputs["x"])
    with np.errstate(all="ignore"):
        slope = _slope(inputs["act"], inputs["params"], truth["y"], inputs["x"])
        return {"y": np.abs(truth["y"]) + np.nan_to_num(x * np.abs(slope)) + x * np.finfo(dtype).tiny}


def _activation_backward(inputs, truth, start):
    return {"dx": STEEPEST * np.abs(inputs["dy"]) + np.abs(truth["dx"])}


def _sum_of_positive(terms):
    """The relative error of a sum of that many positive terms, in FEW · eps: it grows like a random walk."""
    return 1 + terms**0.5 / 8


def _softmax_error(x):
    """Of a row's exp(x - max) and its sum, relative: x - max is rounded before exp sees it."""
    below_maximum = np.abs(x - x.max(axis=1, keepdims=True, initial=-np.inf))
    return _sum_of_positive(x.shape[1]) + below_maximum


def _softmax_forward(inputs, truth, start):
    return {"y": truth["y"] * _softmax_error(inputs["x"])}


def _log_softmax_forward(inputs, truth, start):
    return {"y": _softmax_error(inputs["x"]) + np.abs(truth["y"])}


def _softmax_backward(inputs, truth, start):
    dy, y = np.abs(inputs["dy"]), np.abs(inputs["y"])
    return {"dx": y * (dy + (dy * y).sum(axis=1, keepdims=True))}


def _log_softmax_backward(inputs, truth, start):
    dy, y = np.abs(inputs["dy"]), inputs["y"]
    return {"dx": dy + np.exp(y) * (1 + np.abs(y)) * dy.sum(axis=1, keepdims=True)}


def _exact_product(inputs, truth, start):
    return {"y": np.abs(truth["y"])}


def _prelu_backward(inputs, truth, start):
    terms = np.where(inputs["x"] > 0, 0, np.abs(inputs["dy"] * inputs["x"]))
    dweight = terms.sum(axis=(0, 2)) if inputs["weight"].size == terms.shape[1] else terms.sum()
    return {"dx": np.abs(truth.get("dx", 0)), "dweight": dweight}


def _normalized(inputs, mean, rstd):
    """The sizes of what y is the sum of, but for what is wrong with the mean"""
    weight = 1 if inputs["weight"] is None else np.abs(inputs["weight"])
    bias = 0 if inputs["bias"] is None else np.abs(inputs["bias"])
    return np.abs(inputs["x"] - mean) * rstd * weight + bias, rstd * weight


def _forward_of(axis):
    """Of layer norm along axis 1, of batch norm along axis 0"""

    def scale(inputs, truth, start):
        terms = _sum_of_positive(inputs["x"].shape[axis])
        mean, rstd = (np.expand_dims(truth[name], axis) for name in ("mean", "rstd"))
        size = np.abs(inputs["x"]).mean(axis=axis, keepdims=True) if inputs["x"].size else np.zeros(mean.shape)
        y, per_mean = _normalized(inputs, mean, rstd)
        scales = {"y": (y + per_mean * size) * terms, "mean": size.squeeze(axis) * terms, "rstd": truth["rstd"] * terms}
        return scales | ({"var": truth["var"] * terms} if axis == 0 else {})

    return scale


def _batch_norm_apply(inputs, truth, start):
    return {"y": _normalized(inputs, inputs["mean"], inputs["rstd"])[0]}


def _backward_of(axis):
    def scale(inputs, truth, start):
        dy, mean, rstd = np.abs(inputs["dy"]), *(np.expand_dims(inputs[name], axis) for name in ("mean", "rstd"))
        normal = np.abs(inputs["x"] - mean) * rstd
        g = dy if inputs["weight"] is None else dy * np.abs(inputs["weight"])
        size = max(dy.shape[axis], 1)
        sums = (g.sum(axis=axis, keepdims=True) + normal * (g * normal).sum(axis=axis, keepdims=True)) / size
        return {"dx": rstd * (g + sums), "dweight": (dy * normal).sum(axis=0), "dbias": dy.sum(axis=0)}

    return scale


def _cross_entropy(inputs, truth, start):
    logits = inputs["logits"]
    options = [inputs[name] for name in ("weight", "sample_weight", "ignore_index", "label_smoothing")]
    a, share = _coefficients(inputs["target"], logits.shape[1], *options, logits.dtype)
    error, log_p = _softmax_error(logits), np.empty_like(logits)
    reference.log_softmax_forward(logits, log_p)
    row = np.where(a == 0, 0, a * (error + np.abs(log_p))).sum(axis=1)
    gradient = a + np.exp(log_p) * error * a.sum(axis=1, keepdims=True)
    if inputs["reduction"] == "none":
        return {"loss": row, "dlogits": gradient}
    factor = _sum_of_positive(len(logits)) / (share.sum() if inputs["reduction"] == "mean" else 1)
    return {"loss": row.sum(keepdims=True) * factor, "dlogits": gradient * factor}


def _nll_loss(inputs, truth, start):
    w, t = np.ones(inputs["input"].shape[1]) if inputs["weight"] is None else inputs["weight"], inputs["target"]
    kept = np.flatnonzero(t != inputs["ignore_index"])
    row = np.zeros(len(t))
    row[kept] = np.abs(w[t[kept]] * inputs["input"][kept, t[kept]])
    return _reduced(inputs, row, truth["dinput"], w[t[kept]].sum())


def _elementwise_loss(inputs, truth, start):
    """The sizes of the terms of each loss; those of the gradient of bce_with_logits, which may cancel."""
    x, t, loss = inputs["input"], inputs["target"], inputs["kind"].name
    w = 1 if inputs["weight"] is None else np.abs(inputs["weight"])
    gradient = np.abs(truth["dinput"])
    if loss == "kl_div":
        values = np.where(t == 0, 0, np.abs(t * np.log(t))) + np.abs(t * x)
    elif loss == "kl_div_log_target":
        values = np.exp(t) * (np.abs(t) + np.abs(x))
    elif loss == "bce_with_logits":
        p = 1 if inputs["pos_weight"] is None else np.resize(inputs["pos_weight"], x.shape)
        off, on, left, right = np.abs(1 - t), np.abs(p * t), np.logaddexp(0, -x), np.logaddexp(0, x)
        values = off * right + on * left
        divisor = inputs["divisor"] if inputs["reduction"] == "mean" else 1
        gradient = (off * np.exp(-left) + on * np.exp(-right)) * w / abs(divisor)
    else:
        values = np.abs(ELEMENTWISE[loss](x, t, *inputs["params"])[0])
    return _reduced(inputs, values * w, gradient, inputs["divisor"])


def _reduced(inputs, values, gradient, divisor):
    if inputs["reduction"] != "none":
        divisor = abs(divisor) if inputs["reduction"] == "mean" else 1
        values = np.reshape(values.sum() / divisor * _sum_of_positive(values.size), 1)
    return {"loss": values, "dinput": np.abs(gradient)}


def scales(case, inputs, truth, start):
    """What the rounding errors of each output are relative to. All arguments in float64."""
    functions = {
        "linear_forward": _linear_forward,
        "linear_backward": _linear_backward,
        "activation_forward": (
            _activation_forward if case.dtype == "float32" else _activation_forward_in_float64
        ),
        "activation_backward": _activation_backward,
        "softmax_forward": _softmax_forward,
        "log_softmax_forward": _log_softmax_forward,
        "softmax_backward": _softmax_backward,
        "log_softmax_backward": _log_softmax_backward,
        "cross_entropy": _cross_entropy,
        "nll_loss": _nll_loss,
        "elementwise_loss": _elementwise_loss,
        **OPTIM_SCALES,
        "prelu_forward": _exact_product,
        "prelu_backward": _prelu_backward,
        "layer_norm_forward": _forward_of(axis=1),
        "layer_norm_backward": _backward_of(axis=1),
        "batch_norm_forward": _forward_of(axis=0),
        "batch_norm_apply": _batch_norm_apply,
        "batch_norm_backward": _backward_of(axis=0),
        "dropout": _exact_product,
    }
    with np.errstate(all="ignore"):
        named = functions[case.kernel](inputs, truth, start)
    if case.kernel in OPTIM_SCALES:  # they may take denormal numbers for 0, and divide them by their eps
        f = np.finfo(case.dtype)
        unseen = float(f.tiny) / float(f.eps) / inputs.get("eps", 1)
        named = {name: scale + unseen for name, scale in named.items()}
    return {name: np.nan_to_num(scale, nan=0.0) for name, scale in named.items()}  # NaN: no error allowed


# ----------------------------------------------------------------------------------------- the checks


def truth_and_scales(case, inputs):
    """-> the outputs of the reference in float64, and their scales"""
    wide = widen(inputs)
    truth = case.run(reference, wide, widen(case.allocate()))
    return truth, scales(case, wide, truth, widen(case.allocate()))


def _kind(a):
    """0 for a finite number, 1 and -1 for ±inf, 2 for NaN"""
    return np.where(np.isnan(a), 2, np.where(np.isinf(a), np.sign(a), 0))


def assert_same_kind(got, same, truth):
    """NaN and ±inf where the reference has them. Where only float32 overflows, either answer is right."""
    with np.errstate(over="ignore"):
        kinds = _kind(same), _kind(truth.astype(same.dtype))
    wrong = (_kind(got) != kinds[0]) & (_kind(got) != kinds[1])
    assert not wrong.any(), f"{got[wrong]} where the reference has {same[wrong]}, at {np.argwhere(wrong)[:5]}"


def distance(a, truth):
    """|a - truth| in float64, 0 where one of them is not finite: that is for `assert_same_kind`."""
    finite = np.isfinite(a) & np.isfinite(truth)
    return np.abs(np.subtract(a, truth, where=finite, out=np.zeros(truth.shape)))


def assert_near(got, truth, allowed):
    """|got - truth| <= allowed wherever both are finite."""
    error = distance(got, truth)
    wrong = error > allowed
    if wrong.any():
        worst = np.unravel_index(np.argmax(wrong * (error / np.maximum(allowed, 1e-300))), truth.shape)
        limit = np.broadcast_to(allowed, truth.shape)[worst]
        raise AssertionError(
            f"{wrong.sum()} of {wrong.size} wrong; the worst at {tuple(map(int, worst))}: {got[worst]}, truth "
            f"{truth[worst]}, error {error[worst]:.3g}, allowed {limit:.3g}"
        )


def rounding(dtype, scale, few=FEW):
    """`few` rounding errors at that scale; results may be subnormal."""
    f = np.finfo(dtype)
    return few * (float(f.eps) * scale + float(f.smallest_subnormal))


def assert_as_good_as(got, same, truth, scale):
    """The error is at most that of the reference in the same precision, plus FEW roundings at that scale."""
    assert_same_kind(got, same, truth)
    assert_near(got, truth, distance(same, truth) + rounding(got.dtype, scale))
