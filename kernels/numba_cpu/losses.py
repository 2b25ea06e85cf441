"""The losses with their gradients. Arguments as in kernels/contract.py.

Cross-entropy goes over the rows once; the formulas are those of reference/losses.py: a row's loss is -Σ_c a_c log p_c,
its gradient p Σ_c a_c - a. Losses of single elements are in numba_scalars/losses.py.

Labels were checked, but another Python thread may have written to them since: each is read once, and one that is none
at all gives NaN.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from ..contract import REDUCTIONS
from ..numba_scalars.functions import exp_nonpos, log
from ..numba_scalars.numbers import choose, constant, filled, fma, spread
from .entry import Entry
from .memory import Array, given, inner, room, size
from .pool import run_tasks, worth
from .softmax import (
    COLUMNS,
    ROW_COST,
    SHORT_ROW,
    load_columns,
    log_of,
    row_exp,
    row_max,
    row_scaled,
    rows_per_task,
    store_columns,
)
from .vectors import (
    BYTES,
    every,
    first,
    lane_numbers,
    lanes_of,
    load,
    load_some,
    mask,
    masked_load,
    only,
    store,
    store_some,
    total,
    vector_of,
    widened,
)

CODES = {name: code for code, name in enumerate(REDUCTIONS)}
NONE, MEAN = CODES["none"], CODES["mean"]
NLL_COST = 2  # of an element, in multiply-adds
SUM_BLOCK = 16  # vectors
LANES = BYTES // 4  # of a vector, at most

# --------------------------------------------------------------------------------------------------- what all share


@inner
def reciprocal_of(x, divisor):
    """unit and scale, vectors whose product is 1 / divisor, which alone might be no normal number; 0 for 0."""
    distance, like = abs(divisor), every(x, 0)
    least, shift = first(constant("REAL_MIN", like)), first(constant("SUBNORMAL_UNIT", like))
    unit, scale = 1.0, 0.0
    if 0 < distance < least:
        unit = np.float64(shift)
    if distance > 1 / least:
        unit = 1 / shift
    if distance != 0:
        scale = 1 / (divisor * unit)
    return every(x, unit), every(x, scale)


# Of a long sum, the terms may be all alike, and then round alike: SUM_BLOCK vectors of them are summed in one chain for
# each lane, and the sums of such blocks in float64, with what rounding takes from it kept in `lost` (Knuth's TwoSum).


@inner
def add_term(value, lost, term):
    """-> value, lost with another term"""
    new = value + term
    taken = new - value
    return new, lost + ((value - (new - taken)) + (term - taken))


@inner
def whole_sum(value, lost):
    return value + lost if abs(value) < float("inf") else value  # rounding takes NaN from inf


@inner
def _sum_of(a, count):
    """Σ a, float64"""
    n = lanes_of(a)
    p = q = every(a, 0)
    for at in range(0, count, 2 * n):
        p = p + load_some(a + at, count - at, 0)
        q = q + load_some(a + (at + n), count - at - n, 0)
    return total(p + q)


# ------------------------------------------------------------------------------------------------ rows with a label


class Rows(NamedTuple):
    """x, dx (rows, classes); labels (rows,), or null and probabilities (rows, classes); weight (classes,) and
    sample_weight (rows,), or null; row_loss (rows,), float64. unit, scale: as of reciprocal_of."""

    x: Any
    labels: Any
    probabilities: Any
    weight: Any
    sample_weight: Any
    dx: Any
    row_loss: Any
    rows: Any
    classes: Any
    ignore_index: Any
    smoothing: Any
    unit: Any
    scale: Any


@inner
def _counts(label, classes, ignore_index):
    return (label != ignore_index) & (label >= 0) & (label < classes)


@inner
def _row_weight(job, i, label):
    """s_i w_label, as a vector. The label counts."""
    a = every(job.x, 1)
    if given(job.sample_weight):
        a = every(job.x, job.sample_weight[i])
    if given(job.weight):
        a = a * every(job.x, job.weight[label])
    return a


@inner
def _ignored_loss(label, ignore_index):
    return 0.0 if label == ignore_index else float("nan")


@inner
def _clear(a, count):
    whole = count // lanes_of(a) * lanes_of(a)
    for at in range(0, whole, lanes_of(a)):
        store(a + at, every(a, 0))
    store_some(a + whole, every(a, 0), count - whole)


@inner
def _sparse_row(job, i):
    """A label without smoothing: a is 0 but there. dx may be x."""
    label, classes = job.labels[i], job.classes
    x, dx = job.x + i * classes, job.dx + i * classes
    if not _counts(label, classes, job.ignore_index):
        _clear(dx, classes)
        return _ignored_loss(label, job.ignore_index)
    top, at_label = row_max(x, classes), every(x, x[label])
    sum_of = row_exp(x, top, dx, classes)
    a = _row_weight(job, i, label)
    share = a * job.unit * job.scale
    row_scaled(dx, first(share / every(x, sum_of)), classes)
    dx[label] -= first(share)
    loss = a * (every(x, log_of(x, sum_of)) - (at_label - every(x, top)))
    return np.float64(first(choose(a == 0, 0, loss)))


def _each(row: Any) -> Any:
    """The task that goes over rows one by one."""

    @inner
    def task(job, index):
        run = rows_per_task(job.x, job.classes)
        for i in range(index * run, min(job.rows, (index + 1) * run)):
            job.row_loss[i] = row(job, i)

    return task


@inner
def _coefficients(job, i, label, at):
    """a_c for a vector of classes from `at` on: s w_c (keep q_c + spread), where keep is 1 - ε and spread ε / C."""
    x, left = job.x, job.classes - at
    s = w = every(x, 1)
    if given(job.labels):
        q = choose(lane_numbers(x) == every(x, label - at), w, 0)
    else:
        q = load_some(job.probabilities + (i * job.classes + at), left, 0)
    if given(job.weight):
        w = load_some(job.weight + at, left, 0)
    if given(job.sample_weight):
        s = every(x, job.sample_weight[i])
    keep, spread_out = every(x, 1 - job.smoothing), every(x, job.smoothing / job.classes)
    return only(w * s * fma(q, keep, spread_out), left)


@inner
def _dense_row(job, i):
    """Probabilities, or a label with smoothing: every class has its a."""
    label, classes, n = 0, job.classes, lanes_of(job.x)
    x, dx = job.x + i * classes, job.dx + i * classes
    if given(job.labels):
        label = job.labels[i]
        if not _counts(label, classes, job.ignore_index):
            _clear(dx, classes)
            return _ignored_loss(label, job.ignore_index)
    top = row_max(x, classes)
    sum_of = row_exp(x, top, dx, classes)
    shift, log_sum = every(x, top), every(x, log_of(x, sum_of))
    value = lost = 0.0
    for begin in range(0, classes, SUM_BLOCK * n):
        block = every(x, 0)
        for at in range(begin, min(classes, begin + SUM_BLOCK * n), n):
            block = block + _coefficients(job, i, label, at)
        value, lost = add_term(value, lost, total(block))
    by = np.float64(first(job.unit)) * first(job.scale)
    factor = every(x, whole_sum(value, lost) * by / sum_of)
    value = lost = 0.0
    for begin in range(0, classes, SUM_BLOCK * n):
        block = every(x, 0)
        for at in range(begin, min(classes, begin + SUM_BLOCK * n), n):
            a, left = _coefficients(job, i, label, at), classes - at
            distance = log_sum - (load_some(x + at, left, 0) - shift)
            block = block + choose(a == 0, 0, a * distance)
            store_some(dx + at, load_some(dx + at, left, 0) * factor - a * job.unit * job.scale, left)
        value, lost = add_term(value, lost, total(block))
    return whole_sum(value, lost)


# ----------------------------------------------------------------------- short rows with a label, many at a time


@intrinsic
def _labels_at(typingctx: Any, labels: Any, count: Any, classes: Any, ignore_index: Any, like: Any) -> Any:
    """The first `count` labels as a vector, of what `like` points to: -1 for one that is ignored, and behind them, -2
    for one that is none. classes: not many"""
    number = vector_of(like.dtype)

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        labels, count, classes, ignored, _ = args
        wide, short = (ir.VectorType(ir.IntType(bits), number.lanes) for bits in (64, 32))
        bits = ir.VectorType(ir.DoubleType(), number.lanes)
        some = mask(builder, count, number.lanes)
        place = builder.bitcast(labels, bits.as_pointer())
        label = builder.bitcast(masked_load(builder, place, some, filled(bits, 0.0), 8), wide)
        is_one = builder.icmp_unsigned("<", label, spread(builder, classes, number.lanes))
        is_ignored = builder.or_(
            builder.icmp_signed("==", label, spread(builder, ignored, number.lanes)), builder.not_(some)
        )
        known = builder.select(is_one, builder.trunc(label, short), filled(short, -2))
        known = builder.select(is_ignored, filled(short, -1), known)
        made = builder.sitofp(known, context.get_value_type(number.storage))
        return builder.insert_value(ir.Constant(context.get_value_type(number), ir.Undefined), made, 0)

    return number(labels, types.int64, types.int64, types.int64, like), emit


@inner
def _short_weights(job, i, label, count):
    """a at each label, 0 where it does not count."""
    x, counted = job.x, label >= 0
    a = choose(counted, every(x, 1), 0)
    if given(job.sample_weight):
        a = choose(counted, load_some(job.sample_weight + i, count, 0), 0)
    if given(job.weight):
        kept, w = room(x, LANES), room(x, LANES)
        store(kept, label)
        for lane in range(lanes_of(x)):
            w[lane] = 0
            if kept[lane] >= 0:
                w[lane] = job.weight[int(kept[lane])]
        a = a * load(w)
    return a


@inner
def _short_rows(job, i, count):
    """What _sparse_row gives, but for the rounding, for `count` rows."""
    classes, n = job.classes, lanes_of(job.x)
    x, dx, columns = job.x + i * classes, job.dx + i * classes, room(job.x, COLUMNS)
    label = _labels_at(job.labels + i, count, classes, job.ignore_index, x)
    a = _short_weights(job, i, label, count)
    top = load_columns(x, classes, count - 1, columns)
    sums = picked = every(x, 0)
    for c in range(classes):
        shifted = load(columns + c * n) - top
        picked = choose(label == every(x, c), shifted, picked)
        e = exp_nonpos(shifted)
        store(columns + c * n, e)
        sums = sums + e
    share, counted = a * job.unit * job.scale, label >= 0
    factor = share / sums
    for c in range(classes):
        p = load(columns + c * n) * factor
        p = choose(label == every(x, c), p - share, p)
        store(columns + c * n, choose(counted, p, 0))
    store_columns(columns, classes, count - 1, dx)
    loss = choose(label < -1, float("nan"), choose(a == 0, 0, a * (log(sums) - picked)))
    store_some(job.row_loss + i, widened(loss), count)


@inner
def _short_task(job, index):
    run = rows_per_task(job.x, job.classes)
    end = min(job.rows, (index + 1) * run)
    for i in range(index * run, end, lanes_of(job.x)):
        _short_rows(job, i, min(lanes_of(job.x), end - i))


# --------------------------------------------------------------------------------------- negative log-likelihood


@inner
def _nll_task(job, index):
    run, classes = rows_per_task(job.x, job.classes), job.classes
    begin, end = index * run, min(job.rows, (index + 1) * run)
    _clear(job.dx + begin * classes, (end - begin) * classes)
    for i in range(begin, end):
        label = job.labels[i]
        if _counts(label, classes, job.ignore_index):
            at = i * classes + label
            a = _row_weight(job, i, label)
            job.dx[at] = -first(a * job.unit * job.scale)
            job.row_loss[i] = -np.float64(first(a)) * job.x[at]
        else:
            job.row_loss[i] = _ignored_loss(label, job.ignore_index)


# ------------------------------------------------------------------------------------------------------ all rows


@inner
def _divisor(labels, weight, sample_weight, rows, classes, ignore_index):
    """What "mean" divides by: Σ s w_t over the rows that count, Σ s for probabilities."""
    has_weight = given(labels) and given(weight)
    if not has_weight and not given(sample_weight):
        if not given(labels):
            return float(rows)
        count = 0
        for i in range(rows):
            count += int(_counts(labels[i], classes, ignore_index))
        return float(count)
    whole = 0.0
    for i in range(rows):
        share = np.float64(sample_weight[i]) if given(sample_weight) else 1.0
        if given(labels):
            label = labels[i]
            if not _counts(label, classes, ignore_index):
                continue
            if has_weight:
                share *= weight[label]
        whole += share
    return whole


def _of_rows(task: Any, cost: int, name: str) -> Entry:
    def loss_of_rows(
        x, labels, probabilities, weight, sample_weight, ignore_index, smoothing, reduction, loss, dx, row_loss
    ):
        rows, classes, by = x.shape[0], x.shape[1], 1.0
        if reduction == MEAN:
            by = _divisor(labels.data, weight.data, sample_weight.data, rows, classes, ignore_index)
        unit, scale = reciprocal_of(x.data, by)
        job = Rows(
            x.data, labels.data, probabilities.data, weight.data, sample_weight.data, dx.data, row_loss.data,
            rows, classes, ignore_index, smoothing, unit, scale,
        )  # fmt: skip
        run, steps = rows_per_task(x.data, classes), rows * classes * cost / lanes_of(x.data)
        run_tasks(task, job, (rows + run - 1) // run, worth(steps), steps)
        if reduction == NONE:
            for i in range(rows):
                loss.data[i] = row_loss.data[i]
        else:
            loss.data[0] = _sum_of(row_loss.data, rows) / by

    def takes(real: Any) -> tuple[Any, ...]:
        array = Array(real)
        numbers = types.int64, types.float64, types.intp
        return array, Array(types.int64), array, array, array, *numbers, array, array, Array(types.float64)

    return Entry(loss_of_rows, takes, name)


_sparse = _of_rows(_each(_sparse_row), ROW_COST, "with labels")
_short = _of_rows(_short_task, ROW_COST, "with labels, short")
_dense = _of_rows(_each(_dense_row), ROW_COST, "with probabilities")
_nll = _of_rows(_nll_task, NLL_COST, "of log-probabilities")


def cross_entropy(logits, target, weight, sample_weight, ignore_index, label_smoothing, reduction, loss, dlogits):
    rows, classes = logits.shape
    soft = target.ndim == 2
    kernel = _dense if soft or label_smoothing else _short if classes <= SHORT_ROW else _sparse
    kernel[logits.itemsize](
        logits, None if soft else target, target if soft else None, weight, sample_weight, ignore_index,
        label_smoothing, CODES[reduction], loss, dlogits, np.empty(rows),
    )  # fmt: skip


def nll_loss(input, target, weight, ignore_index, reduction, loss, dinput):
    _nll[input.itemsize](
        input, target, None, weight, None, ignore_index, 0.0, CODES[reduction], loss, dinput, np.empty(len(input))
    )


SOME_LABELS = 256


def _first_bad_label(labels, classes, ignore_index):
    count = size(labels)
    for begin in range(0, count, SOME_LABELS):
        end, bad = min(count, begin + SOME_LABELS), 0
        for i in range(begin, end):
            label = labels.data[i]
            bad += int(((label < 0) | (label >= classes)) & (label != ignore_index))
        if bad:
            for i in range(begin, end):
                label = labels.data[i]
                if (label < 0 or label >= classes) and label != ignore_index:
                    return i
    return -1


_bad_label = Entry(_first_bad_label, lambda real: (Array(types.int64), types.int64, types.int64))


def find_bad_label(labels, classes, ignore_index):
    return _bad_label[8](labels, classes, ignore_index)
