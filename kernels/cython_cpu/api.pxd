# The C engine as Cython sees it (see c/engine.h), and the few lines that every module here needs.

cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int64_t, uint64_t

cdef extern from "engine.h" nogil:
    struct activation:
        int code
        double a, b

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

    struct c_elementwise_loss "elementwise_loss":
        ptrdiff_t count, pos_weights
        const void *input
        const void *target
        const void *weight
        const void *pos_weight
        int kind
        double param
        int reduction
        double divisor
        void *loss
        void *dinput
        double *run_loss
    struct optimized:
        ptrdiff_t begin, count
        void *param
        const void *grad
        void *state[3]

    struct c_sgd "sgd":
        double lr, momentum, dampening, weight_decay
        int nesterov, maximize, first

    struct c_adam "adam":
        double lr, beta1, beta2, eps, weight_decay
        int decoupled, maximize
        double step

    struct c_rmsprop "rmsprop":
        double lr, alpha, eps, weight_decay, momentum
        int maximize

    struct c_adagrad "adagrad":
        double lr, lr_decay, weight_decay, eps
        int maximize
        double step

    struct c_adadelta "adadelta":
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
        uint64_t seed, offset
        void *y

    struct kernels:
        const char *isa
        int bits
        int (*linear_forward)(const c_linear_forward *) noexcept nogil
        int (*linear_backward)(const c_linear_backward *) noexcept nogil
        void (*activation_forward)(const void *, activation, void *, ptrdiff_t) noexcept nogil
        void (*activation_backward)(const void *, const void *, activation, void *, ptrdiff_t) noexcept nogil
        int (*prelu)(const c_prelu *) noexcept nogil
        void (*softmax_forward)(const c_softmax *) noexcept nogil
        void (*log_softmax_forward)(const c_softmax *) noexcept nogil
        void (*softmax_backward)(const c_softmax *) noexcept nogil
        void (*log_softmax_backward)(const c_softmax *) noexcept nogil
        void (*layer_norm_forward)(const c_normalize *) noexcept nogil
        int (*layer_norm_backward)(const c_normalize *) noexcept nogil
        int (*batch_norm_forward)(const c_normalize *) noexcept nogil
        void (*batch_norm_apply)(const c_normalize *) noexcept nogil
        int (*batch_norm_backward)(const c_normalize *) noexcept nogil
        void (*dropout)(const c_dropout *) noexcept nogil
        void (*cross_entropy)(const c_cross_entropy *) noexcept nogil
        void (*nll_loss)(const c_cross_entropy *) noexcept nogil
        void (*elementwise_loss)(const c_elementwise_loss *) noexcept nogil
        ptrdiff_t (*find_outside_unit)(const void *, ptrdiff_t) noexcept nogil
        void (*sgd)(const optimized *, ptrdiff_t, const c_sgd *) noexcept nogil
        void (*adam)(const optimized *, ptrdiff_t, const c_adam *) noexcept nogil
        void (*rmsprop)(const optimized *, ptrdiff_t, const c_rmsprop *) noexcept nogil
        void (*adagrad)(const optimized *, ptrdiff_t, const c_adagrad *) noexcept nogil
        void (*adadelta)(const optimized *, ptrdiff_t, const c_adadelta *) noexcept nogil
        void (*nadam)(const optimized *, ptrdiff_t, const c_nadam *) noexcept nogil
        void (*radam)(const optimized *, ptrdiff_t, const c_adam *) noexcept nogil
        double (*fma_peak)(ptrdiff_t) noexcept nogil

    const char *const *engine_isas()
    const char *const *engine_built()
    const kernels *engine_kernels(const char *isa, int bits)
    const char *const *engine_activations()
    const char *const *engine_losses()

ctypedef const kernels *table_t

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
    cdef activation a = activation(act.code, 0, 0)
    if len(params) > 0:
        a.a = params[0]
    if len(params) > 1:
        a.b = params[1]
    return a
