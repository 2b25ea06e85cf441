# The C engine as Cython sees it (see c/engine.h), and the few lines that every module here needs.

cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int64_t, uint64_t

cdef extern from "engine.h" nogil:
    struct custom:
        pass

    struct activation:
        int code
        double a, b
        const custom *custom

    struct matrix:
        const void *data
        ptrdiff_t row, col

    struct c_linear_forward "linear_forward":
        ptrdiff_t m, k, n
        matrix x, w
        const void *b
        activation act
        void *y
        void *z

    struct optimized:
        ptrdiff_t begin, count
        void *param
        const void *grad
        void *state[3]

    struct c_weight_update "weight_update":
        int optimizer
        const void *options
        optimized one

    struct c_linear_backward "linear_backward":
        ptrdiff_t m, k, n
        const void *dy
        const void *saved
        matrix x, w
        activation act
        void *dx
        void *dw
        void *db
        int accumulate
        activation below
        const void *below_saved
        const c_weight_update *update

    struct c_elementwise "elementwise":
        ptrdiff_t count
        const void *dy
        const void *x
        activation act
        void *y

    struct c_softmax "softmax":
        ptrdiff_t rows, classes
        const void *x
        const void *y
        void *out

    struct c_cross_entropy "cross_entropy":
        ptrdiff_t rows, classes
        const void *logits
        const int64_t *labels
        const void *probabilities
        const void *weight
        const void *sample_weight
        int64_t ignore_index
        double label_smoothing
        int reduction
        void *loss
        void *dlogits
        double *row_loss

    int LOSS_RUN

    struct custom_loss:
        pass

    struct c_elementwise_loss "elementwise_loss":
        ptrdiff_t count, pos_weights
        const void *input
        const void *target
        const void *weight
        const void *pos_weight
        int kind
        double param
        const custom_loss *custom
        int reduction
        double divisor
        void *loss
        void *dinput
        double *run_loss

    struct c_bad_label "bad_label":
        ptrdiff_t count
        const int64_t *labels
        int64_t classes, ignore_index
        ptrdiff_t *found

    struct c_outside_unit "outside_unit":
        ptrdiff_t count
        const void *a
        ptrdiff_t *found

    int MAX_CHAIN, CHAIN_BYTES

    struct c_chain_layer "chain_layer":
        ptrdiff_t n
        const void *w
        const void *b
        activation act
        int saves_z
        void *dw
        void *db

    struct c_chain "chain":
        ptrdiff_t m, k, count, first
        const c_chain_layer *layers
        const void *x
        void *y
        int of_rows, unit_target, unit_output
        c_cross_entropy rows
        c_elementwise_loss each

    struct parameters:
        const optimized *each
        ptrdiff_t count

    int OPTIM_sgd, OPTIM_adam, OPTIM_rmsprop, OPTIM_adagrad, OPTIM_adadelta, OPTIM_nadam, OPTIM_radam

    struct c_clip "clip":
        parameters of
        double limit
        void *norm

    struct c_sgd "sgd":
        parameters of
        double lr, momentum, dampening, weight_decay
        int nesterov, maximize, first

    struct c_adam "adam":
        parameters of
        double lr, beta1, beta2, eps, weight_decay
        int decoupled, maximize
        const double *step

    struct c_rmsprop "rmsprop":
        parameters of
        double lr, alpha, eps, weight_decay, momentum
        int maximize

    struct c_adagrad "adagrad":
        parameters of
        double lr, lr_decay, weight_decay, eps
        int maximize
        const double *step

    struct c_adadelta "adadelta":
        parameters of
        double lr, rho, eps, weight_decay
        int maximize

    struct c_nadam "nadam":
        c_adam adam
        double mu, mu_next, mu_product

    struct c_prelu "prelu":
        ptrdiff_t rows, channels, inner, weights
        const void *dy
        const void *x
        const void *weight
        void *y
        void *dx
        void *dweight

    struct c_normalize "normalize":
        ptrdiff_t rows, n
        const void *dy
        const void *x
        const void *weight
        const void *bias
        double eps
        int training
        void *y
        void *mean
        void *rstd
        void *var
        void *dx
        void *dweight
        void *dbias

    struct c_dropout "dropout":
        ptrdiff_t count
        const void *x
        double p
        const uint64_t *seed
        uint64_t offset
        void *y

    ctypedef int kernel(const void *) noexcept nogil

    int NO_MEMORY, REFUSED

    int HOW_not, HOW_tiles, HOW_dots, HOW_outer, HOW_groups
    struct how_t "how":
        int made, turned
        ptrdiff_t rows, cols, tasks

    struct kernels:
        const char *isa
        int bits
        kernel *linear_forward
        kernel *linear_backward
        how_t (*forward_how)(const c_linear_forward *) noexcept nogil
        void (*backward_how)(const c_linear_backward *, how_t *, how_t *) noexcept nogil
        kernel *elementwise
        kernel *prelu
        kernel *dropout
        kernel *softmax_forward
        kernel *log_softmax_forward
        kernel *softmax_backward
        kernel *log_softmax_backward
        kernel *layer_norm_forward
        kernel *layer_norm_backward
        kernel *batch_norm_forward
        kernel *batch_norm_apply
        kernel *batch_norm_backward
        kernel *cross_entropy
        kernel *nll_loss
        kernel *elementwise_loss
        kernel *bad_label
        kernel *outside_unit
        kernel *chain
        kernel *clip_norm
        kernel *clip_value
        kernel *sgd
        kernel *adam
        kernel *rmsprop
        kernel *adagrad
        kernel *adadelta
        kernel *nadam
        kernel *radam
        double (*fma_peak)(ptrdiff_t) noexcept nogil

    const char *const *engine_isas()
    const char *const *engine_built()
    const kernels *engine_kernels(const char *isa, int bits)
    const char *const *engine_activations()
    const char *const *engine_losses()

ctypedef const kernels *table_t

# Runs a kernel; or, where there is a list `record`, appends the kernel with a copy of its arguments for `Program`, and
# `kept`, which holds memory that these point into.
cdef inline int run(kernel *function, const void *arguments, size_t size, list record, object kept=None) except *:
    cdef int status
    if record is not None:
        record.append((<size_t>function, (<const char *>arguments)[:size], kept))
        return 0
    with nogil:
        status = function(arguments)
    if status == NO_MEMORY:
        raise MemoryError("no memory for scratch")
    return status

# The two tables, float32 and float64, that `engine` chose at import.
cdef inline table_t *tables() except NULL:
    from fastmlp.kernels.cython_cpu.engine import tables as capsule
    return <table_t *>PyCapsule_GetPointer(capsule, "fastmlp.tables")

cdef inline bint is_double(cnp.ndarray a) noexcept:
    return cnp.PyArray_ITEMSIZE(a) == 8  # not by its type number: a long double may be a double

cdef inline void *data_or_null(cnp.ndarray a) noexcept:
    return NULL if a is None else cnp.PyArray_DATA(a)

# A 2-D array of any strides.
cdef inline matrix as_matrix(cnp.ndarray a) noexcept:
    cdef ptrdiff_t size = cnp.PyArray_ITEMSIZE(a)
    return matrix(cnp.PyArray_DATA(a), cnp.PyArray_STRIDE(a, 0) // size, cnp.PyArray_STRIDE(a, 1) // size)

cdef inline activation as_activation(object act, tuple params) except *:
    cdef activation a = activation(act.code, 0, 0, NULL)
    if len(params) > 0:
        a.a = params[0]
    if len(params) > 1:
        a.b = params[1]
    if act.custom is not None:
        a.custom = <const custom *><size_t>act.custom.address
    return a

# Which loss of single elements, with its parameter or its function.
cdef inline void set_kind(c_elementwise_loss *c, object kind, tuple params) except *:
    c.kind, c.param = kind.code, params[0] if params else 0
    c.custom = NULL if kind.custom is None else <const custom_loss *><size_t>kind.custom.address
