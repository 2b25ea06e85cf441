"""The optimizers' updates and clipped gradients, all parameters in one call. Arguments as in kernels/contract.py.

The formulas are those of reference/optim.py; what depends on the step alone is worked out once, in double, and bias
corrections are taken from the square root to the numbers beside it: m / (√v / b + eps) = b m / (√v + b eps).

Averages of gradients that have become 0 shrink until they are denormal, and then stay so, since rounding keeps them
from shrinking on. So denormal numbers are 0 here.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from ..numba_scalars.functions import at_least, at_most
from ..numba_scalars.numbers import choose, constant, fma, square_root
from .denormals import ARCHITECTURE, flush_denormals, unflush
from .entry import Entry
from .memory import (
    Array,
    Arrays,
    address,
    every,
    given,
    in_all,
    inner,
    item,
    lanes_of,
    load,
    load_part,
    pointer,
    room,
    size,
    store_part,
    total,
)
from .pool import run_tasks, worth

RUN = 8192  # elements to a task, of all parameters' in a row
COST = 24  # of an element, in multiply-adds
FEW = 128  # parameters that are done at a time: their table is on the stack
KINDS = 7  # of numbers that a table has of a parameter: see `listed`
TABLE = FEW * KINDS

# ---------------------------------------------------------------------------------------------- lists of parameters


@inner
def _address(arrays, i):
    return address(item(arrays, i).data) if arrays.count else 0


@inner
def listed(table, params, grads, first, second, third, begin):
    """Of FEW parameters from `begin` on, fewer if there are no more: where each begins among their elements, how many
    it has, and the addresses of its arrays, 0 for a list that is None. -> how many parameters, and all their elements
    """
    count, elements = min(params.count - begin, FEW), 0
    for k in range(count):
        one, i = table + k * KINDS, begin + k
        one[0], one[1], one[2], one[3] = elements, size(item(params, i)), _address(params, i), _address(grads, i)
        one[4], one[5], one[6] = _address(first, i), _address(second, i), _address(third, i)
        elements += one[1]
    return count, elements


def _task(run: Any) -> Any:
    """A task that calls run(one, at, end, like, terms) for its elements at..end of each parameter. one: its row of the
    table. like: a pointer to numbers as all have them"""

    @inner
    def task(job, index):
        table, params, elements, length, like, terms = job
        begin, end = index * length, min((index + 1) * length, elements)
        first, beyond = 0, params  # the last parameter that begins at `begin` or before, by bisection
        while beyond - first > 1:
            middle = (first + beyond) // 2
            if table[middle * KINDS] <= begin:
                first = middle
            else:
                beyond = middle
        before = flush_denormals()
        for i in range(first, params):
            one = table + i * KINDS
            if one[0] >= end:
                break
            run(one, max(begin - one[0], 0), min(end - one[0], one[1]), like, terms)
        unflush(before)

    return task


@inner
def _given(one):
    """How many kinds of state there are of a parameter"""
    return (one[4] != 0) + (one[5] != 0) + (one[6] != 0)


def _part(kept: Any) -> Any:
    """Takes a vector of a kind of state, or 0 if it is not kept, and puts it back. kept: is it? None: if it is given"""

    @inner
    def take(state, at, count):
        if kept or (kept is None and given(state)):
            return load_part(state + at, count, 0)
        return every(state, 0)

    @inner
    def put(state, at, vector, count):
        if kept or (kept is None and given(state)):
            store_part(state + at, vector, count)

    return take, put


def _loop(update: Any, kept: Any) -> Any:
    """Over the vectors of a parameter. kept: for each kind of state, as `_part` has it"""
    (take_first, put_first), (take_second, put_second), (take_third, put_third) = map(_part, kept)

    @inner
    def step(param, grad, first, second, third, at, count, terms):
        p, g = load_part(param + at, count, 0), load_part(grad + at, count, 0)
        a, b, c = take_first(first, at, count), take_second(second, at, count), take_third(third, at, count)
        p, a, b, c = update(p, g, a, b, c, terms)
        store_part(param + at, p, count)
        put_first(first, at, a, count)
        put_second(second, at, b, count)
        put_third(third, at, c, count)

    @inner
    def loop(one, at, end, like, terms):
        param, grad, lanes = pointer(one[2], like), pointer(one[3], like), lanes_of(like)
        first, second, third = pointer(one[4], like), pointer(one[5], like), pointer(one[6], like)
        while at + lanes <= end:
            step(param, grad, first, second, third, at, lanes, terms)
            at += lanes
        if at < end:
            step(param, grad, first, second, third, at, end - at, terms)

    return loop


def _run(update: Any, usual: Any, other: Any = None) -> Any:
    """update(param, grad, first, second, third, terms) -> the new param and states, of one vector. usual, other: which
    states are kept, and, if there are more than those, which then"""
    loop = _loop(update, usual)
    if other is None:
        return loop
    longer, few = _loop(update, other), sum(usual)

    @inner
    def run(one, at, end, like, terms):
        if _given(one) == few:
            loop(one, at, end, like, terms)
        else:
            longer(one, at, end, like, terms)

    return run


def _optimizer(run: Any, terms_of: Any, numbers: int, name: str) -> Entry:
    """terms_of(numbers) -> what the updates of this step need"""
    task = _task(run)

    def kernel(params, grads, first, second, third, numbers):
        table, terms = room(pointer(0, np.intp), TABLE), terms_of(numbers)
        for begin in range(0, params.count, FEW):
            count, elements = listed(table, params, grads, first, second, third, begin)
            like = item(params, begin).data
            steps = elements * COST / lanes_of(like)
            job = table, count, elements, RUN, like, terms
            run_tasks(task, job, (elements + RUN - 1) // RUN, worth(steps), steps)

    def takes(real: Any) -> Any:
        return (*[Arrays(real)] * 5, types.UniTuple(types.float64, numbers))

    return Entry(kernel, takes, name)


def _count(step: Any) -> Any:
    """The number, which may stand in an array (1,)."""
    return step.item() if isinstance(step, np.ndarray) else step


# -------------------------------------------------------------------------------------- what updates have in common


@inner
def decay_of(lr, weight_decay, decoupled, maximize):
    """-> Is there nothing to do? Has the parameter no share in the gradient? The gradient's sign, the parameter's share
    and what is left of the parameter"""
    plain, sign = weight_decay == 0 and not maximize, 1 - 2 * maximize
    if decoupled:
        return plain, True, sign, 0.0, 1 - lr * weight_decay
    return plain, weight_decay == 0, sign, weight_decay, 1.0


@inner
def decayed(param, grad, decay):
    """-> the parameter, shrunk, and ±grad + weight_decay · param"""
    plain, apart, sign, coupled, left = decay
    if plain:
        return param, grad
    param, g = param * left, grad * sign
    return param, g if apart else fma(coupled, param, g)


@inner
def lerp(a, b, weight):
    """a + weight (b - a), from the end that is nearer"""
    return fma(weight, b - a, a) if weight < 0.5 else fma(weight - 1, b - a, b)


@inner
def mean_square(v, g, keep):
    """keep v + (1 - keep) g²"""
    return fma(g * (1 - keep), g, v * keep)


def _estimate(name: str) -> Any:
    """An instruction of AVX-512: the first 14 bits of a function, of 16 float32. It is not asked of other vectors."""

    @intrinsic
    def estimate(typingctx: Any, x: Any) -> Any:
        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            value = builder.extract_value(args[0], 0)
            kind, bits = value.type, ir.IntType(16)
            if not _has_estimates(x):
                return args[0]
            function = ir.FunctionType(kind, [kind, kind, bits])
            declared = cgutils.get_or_insert_function(builder.module, function, f"llvm.x86.avx512.{name}.ps.512")
            value = builder.call(declared, [value, ir.Constant(kind, ir.Undefined), bits(-1)])
            return builder.insert_value(args[0], value, 0)

        return x(x), emit

    return estimate


def _has_estimates(vector: Any) -> bool:
    return ARCHITECTURE == "x86_64" and vector.lanes == 16 and vector.real == types.float32


reciprocal_root, reciprocal = _estimate("rsqrt14"), _estimate("rcp14")


@intrinsic
def has_estimates(typingctx: Any, vector: Any) -> Any:
    return types.boolean(vector), lambda context, builder, sig, args: ir.IntType(1)(_has_estimates(vector))


@inner
def over_root(a, v, eps):
    """a / (√v + eps), where v is the least normal number if it is less: no average that was flushed to 0 makes it
    infinite.

    With AVX-512 a root and a quotient occupy a port for 22 cycles. There both begin with estimates, which one step of
    Newton's turns into all 24 bits but the last; these do not know infinity.
    """
    v = at_least(v, constant("REAL_MIN", v))
    finite = v <= constant("REAL_MAX", v)
    if not has_estimates(v) or eps >= 2.0**100 or not in_all(finite):
        return a / (square_root(v) + eps)
    r = reciprocal_root(v)
    near = v * r
    d = fma(near * 0.5, fma(-near, r, 1), near) + eps
    q = reciprocal(d)
    return a * fma(fma(-d, q, 1), q, q)


# ------------------------------------------------------------------------------------------ one update of a vector


@inner
def _sgd_terms(numbers):
    lr, momentum, dampening, weight_decay, nesterov, maximize, first = numbers
    decay = decay_of(lr, weight_decay, 0, maximize)
    return decay, lr, momentum, 1 - dampening, momentum != 0, nesterov != 0, first != 0


@inner
def _sgd_update(p, grad, buffer, unused, unused_too, terms):
    decay, lr, momentum, rate, has_buffer, nesterov, first = terms
    p, g = decayed(p, grad, decay)
    if has_buffer:
        buffer = g if first else fma(momentum, buffer, g * rate)
        g = fma(momentum, buffer, g) if nesterov else buffer
    return fma(-lr, g, p), buffer, unused, unused_too


@inner
def _adam_terms(numbers):
    lr, beta1, beta2, eps, weight_decay, decoupled, maximize, step, amsgrad = numbers
    bias1, root2 = 1 - beta1**step, math.sqrt(1 - beta2**step)
    return decay_of(lr, weight_decay, decoupled, maximize), beta1, beta2, lr / bias1 * root2, eps * root2, amsgrad != 0


@inner
def _adam_update(p, grad, m, v, top, terms):
    decay, beta1, beta2, rate, eps, amsgrad = terms
    p, g = decayed(p, grad, decay)
    m, v = lerp(m, g, 1 - beta1), mean_square(v, g, beta2)
    largest = v
    if amsgrad:
        largest = top = choose(v < top, top, choose(top == top, v, top))  # or a NaN
    return fma(-rate, over_root(m, largest, eps), p), m, v, top


@inner
def _rmsprop_terms(numbers):
    lr, alpha, eps, weight_decay, momentum, maximize, centered = numbers
    return decay_of(lr, weight_decay, 0, maximize), lr, alpha, eps, momentum, momentum != 0, centered != 0


@inner
def _rmsprop_update(p, grad, v, m, buffer, terms):
    decay, lr, alpha, eps, momentum, has_buffer, centered = terms
    p, g = decayed(p, grad, decay)
    v = variance = mean_square(v, g, alpha)
    if centered:
        m = lerp(m, g, 1 - alpha)
        variance = v - m * m
    g = over_root(g, variance, eps)
    if has_buffer:
        g = buffer = fma(momentum, buffer, g)
    return fma(-lr, g, p), v, m, buffer


@inner
def _adagrad_terms(numbers):
    lr, lr_decay, weight_decay, eps, maximize, step = numbers
    return decay_of(lr, weight_decay, 0, maximize), lr / (1 + (step - 1) * lr_decay), eps


@inner
def _adagrad_update(p, grad, v, unused, unused_too, terms):
    decay, rate, eps = terms
    p, g = decayed(p, grad, decay)
    v = fma(g, g, v)
    return fma(-rate, over_root(g, v, eps), p), v, unused, unused_too


@inner
def _adadelta_terms(numbers):
    lr, rho, eps, weight_decay, maximize = numbers
    return decay_of(lr, weight_decay, 0, maximize), lr, rho, eps


@inner
def _adadelta_update(p, grad, v, d, unused, terms):
    decay, lr, rho, eps = terms
    p, g = decayed(p, grad, decay)
    v = mean_square(v, g, rho)
    delta = square_root(d + eps) / square_root(v + eps) * g
    return fma(-lr, delta, p), v, mean_square(d, delta, rho), unused


@inner
def _nadam_terms(numbers):
    lr, beta1, beta2, eps, weight_decay, decoupled, maximize, step, mu, mu_next, mu_product = numbers
    root2 = math.sqrt(1 - beta2**step)
    now, average = (1 - mu) / (1 - mu_product), mu_next / (1 - mu_product * mu_next)
    decay = decay_of(lr, weight_decay, decoupled, maximize)
    return decay, beta1, beta2, lr * now * root2, lr * average * root2, eps * root2


@inner
def _nadam_update(p, grad, m, v, unused, terms):
    decay, beta1, beta2, now, average, eps = terms
    p, g = decayed(p, grad, decay)
    m, v = lerp(m, g, 1 - beta1), mean_square(v, g, beta2)
    return p - over_root(fma(g, now, m * average), v, eps), m, v, unused


@inner
def _radam_terms(numbers):
    """The length of the average's window is rho; up to 5 its variance is not to be had."""
    lr, beta1, beta2, eps, weight_decay, decoupled, maximize, step = numbers
    power2 = beta2**step
    rate, bias2, longest = lr / (1 - beta1**step), 1 - power2, 2 / (1 - beta2) - 1
    rho = longest - 2 * step * power2 / bias2
    if rho > 5:
        rate *= math.sqrt(bias2 * (rho - 4) * (rho - 2) * longest / ((longest - 4) * (longest - 2) * rho))
    return decay_of(lr, weight_decay, decoupled, maximize), beta1, beta2, rate, eps, rho > 5


@inner
def _radam_update(p, grad, m, v, unused, terms):
    decay, beta1, beta2, rate, eps, rectified = terms
    p, g = decayed(p, grad, decay)
    m, v = lerp(m, g, 1 - beta1), mean_square(v, g, beta2)
    return fma(-rate, over_root(m, v, eps) if rectified else m, p), m, v, unused


NONE, ONE, TWO, ALL = (False, False, False), (True, False, False), (True, True, False), (True, True, True)
_sgd = _optimizer(_run(_sgd_update, NONE, ONE), _sgd_terms, 7, "sgd")
_adam = _optimizer(_run(_adam_update, TWO, ALL), _adam_terms, 9, "adam")
_rmsprop = _optimizer(_run(_rmsprop_update, ONE, (True, None, None)), _rmsprop_terms, 7, "rmsprop")
_adagrad = _optimizer(_run(_adagrad_update, ONE), _adagrad_terms, 6, "adagrad")
_adadelta = _optimizer(_run(_adadelta_update, TWO), _adadelta_terms, 5, "adadelta")
_nadam = _optimizer(_run(_nadam_update, TWO), _nadam_terms, 11, "nadam")
_radam = _optimizer(_run(_radam_update, TWO), _radam_terms, 8, "radam")


def sgd(grads, lr, momentum, dampening, weight_decay, nesterov, maximize, first, params, momentum_buffers):
    if params:
        numbers = lr, momentum, dampening, weight_decay, nesterov, maximize, first
        _sgd[params[0].itemsize](params, grads, momentum_buffers, None, None, numbers)


def adam(
    grads, lr, beta1, beta2, eps, weight_decay, decoupled_weight_decay, maximize, step,
    params, exp_avgs, exp_avg_sqs, max_exp_avg_sqs,
):  # fmt: skip
    if params:
        amsgrad = max_exp_avg_sqs is not None
        numbers = lr, beta1, beta2, eps, weight_decay, decoupled_weight_decay, maximize, _count(step), amsgrad
        _adam[params[0].itemsize](params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, numbers)


def rmsprop(grads, lr, alpha, eps, weight_decay, momentum, maximize, params, square_avgs, grad_avgs, momentum_buffers):
    if params:
        numbers = lr, alpha, eps, weight_decay, momentum, maximize, grad_avgs is not None
        _rmsprop[params[0].itemsize](params, grads, square_avgs, grad_avgs, momentum_buffers, numbers)


def adagrad(grads, lr, lr_decay, weight_decay, eps, maximize, step, params, state_sums):
    if params:
        numbers = lr, lr_decay, weight_decay, eps, maximize, _count(step)
        _adagrad[params[0].itemsize](params, grads, state_sums, None, None, numbers)


def adadelta(grads, lr, rho, eps, weight_decay, maximize, params, square_avgs, acc_deltas):
    if params:
        numbers = lr, rho, eps, weight_decay, maximize
        _adadelta[params[0].itemsize](params, grads, square_avgs, acc_deltas, None, numbers)


def nadam(
    grads, lr, beta1, beta2, eps, weight_decay, decoupled_weight_decay, maximize, step, mu, mu_next, mu_product,
    params, exp_avgs, exp_avg_sqs,
):  # fmt: skip
    if params:
        numbers = (
            lr, beta1, beta2, eps, weight_decay, decoupled_weight_decay, maximize, _count(step),
            mu, mu_next, mu_product,
        )  # fmt: skip
        _nadam[params[0].itemsize](params, grads, exp_avgs, exp_avg_sqs, None, numbers)


def radam(
    grads, lr, beta1, beta2, eps, weight_decay, decoupled_weight_decay, maximize, step, params, exp_avgs, exp_avg_sqs
):
    if params:
        numbers = lr, beta1, beta2, eps, weight_decay, decoupled_weight_decay, maximize, _count(step)
        _radam[params[0].itemsize](params, grads, exp_avgs, exp_avg_sqs, None, numbers)


# ---------------------------------------------------------------------------------------------- clipped gradients

MANY = 512  # sums of squares, at most


@inner
def square_sum(g, count):
    """Σ g² (count), in four chains and lane by lane"""
    lanes, at = lanes_of(g), 0
    a = b = c = d = every(g, 0)
    while at + 4 * lanes <= count:
        w, x, y, z = load(g + at), load(g + at + lanes), load(g + at + 2 * lanes), load(g + at + 3 * lanes)
        a, b, c, d = fma(w, w, a), fma(x, x, b), fma(y, y, c), fma(z, z, d)
        at += 4 * lanes
    while at < count:
        x = load_part(g + at, count - at, 0)
        a = fma(x, x, a)
        at += lanes
    return total((a + b) + (c + d))


@inner
def _square_run(one, at, end, like, terms):
    """sums[t] += Σ g² of what task t takes of this gradient, RUN elements at a time"""
    sums, length = terms
    task = (one[0] + at) // length
    for begin in range(at, end, RUN):
        sums[task] += square_sum(pointer(one[2], like) + begin, min(RUN, end - begin))


@inner
def _scale_update(g, unused, first, second, third, share):
    return g * share, first, second, third


@inner
def _bound_update(g, unused, first, second, third, limit):
    return at_most(at_least(g, -limit), limit), first, second, third


@inner
def _no_terms(numbers):
    return numbers[0]


_square_task, _scale_task = _task(_square_run), _task(_run(_scale_update, NONE))
_clip_value = _optimizer(_run(_bound_update, NONE), _no_terms, 1, "clip_value")


def _norm(grads, nothing, norm, limit):
    """limit: what the norm is made no larger than; where it is infinite, the norm is all that is wanted"""
    table, sums, square = room(pointer(0, np.intp), TABLE), room(pointer(0, np.float64), MANY), 0.0
    for begin in range(0, grads.count, FEW):
        count, elements = listed(table, grads, grads, nothing, nothing, nothing, begin)
        length = RUN * max((elements + MANY * RUN - 1) // (MANY * RUN), 1)
        tasks = (elements + length - 1) // length
        for i in range(tasks):
            sums[i] = 0.0
        steps = elements * COST / lanes_of(norm.data)
        job = table, count, elements, length, norm.data, (sums, length)
        run_tasks(_square_task, job, tasks, worth(steps), steps)
        for i in range(tasks):
            square += sums[i]
    norm.data[0] = math.sqrt(square)
    share = limit / (norm.data[0] + 1e-6)
    if share >= 1 or limit == math.inf:
        return
    for begin in range(0, grads.count, FEW):
        count, elements = listed(table, grads, grads, nothing, nothing, nothing, begin)
        steps = elements * COST / lanes_of(norm.data)
        job = table, count, elements, RUN, norm.data, share
        run_tasks(_scale_task, job, (elements + RUN - 1) // RUN, worth(steps), steps)


_clip_norm = Entry(_norm, lambda real: (Arrays(real), Arrays(real), Array(real), types.float64))


def clip_norm(max_norm, grads, norm):
    _clip_norm[norm.itemsize](grads, None, norm, max_norm)


def clip_value(limit, grads):
    if grads:
        _clip_value[grads[0].itemsize](grads, grads, None, None, None, (limit,))
