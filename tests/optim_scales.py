"""What the rounding errors of the optimizers' updates are relative to, for compare.py. Capitals are sums of the terms'
sizes, beside the values in small letters."""

import numpy as np

TINY = 1e-300


def _root(v, V, factor, eps):
    """factor · sqrt(v) + eps, for v with errors relative to V -> the root and what its errors are relative to"""
    return factor * np.sqrt(v) + eps, factor * V / np.maximum(np.sqrt(v), TINY) + eps


def _quotient(a, A, b, B):
    return A / np.abs(b) + np.abs(a) * B / (b * b)


def _each(inputs, start, truth, scale):
    """scale(p, g, G, s, t) for each parameter -> the scales by flat name; s and t give its state before and after."""
    scales = {}
    lists = {name: arrays for name, arrays in start.items() if arrays is not None}
    decay = 0 if inputs.get("decoupled_weight_decay") else inputs["weight_decay"]
    for i, (p, grad) in enumerate(zip(start["params"], inputs["grads"])):
        g = (-grad if inputs["maximize"] else grad) + (decay * p if decay else 0)
        before = {name: arrays[i] for name, arrays in lists.items()}
        after = {name: truth[f"{name}[{i}]"] for name in lists}
        found = scale(np.abs(p), g, np.abs(grad) + decay * np.abs(p), before, after)
        scales |= {f"{name}[{i}]": value for name, value in found.items()}
    return scales


def _clip(inputs, truth, start):
    """Of the norm, whose squares are summed, and of what is multiplied by its inverse."""
    terms = sum(g.size for g in start["grads"])
    return {name: np.abs(t) * (2 + terms**0.5 / 8) for name, t in truth.items()}


def _sgd(inputs, truth, start):
    lr, momentum = inputs["lr"], inputs["momentum"]

    def scale(p, g, G, s, t):
        if not momentum:
            return {"params": p + lr * G}
        B = G if inputs["first"] else momentum * np.abs(s["momentum_buffers"]) + abs(1 - inputs["dampening"]) * G
        return {"params": p + lr * (G + momentum * B if inputs["nesterov"] else B), "momentum_buffers": B}

    return _each(inputs, start, truth, scale)


def _moments(inputs, G, s):
    beta2 = inputs["beta2"]
    return {"exp_avgs": np.abs(s["exp_avgs"]) + G, "exp_avg_sqs": beta2 * s["exp_avg_sqs"] + (1 - beta2) * G * G}


def _adam(inputs, truth, start):
    step, lr, eps = inputs["step"], inputs["lr"], inputs["eps"]
    bias1, bias2 = 1 - inputs["beta1"] ** step, 1 - inputs["beta2"] ** step

    def scale(p, g, G, s, t):
        scales = _moments(inputs, G, s)
        v, V = t["exp_avg_sqs"], scales["exp_avg_sqs"]
        if "max_exp_avg_sqs" in s:
            v, V = t["max_exp_avg_sqs"], np.maximum(V, s["max_exp_avg_sqs"])
            scales["max_exp_avg_sqs"] = V
        root = _root(v, V, bias2**-0.5, eps)
        return scales | {"params": p + lr / bias1 * _quotient(t["exp_avgs"], scales["exp_avgs"], *root)}

    return _each(inputs, start, truth, scale)


def _rmsprop(inputs, truth, start):
    lr, alpha, momentum = inputs["lr"], inputs["alpha"], inputs["momentum"]

    def scale(p, g, G, s, t):
        scales = {"square_avgs": alpha * s["square_avgs"] + (1 - alpha) * G * G}
        v, V = t["square_avgs"], scales["square_avgs"]
        if "grad_avgs" in s:
            scales["grad_avgs"] = np.abs(s["grad_avgs"]) + G
            v, V = v - t["grad_avgs"] ** 2, V + scales["grad_avgs"] ** 2
        Q = _quotient(g, G, *_root(v, V, 1, inputs["eps"]))
        if momentum:
            Q = scales["momentum_buffers"] = momentum * np.abs(s["momentum_buffers"]) + Q
        return scales | {"params": p + lr * Q}

    return _each(inputs, start, truth, scale)


def _adagrad(inputs, truth, start):
    lr = inputs["lr"] / (1 + (inputs["step"] - 1) * inputs["lr_decay"])

    def scale(p, g, G, s, t):
        V = s["state_sums"] + G * G
        Q = _quotient(g, G, *_root(t["state_sums"], V, 1, inputs["eps"]))
        return {"state_sums": V, "params": p + lr * Q}

    return _each(inputs, start, truth, scale)


def _adadelta(inputs, truth, start):
    rho, eps = inputs["rho"], inputs["eps"]

    def scale(p, g, G, s, t):
        V, v = rho * s["square_avgs"] + (1 - rho) * G * G, t["square_avgs"]
        D = np.sqrt((s["acc_deltas"] + eps) / (v + eps)) * (G + np.abs(g) * V / (v + eps))
        squares = rho * s["acc_deltas"] + (1 - rho) * D * D
        return {"square_avgs": V, "acc_deltas": squares, "params": p + inputs["lr"] * D}

    return _each(inputs, start, truth, scale)


def _nadam(inputs, truth, start):
    bias2, mu, mu_next, product = 1 - inputs["beta2"] ** inputs["step"], *(
        inputs[name] for name in ("mu", "mu_next", "mu_product")
    )

    def scale(p, g, G, s, t):
        scales = _moments(inputs, G, s)
        root = _root(t["exp_avg_sqs"], scales["exp_avg_sqs"], bias2**-0.5, inputs["eps"])
        now = (1 - mu) / (1 - product) * _quotient(g, G, *root)
        average = mu_next / (1 - product * mu_next) * _quotient(t["exp_avgs"], scales["exp_avgs"], *root)
        return scales | {"params": p + inputs["lr"] * (now + average)}

    return _each(inputs, start, truth, scale)


def _radam(inputs, truth, start):
    """Of both of its rules; the rectification is no more than 1."""
    step, lr = inputs["step"], inputs["lr"]
    bias1, bias2 = 1 - inputs["beta1"] ** step, 1 - inputs["beta2"] ** step

    def scale(p, g, G, s, t):
        scales = _moments(inputs, G, s)
        m, M = t["exp_avgs"], scales["exp_avgs"]
        root = _root(t["exp_avg_sqs"], scales["exp_avg_sqs"], 1, inputs["eps"])
        return scales | {"params": p + lr / bias1 * (M + bias2**0.5 * _quotient(m, M, *root))}

    return _each(inputs, start, truth, scale)


OPTIM_SCALES = {
    "clip_norm": _clip,
    "clip_value": _clip,
    "sgd": _sgd,
    "adam": _adam,
    "rmsprop": _rmsprop,
    "adagrad": _adagrad,
    "adadelta": _adadelta,
    "nadam": _nadam,
    "radam": _radam,
}
