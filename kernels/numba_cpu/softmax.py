"""Softmax and log-softmax over rows, and their gradients. Arguments as in kernels/contract.py.

A row is read from memory once; the later passes over it find it in the cache. Of short rows, as many as a vector has
lanes are done together.
"""

from __future__ import annotations

from typing import Any

from numba.core import types
from numba.extending import intrinsic

from ..numba_scalars.functions import at_least, exp, exp_nonpos, exp_up, log
from ..numba_scalars.numbers import fma, spread
from .entry import Entry, arrays
from .memory import INDEX, inner, room
from .pool import run_tasks, worth
from .turn import turned
from .vectors import (
    BYTES,
    every,
    first,
    lanes_of,
    largest,
    load,
    load_some,
    mask,
    masked_load,
    masked_store,
    store,
    store_some,
    total,
    vector_of,
)

ROW_RUN = 16384  # elements to a task
ROW_COST = 20  # of an element, in multiply-adds
SHORT_ROW = 64  # classes, at most, for which rows are done together
COLUMNS = SHORT_ROW * BYTES // 4  # elements of so many vectors, at most


@inner
def rows_per_task(x, classes):
    rows, lanes = ROW_RUN // (classes + 1) + 1, lanes_of(x)
    return rows if rows < lanes else rows // lanes * lanes


@inner
def whole_vectors(x, count):
    """How many of `count` elements are in groups of four vectors."""
    return count // (4 * lanes_of(x)) * (4 * lanes_of(x))


# ------------------------------------------------------------------------------------------------ rows one by one


@inner
def row_max(x, count):
    """The largest of x (count); -inf if there are none. NaNs may be passed over: the sum of exponentials finds them."""
    lowest, n = -float("inf"), lanes_of(x)
    a = b = c = d = every(x, lowest)
    whole = whole_vectors(x, count)
    for at in range(0, whole, 4 * n):
        a, b = at_least(load(x + at), a), at_least(load(x + at + n), b)
        c, d = at_least(load(x + at + 2 * n), c), at_least(load(x + at + 3 * n), d)
    for at in range(whole, count, n):
        a = at_least(load_some(x + at, count - at, lowest), a)
    return largest(at_least(at_least(a, b), at_least(c, d)))


@inner
def _exp_at(x, top, e):
    a = exp_nonpos(load(x) - top)
    store(e, a)
    return a


@inner
def row_exp(x, top, e, count):
    """e = exp(x - top); -> Σ e. e may be x."""
    n, shift = lanes_of(x), every(x, top)
    a = b = c = d = every(x, 0)
    whole = whole_vectors(x, count)
    for at in range(0, whole, 4 * n):
        a = a + _exp_at(x + at, shift, e + at)
        b = b + _exp_at(x + at + n, shift, e + at + n)
        c = c + _exp_at(x + at + 2 * n, shift, e + at + 2 * n)
        d = d + _exp_at(x + at + 3 * n, shift, e + at + 3 * n)
    for at in range(whole, count, n):
        some = exp_nonpos(load_some(x + at, count - at, -float("inf")) - shift)
        store_some(e + at, some, count - at)
        a = a + some
    return total((a + b) + (c + d))


@inner
def row_scaled(y, factor, count):
    """y = y factor, in its place"""
    n, scale = lanes_of(y), every(y, factor)
    whole = count // n * n
    for at in range(0, whole, n):
        store(y + at, load(y + at) * scale)
    if whole < count:
        store_some(y + whole, load_some(y + whole, count - whole, 0) * scale, count - whole)


@inner
def _softmax_row(x, unused, y, classes):
    row_scaled(y, 1 / row_exp(x, row_max(x, classes), y, classes), classes)


@inner
def log_of(x, value):
    """The logarithm of a number, of what x points to."""
    return first(log(every(x, value)))


@inner
def _log_softmax_row(x, unused, y, classes):
    top, n = row_max(x, classes), lanes_of(x)
    log_sum = every(x, log_of(x, row_exp(x, top, y, classes)))
    shift = every(x, top)
    whole = classes // n * n
    for at in range(0, whole, n):
        store(y + at, (load(x + at) - shift) - log_sum)
    if whole < classes:
        store_some(y + whole, (load_some(x + whole, classes - whole, 0) - shift) - log_sum, classes - whole)


@inner
def _row_dot(a, b, count):
    """Σ a b"""
    n = lanes_of(a)
    p = q = r = s = every(a, 0)
    whole = whole_vectors(a, count)
    for at in range(0, whole, 4 * n):
        p, q = fma(load(a + at), load(b + at), p), fma(load(a + at + n), load(b + at + n), q)
        r = fma(load(a + at + 2 * n), load(b + at + 2 * n), r)
        s = fma(load(a + at + 3 * n), load(b + at + 3 * n), s)
    for at in range(whole, count, n):
        p = fma(load_some(a + at, count - at, 0), load_some(b + at, count - at, 0), p)
    return total((p + q) + (r + s))


@inner
def _softmax_backward_row(dy, y, dx, classes):
    """dx = y (dy - Σ dy y)"""
    n, shift = lanes_of(dy), every(dy, _row_dot(dy, y, classes))
    whole = classes // n * n
    for at in range(0, whole, n):
        store(dx + at, load(y + at) * (load(dy + at) - shift))
    if whole < classes:
        some = load_some(y + whole, classes - whole, 0) * (load_some(dy + whole, classes - whole, 0) - shift)
        store_some(dx + whole, some, classes - whole)


@inner
def _row_sum(a, count):
    n = lanes_of(a)
    p = q = r = s = every(a, 0)
    whole = whole_vectors(a, count)
    for at in range(0, whole, 4 * n):
        p, q, r, s = p + load(a + at), q + load(a + at + n), r + load(a + at + 2 * n), s + load(a + at + 3 * n)
    for at in range(whole, count, n):
        p = p + load_some(a + at, count - at, 0)
    return total((p + q) + (r + s))


@inner
def _log_softmax_backward_row(dy, y, dx, classes):
    """dx = dy - exp(y) Σ dy"""
    n, factor = lanes_of(dy), every(dy, -_row_sum(dy, classes))
    whole = classes // n * n
    for at in range(0, whole, n):
        store(dx + at, fma(exp(load(y + at)), factor, load(dy + at)))
    if whole < classes:
        some = fma(exp(load_some(y + whole, classes - whole, 0)), factor, load_some(dy + whole, classes - whole, 0))
        store_some(dx + whole, some, classes - whole)


# ----------------------------------------------------------------------------------------- short rows, many at a time
# They are turned: lane i of vector c is class c of row i, and no lane is summed with another. Where there are fewer
# rows than lanes, the last of them is in all the lanes behind it.


def _rows_at(context: Any, builder: Any, first_row: Any, stride: Any, last: Any, number: Any) -> list[Any]:
    """The places of as many rows as a vector has lanes, as pointers to vectors; behind the last, that one again."""
    places = [first_row]
    for i in range(1, number.lanes):
        step = builder.select(builder.icmp_signed("<=", INDEX(i), last), stride, INDEX(0))
        places.append(builder.gep(places[-1], [step]))
    vector = context.get_value_type(number.storage)
    return [builder.bitcast(place, vector.as_pointer()) for place in places]


def _columns_at(context: Any, builder: Any, first_column: Any, number: Any) -> list[Any]:
    vector = context.get_value_type(number.storage)
    places = [builder.gep(first_column, [INDEX(i * number.lanes)]) for i in range(number.lanes)]
    return [builder.bitcast(place, vector.as_pointer()) for place in places]


@intrinsic
def _load_block(typingctx: Any, rows: Any, stride: Any, last: Any, count: Any, other: Any, columns: Any) -> Any:
    """Lane i of vector c at `columns` = element c of row i, `other` from `count` on."""
    number = vector_of(rows.dtype)

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        first_row, stride, last, count, other, columns = args
        some, behind = mask(builder, count, number.lanes), spread(builder, other, number.lanes)
        places = _rows_at(context, builder, first_row, stride, last, number)
        block = [masked_load(builder, place, some, behind, number.real.bitwidth // 8) for place in places]
        for column, place in zip(turned(builder, block), _columns_at(context, builder, columns, number), strict=True):
            builder.store(column, place)
        return context.get_dummy_value()

    return types.none(rows, types.intp, types.intp, types.intp, number.real, columns), emit


@intrinsic
def _store_block(typingctx: Any, columns: Any, rows: Any, stride: Any, last: Any, count: Any) -> Any:
    """What `_load_block` does, the other way."""
    number = vector_of(rows.dtype)

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        columns, first_row, stride, last, count = args
        some = mask(builder, count, number.lanes)
        block = turned(builder, [builder.load(place) for place in _columns_at(context, builder, columns, number)])
        places = _rows_at(context, builder, first_row, stride, last, number)
        for row, place in reversed(list(zip(block, places, strict=True))):  # what is there twice: the first stays
            masked_store(builder, row, place, some, number.real.bitwidth // 8)
        return context.get_dummy_value()

    return types.none(columns, rows, types.intp, types.intp, types.intp), emit


@inner
def _next_block(c, lanes, classes):
    """Where the next block of columns starts; the last one may overlap the one before."""
    return classes if c + lanes >= classes else min(c + lanes, classes - lanes)


@inner
def load_columns(x, classes, last, columns):
    """columns = the rows up to `last` from x on, turned; -> the largest of each. NaNs may be passed over."""
    n = lanes_of(x)
    c = 0
    while c < classes:
        _load_block(x + c, classes, last, classes, -float("inf"), columns + c * n)
        c = _next_block(c, n, classes)
    top = load(columns)
    for c in range(1, classes):
        top = at_least(load(columns + c * n), top)
    return top


@inner
def store_columns(columns, classes, last, y):
    """What is in two blocks is written twice, and alike."""
    n = lanes_of(y)
    c = 0
    while c < classes:
        _store_block(columns + c * n, y + c, classes, last, classes)
        c = _next_block(c, n, classes)


@inner
def _softmax_rows(x, y, last, classes):
    columns, n, sums = room(x, COLUMNS), lanes_of(x), every(x, 0)
    top = load_columns(x, classes, last, columns)
    for c in range(classes):
        e = exp_up(load(columns + c * n) - top)
        store(columns + c * n, e)
        sums = sums + e
    scale = 1 / sums
    for c in range(classes):
        store(columns + c * n, load(columns + c * n) * scale)
    store_columns(columns, classes, last, y)


@inner
def _log_softmax_rows(x, y, last, classes):
    columns, n, sums = room(x, COLUMNS), lanes_of(x), every(x, 0)
    top = load_columns(x, classes, last, columns)
    for c in range(classes):
        a = load(columns + c * n) - top
        store(columns + c * n, a)
        sums = sums + exp_nonpos(a)
    log_sum = log(sums)
    for c in range(classes):
        store(columns + c * n, load(columns + c * n) - log_sum)
    store_columns(columns, classes, last, y)


# --------------------------------------------------------------------------------------------------- whole matrices


def _task(row: Any) -> Any:
    @inner
    def task(job, index):
        x, y, out, rows, classes = job
        run = rows_per_task(x, classes)
        for i in range(index * run, min(rows, (index + 1) * run)):
            row(x + i * classes, y + i * classes, out + i * classes, classes)

    return task


def _task_of_short(some_rows: Any) -> Any:
    @inner
    def task(job, index):
        x, _, out, rows, classes = job
        run = rows_per_task(x, classes)
        end = min(rows, (index + 1) * run)
        for i in range(index * run, end, lanes_of(x)):
            some_rows(x + i * classes, out + i * classes, end - i - 1, classes)

    return task


def _kernel(task: Any, name: str) -> Entry:
    def softmax(x, y, out):
        rows, classes = x.shape[0], x.shape[1]
        run = rows_per_task(x.data, classes)
        steps = rows * classes * ROW_COST / lanes_of(x.data)
        if classes:
            run_tasks(task, (x.data, y.data, out.data, rows, classes), (rows + run - 1) // run, worth(steps), steps)

    return Entry(softmax, arrays(3), name)


_forward = _kernel(_task(_softmax_row), "of rows")
_forward_short = _kernel(_task_of_short(_softmax_rows), "of short rows")
_log_forward = _kernel(_task(_log_softmax_row), "as logarithms")
_log_forward_short = _kernel(_task_of_short(_log_softmax_rows), "as logarithms of short rows")
_backward = _kernel(_task(_softmax_backward_row), "backward")
_log_backward = _kernel(_task(_log_softmax_backward_row), "backward, of logarithms")


def softmax_forward(x, y):
    kernel = _forward_short if x.shape[1] <= SHORT_ROW else _forward
    kernel[x.itemsize](x, x, y)


def log_softmax_forward(x, y):
    kernel = _log_forward_short if x.shape[1] <= SHORT_ROW else _log_forward
    kernel[x.itemsize](x, x, y)


def softmax_backward(dy, y, dx):
    _backward[dy.itemsize](dy, y, dx)


def log_softmax_backward(dy, y, dx):
    _log_backward[dy.itemsize](dy, y, dx)
