"""The fully connected layer, forward and backward. Arguments as in kernels/contract.py."""

cimport numpy as cnp

from api cimport OPTIM_adadelta, OPTIM_adagrad, OPTIM_adam, OPTIM_radam, OPTIM_rmsprop, OPTIM_sgd
from api cimport HOW_dots, HOW_groups, HOW_not, HOW_outer
from api cimport (
    as_activation, as_matrix, c_linear_backward, c_linear_forward, c_weight_update, data_or_null, how_t, is_double, matrix,
    run, table_t, tables,
)

cnp.import_array()
cdef table_t *table = tables()

# Those that may update a weight as soon as its gradient is there: their kernels -> their numbers
OPTIMIZERS = {
    "sgd": OPTIM_sgd, "adam": OPTIM_adam, "rmsprop": OPTIM_rmsprop, "adagrad": OPTIM_adagrad, "adadelta": OPTIM_adadelta,
    "radam": OPTIM_radam,
}


def linear_forward(
    cnp.ndarray x, cnp.ndarray w, cnp.ndarray b, act, tuple params, cnp.ndarray y, cnp.ndarray z, list record=None,
):
    cdef c_linear_forward f
    f.m, f.k, f.n = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1), cnp.PyArray_DIM(w, 0)
    f.x, f.w, f.b = as_matrix(x), as_matrix(w), data_or_null(b)
    f.act = as_activation(act, params)
    f.y, f.z = cnp.PyArray_DATA(y), data_or_null(z)
    run(table[is_double(x)].linear_forward, &f, sizeof(f), record)


def linear_backward(
    cnp.ndarray dy, cnp.ndarray x, cnp.ndarray w, cnp.ndarray saved, act, tuple params,
    cnp.ndarray dx, cnp.ndarray dw, cnp.ndarray db, accumulate, list record=None,
):
    cdef c_linear_backward g
    g.m, g.n = cnp.PyArray_DIM(dy, 0), cnp.PyArray_DIM(dy, 1)
    g.k = cnp.PyArray_DIM(w if x is None else x, 1) if x is not None or w is not None else 0
    g.act = as_activation(act, params)
    cdef matrix nothing = matrix(NULL, 0, 0)
    g.dy, g.saved = cnp.PyArray_DATA(dy), data_or_null(saved)
    g.x = nothing if x is None else as_matrix(x)
    g.w = nothing if w is None else as_matrix(w)
    g.dx, g.dw, g.db = data_or_null(dx), data_or_null(dw), data_or_null(db)
    g.accumulate = accumulate
    g.below_saved, g.update = NULL, NULL
    run(table[is_double(dy)].linear_backward, &g, sizeof(g), record)


# What fusion.py makes of the gradients of a layer, as above and in `arguments`, with what comes after them. below: None, or
# (act, params, saved) of the layer before: dx becomes dx act'(saved). update: None, or the optimizer's kernel and (grad, param,
# state, state, state) of the weight; its options are those of a call that the Program links it to, by what is recorded as kept.
def layer_backward(tuple arguments, tuple below, tuple update, list record):
    cdef list plain = []
    linear_backward(*arguments, plain)
    function, structure, _ = plain[0]
    cdef bytearray memory = bytearray(structure), kept = bytearray(sizeof(c_weight_update))
    cdef c_linear_backward *g = <c_linear_backward *><char *>memory
    cdef c_weight_update *u = <c_weight_update *><char *>kept
    cdef int i
    if below is not None:
        act, params, saved = below
        g.below, g.below_saved = as_activation(act, params), cnp.PyArray_DATA(saved)
    if update is not None:
        kernel, (grad, param, *states) = update
        u.optimizer = OPTIMIZERS[kernel]
        u.one.begin, u.one.count = 0, cnp.PyArray_SIZE(param)
        u.one.grad, u.one.param = cnp.PyArray_DATA(grad), cnp.PyArray_DATA(param)
        for i in range(3):
            u.one.state[i] = data_or_null(states[i])
        g.update = u
    record.append((function, bytes(memory), kept))


cdef str told(how_t how):
    if how.made == HOW_outer:
        return "outer products"
    if how.made == HOW_groups:
        return f"{how.tasks} groups of rows"
    kind = "dots" if how.made == HOW_dots else "tiles"
    turned = ", turned" if how.turned else ""
    return f"{kind} {how.rows} x {how.cols}{turned}, {how.tasks} task{'s' if how.tasks > 1 else ''}"


def how(str name, tuple arguments):
    """How a linear_forward, linear_backward or layer_backward makes its products, as text; "" of other kernels."""
    cdef list record = []
    cdef list ends = []
    cdef how_t dx, dw
    cdef table_t kernels
    if name == "linear_forward":
        linear_forward(*arguments, record)
        kernels = table[is_double(arguments[0])]
        dx = kernels.forward_how(<const c_linear_forward *><const char *>record[0][1])
        return "" if dx.made == HOW_not else told(dx)
    if name == "linear_backward":
        linear_backward(*arguments, record)
    elif name == "layer_backward":
        layer_backward(*arguments, record)
        arguments, below, update = arguments
        if below is not None:
            ends.append(f"with the derivative of the {below[0].name} below")
        if update is not None:
            ends.append(f"with the step of {update[0]}")
    else:
        return ""
    kernels = table[is_double(arguments[0])]
    kernels.backward_how(<const c_linear_backward *><const char *>record[0][1], &dx, &dw)
    return "; ".join([f"{d} {told(h)}" for d, h in (("dx", dx), ("dw", dw)) if h.made != HOW_not] + ends)
