"""Cross-entropy with its gradient.

With p = softmax(logits), C classes, class weights w, sample weights s and smoothing ε, a row's loss is

    labels t:           s · [ (1-ε) · w_t · -log p_t  +  ε/C · Σ_c w_c · -log p_c ]
    probabilities q:    s · Σ_c w_c · q'_c · -log p_c,   q' = (1-ε) q + ε/C

which is -Σ_c a_c log p_c for some coefficients a (rows, C); so its gradient is p · Σ_c a_c - a. Rows whose label is
`ignore_index` have a = 0. "mean" divides by Σ s·w_t over the rows that count (labels) or by Σ s (probabilities), as
torch does for s = 1; without any such row the loss is NaN and the gradient 0.
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
        if reduction == "none":
            loss[...] = row_loss
        elif reduction == "sum":
            loss[0] = row_loss.sum()
        else:
            divisor = share.sum()
            loss[0] = row_loss.sum() / divisor
            grad = grad / divisor if divisor != 0 else np.zeros_like(grad)
        dlogits[...] = grad


def find_bad_label(labels, classes, ignore_index):
    bad = ((labels < 0) | (labels >= classes)) & (labels != ignore_index)
    return int(bad.argmax()) if bad.any() else -1
