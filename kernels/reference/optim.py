"""The optimizers' updates of parameters and state, in place.

params, grads and each kind of state are lists of arrays, one for each parameter, whose arrays have one shape. Formulas,
their order and where eps sits are those of torch.optim.

Sources: SGD with momentum, Sutskever et al. 2013 · Adam, Kingma & Ba 2015 · decoupled weight decay, Loshchilov &
Hutter 2019 · AMSGrad, Reddi et al. 2018 · RMSprop, Hinton 2012, centered, Graves 2013 · Adagrad, Duchi et al. 2011 ·
Adadelta, Zeiler 2012 · NAdam, Dozat 2016 · RAdam, Liu et al. 2020.
"""

import numpy as np


def gradient(param, grad, weight_decay, maximize):
    """±grad + weight_decay · param; a param that is inf does not count where weight_decay is 0."""
    g = -grad if maximize else grad
    return g + weight_decay * param if weight_decay else g


def decayed_gradient(param, grad, lr, weight_decay, decoupled, maximize):
    """The same, or, decoupled, the gradient alone and a param that has shrunk by lr · weight_decay."""
    if decoupled:
        param *= 1 - lr * weight_decay
        weight_decay = 0
    return gradient(param, grad, weight_decay, maximize)


def lerp(a, b, weight):
    """a + weight (b - a), from the end that is nearer"""
    a[...] = a + weight * (b - a) if weight < 0.5 else b - (1 - weight) * (b - a)


def mean_square(square_avg, g, keep):
    """keep · square_avg + (1 - keep) g²"""
    square_avg *= keep
    square_avg += (1 - keep) * g * g


def root(v):
    """sqrt(v), where v counts as the least normal number if it is less: averages of squares that small may be flushed
    to 0, and what is divided by the root must not become infinite by that."""
    return np.sqrt(np.maximum(v, np.finfo(v.dtype).tiny))


def count_of(step):
    """The number, which may stand in an array (1,)."""
    return np.asarray(step).item()


def each(params, *lists):
    """Per parameter its arrays, None for those of a list that is None."""
    return zip(params, *([None] * len(params) if arrays is None else arrays for arrays in lists))


@np.errstate(all="ignore")
def clip_norm(max_norm, grads, norm):
    """Pascanu et al. 2013, as torch.nn.utils.clip_grad_norm_ does it."""
    norm[0] = sum((np.vdot(g, g) for g in grads), norm.dtype.type(0)) ** 0.5
    share = norm.dtype.type(max_norm) / (norm[0] + norm.dtype.type(1e-6))
    if not share >= 1 and not np.isinf(max_norm):
        for g in grads:
            g *= share


def clip_value(limit, grads):
    for g in grads:
        np.clip(g, -limit, limit, out=g)


@np.errstate(all="ignore")
def sgd(grads, lr, momentum, dampening, weight_decay, nesterov, maximize, first, params, momentum_buffers):
    """momentum_buffers: None if momentum is 0. first: they have no numbers yet, and begin with the gradient."""
    for p, grad, buffer in each(params, grads, momentum_buffers):
        g = gradient(p, grad, weight_decay, maximize)
        if momentum:
            buffer[...] = g if first else momentum * buffer + (1 - dampening) * g
            g = g + momentum * buffer if nesterov else buffer
        p -= lr * g


@np.errstate(all="ignore")
def adam(
    grads, lr, beta1, beta2, eps, weight_decay, decoupled_weight_decay, maximize, step,
    params, exp_avgs, exp_avg_sqs, max_exp_avg_sqs,
):  # fmt: skip
    """step counts from 1. max_exp_avg_sqs: for AMSGrad, else None."""
    step = count_of(step)
    bias1, bias2 = 1 - beta1**step, 1 - beta2**step
    for p, grad, m, v, top in each(params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs):
        g = decayed_gradient(p, grad, lr, weight_decay, decoupled_weight_decay, maximize)
        lerp(m, g, 1 - beta1)
        mean_square(v, g, beta2)
        if top is not None:
            top[...] = np.maximum(top, v)
        p -= lr / bias1 * m / (root(v if top is None else top) / bias2**0.5 + eps)


@np.errstate(all="ignore")
def rmsprop(
    grads, lr, alpha, eps, weight_decay, momentum, maximize, params, square_avgs, grad_avgs, momentum_buffers
):
    """grad_avgs: where it is centered, else None. momentum_buffers: None if momentum is 0."""
    for p, grad, v, m, buffer in each(params, grads, square_avgs, grad_avgs, momentum_buffers):
        g = gradient(p, grad, weight_decay, maximize)
        mean_square(v, g, alpha)
        if m is not None:
            lerp(m, g, 1 - alpha)
        g = g / (root(v if m is None else v - m * m) + eps)
        if momentum:
            buffer[...] = momentum * buffer + g
            g = buffer
        p -= lr * g


@np.errstate(all="ignore")
def adagrad(grads, lr, lr_decay, weight_decay, eps, maximize, step, params, state_sums):
    """step counts from 1."""
    lr = lr / (1 + (count_of(step) - 1) * lr_decay)
    for p, grad, v in each(params, grads, state_sums):
        g = gradient(p, grad, weight_decay, maximize)
        v += g * g
        p -= lr * g / (root(v) + eps)


@np.errstate(all="ignore")
def adadelta(grads, lr, rho, eps, weight_decay, maximize, params, square_avgs, acc_deltas):
    for p, grad, v, d in each(params, grads, square_avgs, acc_deltas):
        g = gradient(p, grad, weight_decay, maximize)
        mean_square(v, g, rho)
        delta = np.sqrt(d + eps) / np.sqrt(v + eps) * g
        mean_square(d, delta, rho)
        p -= lr * delta


@np.errstate(all="ignore")
def nadam(
    grads, lr, beta1, beta2, eps, weight_decay, decoupled_weight_decay, maximize, step, mu, mu_next, mu_product,
    params, exp_avgs, exp_avg_sqs,
):  # fmt: skip
    """step counts from 1. mu, mu_next: of this step and the next; mu_product: of all steps up to this one."""
    bias2 = 1 - beta2 ** count_of(step)
    for p, grad, m, v in each(params, grads, exp_avgs, exp_avg_sqs):
        g = decayed_gradient(p, grad, lr, weight_decay, decoupled_weight_decay, maximize)
        lerp(m, g, 1 - beta1)
        mean_square(v, g, beta2)
        denominator = root(v) / bias2**0.5 + eps
        p -= lr * (1 - mu) / (1 - mu_product) * g / denominator
        p -= lr * mu_next / (1 - mu_product * mu_next) * m / denominator


@np.errstate(all="ignore")
def radam(
    grads, lr, beta1, beta2, eps, weight_decay, decoupled_weight_decay, maximize, step, params, exp_avgs, exp_avg_sqs
):
    """step counts from 1. rho is the length of the moving average's window; up to 5 its variance is not to be had."""
    step = count_of(step)
    bias1, bias2 = 1 - beta1**step, 1 - beta2**step
    longest = 2 / (1 - beta2) - 1
    rho = longest - 2 * step * beta2**step / bias2
    for p, grad, m, v in each(params, grads, exp_avgs, exp_avg_sqs):
        g = decayed_gradient(p, grad, lr, weight_decay, decoupled_weight_decay, maximize)
        lerp(m, g, 1 - beta1)
        mean_square(v, g, beta2)
        if rho > 5:
            rectified = ((rho - 4) * (rho - 2) * longest / ((longest - 4) * (longest - 2) * rho)) ** 0.5
            p -= lr / bias1 * m * (bias2**0.5 / (root(v) + eps)) * rectified
        else:
            p -= lr / bias1 * m
