/* The engine as its callers see it: one table of functions per instruction set and precision.
 *
 * Every `void *` and `const void *` is an array of the table's precision. Shapes as in kernels/contract.py:
 * x (m, k), w (n, k), b (n), y z dy saved (m, n), C-contiguous but for x and w, whose strides are counted in elements.
 * Nothing is checked here: fastmlp.ops has done it. */
#ifndef ENGINE_H
#define ENGINE_H

#include <stddef.h>
#include <stdint.h>

/* The numbers of contract.ACTIVATIONS */
enum act {
    ACT_identity, ACT_relu, ACT_leaky_relu, ACT_relu6, ACT_sigmoid, ACT_tanh, ACT_elu, ACT_selu, ACT_softsign,
    ACT_gelu, ACT_gelu_tanh, ACT_silu, ACT_softplus, ACT_mish, ACT_hardswish, ACT_logsigmoid, ACT_celu, ACT_tanhshrink,
    ACT_hardsigmoid, ACT_hardtanh, ACT_hardshrink, ACT_softshrink, ACT_threshold, ACT_COUNT,
    ACT_custom = ACT_COUNT
};

/* A function that the user wrote, over runs of `count` numbers, a multiple of CUSTOM_STEP: y = f(z), and dz = dy f'(saved). y
 * may be z, and dz dy. [0] of floats, [1] of doubles. */
enum { CUSTOM_STEP = 64 };
struct custom {
    void (*forward[2])(const void *z, void *y, ptrdiff_t count);
    void (*backward[2])(const void *dy, const void *saved, void *dz, ptrdiff_t count);
};

struct activation { /* which one, and its parameters in the contract's order; or, of ACT_custom, the function */
    int code;
    double a, b;
    const struct custom *custom;
};

struct matrix { /* element [i][j] at data + i*row + j*col */
    const void *data;
    ptrdiff_t row, col;
};

/* A kernel takes the struct of its name. -> 0; NO_MEMORY, with nothing written, where there is none for scratch; or REFUSED, if
 * what it looks at is not as it must be. */
typedef int kernel(const void *arguments);
enum { NO_MEMORY = -1, REFUSED = 1 };

struct linear_forward { /* y = act(x wᵀ + b); z = x wᵀ + b is kept where z is not NULL; b may be NULL */
    ptrdiff_t m, k, n;
    struct matrix x, w;
    const void *b;
    struct activation act;
    void *y, *z;
};

struct weight_update;

struct linear_backward { /* dz = dy act'(saved); dx = dz w, dw = dzᵀ x, db = Σ dz; any of the three may be NULL */
    ptrdiff_t m, k, n;
    const void *dy, *saved;
    struct matrix x, w;
    struct activation act;
    void *dx, *dw, *db;
    int accumulate; /* into dw and db */
    /* What else may be done with the gradients while they are in the cache: */
    struct activation below;  /* dx becomes dx act'(below_saved), where that is not NULL */
    const void *below_saved;
    const struct weight_update *update; /* of w; dw may then hold anything; or NULL */
};

struct elementwise { /* y = act(x), count of them; where dy is not NULL, y = dy act'(x), and x is what was saved */
    ptrdiff_t count;
    const void *dy, *x;
    struct activation act;
    void *y;
};

struct softmax { /* rows of x (rows, classes); backward: x is dy, and y is the forward result */
    ptrdiff_t rows, classes;
    const void *x, *y;
    void *out;
};

/* The numbers of contract.LOSSES */
enum loss {
    LOSS_mse, LOSS_l1, LOSS_smooth_l1, LOSS_huber, LOSS_bce, LOSS_bce_with_logits, LOSS_kl_div, LOSS_kl_div_log_target,
    LOSS_COUNT,
    LOSS_custom = LOSS_COUNT
};

enum reduction { REDUCE_NONE, REDUCE_MEAN, REDUCE_SUM };

struct cross_entropy { /* as in reference/losses.py; either labels (rows) or probabilities (rows, classes) */
    ptrdiff_t rows, classes;
    const void *logits;
    const int64_t *labels;
    const void *probabilities, *weight, *sample_weight;
    int64_t ignore_index;
    double label_smoothing;
    int reduction;
    void *loss, *dlogits;
    double *row_loss; /* scratch (rows) */
};

enum { LOSS_RUN = 8192 }; /* elements that one task takes */

struct custom_loss { /* loss[i] = f(input[i], target[i]), and its derivative by input; as in struct custom */
    void (*at[2])(const void *input, const void *target, void *loss, void *slope, ptrdiff_t count);
};

struct elementwise_loss { /* element by element, as in reference/losses.py; weight (count) and pos_weight may be NULL */
    ptrdiff_t count, pos_weights;
    const void *input, *target, *weight, *pos_weight; /* element i has pos_weight[i % pos_weights] */
    int kind; /* enum loss */
    double param;
    const struct custom_loss *custom; /* of LOSS_custom */
    int reduction;
    double divisor;
    void *loss, *dinput;
    double *run_loss; /* scratch: one for each LOSS_RUN elements, or part of it */
};

struct bad_label { /* is any of labels (count) neither in 0..classes-1 nor ignore_index? REFUSED then; found: as below */
    ptrdiff_t count;
    const int64_t *labels;
    int64_t classes, ignore_index;
    ptrdiff_t *found;
};

struct outside_unit { /* is any of a (count) not in 0..1, NaN included? REFUSED then; found: the index of the first, or -1 */
    ptrdiff_t count;
    const void *a;
    ptrdiff_t *found;
};

/* A network's loss with all its gradients, for layers small enough: see chain.h. */
enum { MAX_CHAIN = 16, CHAIN_BYTES = 512 * 1024 };

struct chain_layer { /* act(w x + b), w (n, k) contiguous; b, dw, db may be NULL. saves_z: is act' computed from z? */
    ptrdiff_t n;
    const void *w, *b;
    struct activation act;
    int saves_z;
    void *dw, *db;
};

struct chain { /* x (m, k); the loss is `rows` or `each`, whose input, gradient and sizes are the chain's own */
    ptrdiff_t m, k, count, first; /* layers; the first of them that learns */
    const struct chain_layer *layers;
    const void *x;
    void *y;                      /* what the last layer gives (m, n), or NULL */
    int of_rows;                  /* is it `rows`? Then labels that are out of range are REFUSED. */
    int unit_target, unit_output; /* must be in 0..1, or are REFUSED */
    struct cross_entropy rows;
    struct elementwise_loss each; /* run_loss: one for each row is enough */
};

enum { OPTIM_STATES = 3 };

struct optimized { /* a parameter and its state, in the order of the contract; NULL where a kind is not kept */
    ptrdiff_t begin, count; /* its elements, among those of all parameters in a row */
    void *param;
    const void *grad;
    void *state[OPTIM_STATES];
};

struct parameters { const struct optimized *each; ptrdiff_t count; };

enum optimizer {
    OPTIM_sgd, OPTIM_adam, OPTIM_rmsprop, OPTIM_adagrad, OPTIM_adadelta, OPTIM_nadam, OPTIM_radam, OPTIM_COUNT
};

struct weight_update { /* of one parameter, by the optimizer of that number; options: the struct that its kernel takes */
    int optimizer;
    const void *options;
    struct optimized one;
};

struct sgd { struct parameters of; double lr, momentum, dampening, weight_decay; int nesterov, maximize, first; };
struct adam { /* and radam */
    struct parameters of;
    double lr, beta1, beta2, eps, weight_decay;
    int decoupled, maximize;
    const double *step;
};
struct rmsprop { struct parameters of; double lr, alpha, eps, weight_decay, momentum; int maximize; };
struct adagrad { struct parameters of; double lr, lr_decay, weight_decay, eps; int maximize; const double *step; };
struct adadelta { struct parameters of; double lr, rho, eps, weight_decay; int maximize; };
struct nadam { struct adam adam; double mu, mu_next, mu_product; };

struct clip { struct parameters of; double limit; void *norm; }; /* the gradients are the params */

struct prelu { /* x as (rows, channels, inner), weight (channels), or (1) for all; y where dy is NULL, else dx and dweight */
    ptrdiff_t rows, channels, inner, weights;
    const void *dy, *x, *weight;
    void *y, *dx, *dweight; /* either gradient may be NULL */
};

struct normalize { /* x (rows, n), weight and bias (n) or NULL; mean, rstd and var (rows) of rows, (n) of columns */
    ptrdiff_t rows, n;
    const void *dy, *x, *weight, *bias;
    double eps;
    int training; /* of batch norm's dx: are the statistics those of x? */
    void *y, *mean, *rstd, *var;
    void *dx, *dweight, *dbias; /* any of them may be NULL */
};

struct dropout { /* y = x keep / (1 - p); keep is drawn from seed and offset */
    ptrdiff_t count;
    const void *x;
    double p;
    const uint64_t *seed;
    uint64_t offset;
    void *y;
};

/* How a product is made, for people to read: in tiles of rows × cols or as that many dot products at a time, its transpose where
 * it is turned; or for each of `tasks` groups of rows on its own. */
enum how_made { HOW_not, HOW_tiles, HOW_dots, HOW_outer, HOW_groups };
struct how { int made, turned; ptrdiff_t rows, cols, tasks; };

struct kernels {
    const char *isa;
    int bits;
    kernel *linear_forward, *linear_backward;
    struct how (*forward_how)(const struct linear_forward *);
    void (*backward_how)(const struct linear_backward *, struct how *dx, struct how *dw);
    kernel *elementwise, *prelu, *dropout;
    kernel *softmax_forward, *log_softmax_forward, *softmax_backward, *log_softmax_backward;
    kernel *layer_norm_forward, *layer_norm_backward; /* all five: struct normalize */
    kernel *batch_norm_forward, *batch_norm_apply, *batch_norm_backward;
    kernel *cross_entropy;
    kernel *nll_loss; /* struct cross_entropy, with log-probabilities and labels; no sample_weight, no label_smoothing */
    kernel *elementwise_loss, *bad_label, *outside_unit;
    kernel *chain;
    kernel *clip_norm, *clip_value;
    kernel *sgd, *adam, *rmsprop, *adagrad, *adadelta, *nadam, *radam;
    /* runs `rounds` rounds of independent multiply-adds; -> floating-point operations done */
    double (*fma_peak)(ptrdiff_t rounds);
};

/* The instruction sets that are built and that this CPU has, best first. The list ends with NULL. */
const char *const *engine_isas(void);
/* Those that are built. */
const char *const *engine_built(void);
/* The table of one of them, bits 32 or 64; NULL if it is not among engine_isas(). */
const struct kernels *engine_kernels(const char *isa, int bits);
/* The names of `enum act` in its order. */
const char *const *engine_activations(void);
/* Likewise of `enum loss`. */
const char *const *engine_losses(void);

#endif
