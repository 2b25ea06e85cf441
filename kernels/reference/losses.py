"""The losses, each with its gradient.

Cross-entropy
-------------

With p = softmax(logits), C classes, class weights w, sample weights s and smoothing ε, a row's loss is

    labels t:           s · [ (1-ε) · w_t · -log p_t  +  ε/C · Σ_c w_c · -log p_c ]
    probabilities q:    s · Σ_c w_c · q'_c · -log p_c,   q' = (1-ε) q + ε/C

which is -Σ_c a_c log p_c for some coefficients a (rows, C); so its gradient is p · Σ_c a_c - a. Rows whose label is
`ignore_index` have a = 0. "mean" divides by Σ s·w_t over the rows that count (labels) or by Σ s (probabilities), as
torch does for s = 1; without any such row the loss is NaN and the gradient 0. The negative log-likelihood is the same
for log-probabilities that are given: a row's loss is -w_t · input_t, and its gradient -w_t at the label.

Element by element
------------------
`ELEMENTWISE[name](x, t, *params)` gives the loss of each element and its derivative by x. They are torch's, for ±inf
and NaN too, but for two: bce_with_logits of -inf where t > 0 is inf, the limit (torch: NaN), and where the divisor of
a mean is 0, its gradient is 0 (torch: NaN).

Sources: Huber 1964 · smooth_l1, Girshick 2015 (Fast R-CNN) · Kullback & Leibler 1951. bce keeps its logarithms above
-100 and its denominator above 1e-12, as torch does.
"""

import numpy as np


def _coefficients(target, classes, weight, sample_weight, ignore_index, label_smoothing, dtype):
    """-> a (rows, C) and every row's share (rows,) of the divisor of "mean"."""
    rows = len(target)
    w = np.ones(classes, dtype) if weight is None else weight
    s = np.ones(rows, dtype) if sample_weight is None else sample_weight
    if target.ndim == 2:
        q = (1 - label_smoothing) * target + (label_smoothing / classes if classes else 0)
        return s[:, None] * w * q, s
    a = np.zeros((rows, classes), dtype)
    share = np.zeros(rows, dtype)
    kept = np.flatnonzero(target != ignore_index)
    if len(kept):
        t = target[kept]
        a[kept] = s[kept, None] * w * (label_smoothing / classes)
        a[kept, t] += s[kept] * w[t] * (1 - label_smoothing)
        share[kept] = s[kept] * w[t]
    return a, share


def _reduce(values, reduction, divisor, loss):
    if reduction == "none":
        loss[...] = values
    else:
        loss[0] = values.sum() / (divisor if reduction == "mean" else 1)


def _share(a, reduction, divisor):
    """A gradient, or a factor of it, as it is for that reduction."""
    if reduction != "mean":
        return a
    return a / divisor if divisor != 0 else 0 * a


def cross_entropy(logits, target, weight, sample_weight, ignore_index, label_smoothing, reduction, loss, dlogits):
    classes = logits.shape[1]
    a, share = _coefficients(
        target, classes, weight, sample_weight, ignore_index, label_smoothing, logits.dtype
    )
    with np.errstate(all="ignore"):
        s = logits - logits.max(axis=1, keepdims=True, initial=-np.inf)
        log_p = s - np.log(np.exp(s).sum(axis=1, keepdims=True))
        row_loss = -np.where(a == 0, 0, a * log_p).sum(axis=1)  # a class of weight 0 may have p = 0
        grad = np.exp(log_p) * a.sum(axis=1, keepdims=True) - a
        if target.ndim == 1:
            grad[target == ignore_index] = 0  # whatever the logits of such a row
        _reduce(row_loss, reduction, share.sum(), loss)
        dlogits[...] = _share(grad, reduction, share.sum())


def find_bad_label(labels, classes, ignore_index):
    bad = ((labels < 0) | (labels >= classes)) & (labels != ignore_index)
    return int(bad.argmax()) if bad.any() else -1


def nll_loss(input, target, weight, ignore_index, reduction, loss, dinput):
    w = np.ones(input.shape[1], input.dtype) if weight is None else weight
    kept = np.flatnonzero(target != ignore_index)
    t = target[kept]
    row_loss = np.zeros(len(input), input.dtype)
    dinput[...] = 0
    with np.errstate(all="ignore"):
        row_loss[kept] = -w[t] * input[kept, t]
        _reduce(row_loss, reduction, w[t].sum(), loss)
        dinput[kept, t] = _share(-w[t], reduction, w[t].sum())


def mse(x, t):
    d = x - t
    return d * d, 2 * d


def l1(x, t):
    d = x - t
    return np.abs(d), np.where(np.isnan(d), 0, np.sign(d))


def smooth_l1(x, t, beta):
    d = x - t
    z = np.abs(d)
    return np.where(z < beta, 0.5 * (d / beta) * d, z - 0.5 * beta), np.where(z < beta, d / beta, np.sign(d))


def huber(x, t, delta):
    d = x - t
    z = np.abs(d)
    return np.where(z < delta, 0.5 * d * d, delta * (z - 0.5 * delta)), np.clip(d, -delta, delta)


def bce(x, t):
    log_x, log_rest = np.maximum(np.log(x), -100), np.maximum(np.log1p(-x), -100)
    return -(t * log_x + (1 - t) * log_rest), (x - t) / np.maximum((1 - x) * x, 1e-12)


def bce_with_logits(x, t, pos_weight=1.0):
    """(1 - t) softplus(x) + pos_weight t softplus(-x), where softplus(x) = max(x, 0) + log1p(e^-|x|)"""
    e = np.exp(-np.abs(x))
    off, on = 1 - t, pos_weight * t
    loss = off * np.maximum(x, 0) + on * np.maximum(-x, 0) + (off + on) * np.log1p(e)
    return loss, (off * np.where(x >= 0, 1, e) - on * np.where(x >= 0, e, 1)) / (1 + e)


def kl_div(x, t):
    return np.where(t == 0, 0, t * np.log(t)) - t * x, -t


def kl_div_log_target(x, t):
    return np.exp(t) * (t - x), -np.exp(t)


ELEMENTWISE = {
    "mse": mse,
    "l1": l1,
    "smooth_l1": smooth_l1,
    "huber": huber,
    "bce": bce,
    "bce_with_logits": bce_with_logits,
    "kl_div": kl_div,
    "kl_div_log_target": kl_div_log_target,
}


def elementwise_loss(input, target, weight, pos_weight, kind, params, reduction, divisor, loss, dinput):
    if pos_weight is not None:
        params = (np.resize(pos_weight, input.shape),)
    w = np.ones_like(input) if weight is None else weight
    with np.errstate(all="ignore"):
        function = ELEMENTWISE[kind.name] if kind.custom is None else kind.custom.at
        values, slope = function(input, target, *params)
        _reduce(values * w, reduction, divisor, loss)
        dinput[...] = slope * _share(w, reduction, divisor)  # in this order: slope · w may overflow


def find_outside_unit(a):
    bad = ~((a >= 0) & (a <= 1))
    return int(bad.argmax()) if bad.any() else -1
