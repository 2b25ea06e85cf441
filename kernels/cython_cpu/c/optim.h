/* The optimizers' updates, all parameters in one call and one pass over memory. The formulas are those of
 * reference/optim.py; what depends on the step alone is worked out once, in double, and bias corrections are taken from the
 * square root to the numbers beside it:  m / (sqrt(v) / b + eps) = b m / (sqrt(v) + b eps).
 *
 * Averages of gradients that have become 0 shrink until they are denormal, and then stay so, since rounding keeps them from
 * shrinking on. So denormal numbers are 0 here. */
#ifndef OPTIM_H
#define OPTIM_H

#include "elementwise.h"
#include "softmax.h" /* row_load, row_store */

/* VLEN elements of a parameter. */
struct lanes { vec param, grad, state[OPTIM_STATES]; };

/* ---------------------------------------------------------------------------------- what updates have in common */

struct decay { real sign, coupled, shrink; int plain; };
static struct decay decay_of(double weight_decay, int decoupled, double lr, int maximize) {
    return (struct decay){maximize ? -1 : 1, decoupled ? 0 : (real)weight_decay,
                          decoupled ? (real)(1 - lr * weight_decay) : 1, weight_decay == 0 && !maximize};
}
INLINE vec decayed_gradient(struct lanes *x, const struct decay *d) {
    if (d->plain) return x->grad;
    x->param = x->param * d->shrink;
    const vec g = x->grad * d->sign;
    return d->coupled != 0 ? v_fma(v_set(d->coupled), x->param, g) : g;
}

/* a + weight (b - a), from the end that is nearer */
INLINE vec v_lerp(vec a, vec b, real weight) {
    return weight < (real)0.5 ? v_fma(v_set(weight), b - a, a) : v_fma(v_set(weight - 1), b - a, b);
}
/* keep v + rate g², where rate is 1 - keep */
INLINE vec mean_square(vec v, vec g, real keep, real rate) { return v_fma(g * rate, g, v * keep); }

/* the averages of adam, nadam and radam: state[0] of g, state[1] of g² */
struct moments { real rate1, keep2, rate2; };
static struct moments moments_of(double beta1, double beta2) {
    return (struct moments){(real)(1 - beta1), (real)beta2, (real)(1 - beta2)};
}
INLINE void take_moments(struct lanes *x, vec g, const struct moments *k) {
    x->state[0] = v_lerp(x->state[0], g, k->rate1);
    x->state[1] = mean_square(x->state[1], g, k->keep2, k->rate2);
}

/* ------------------------------------------------------------------------------------ one update of VLEN elements */

struct sgd_terms { struct decay decay; real lr, momentum, rate; int nesterov, first; };
INLINE void sgd_update(struct lanes *x, const struct sgd_terms *k) {
    vec g = decayed_gradient(x, &k->decay);
    if (k->momentum != 0) {
        const vec momentum = v_set(k->momentum);
        x->state[0] = k->first ? g : v_fma(momentum, x->state[0], g * k->rate);
        g = k->nesterov ? v_fma(momentum, x->state[0], g) : x->state[0];
    }
    x->param = v_fma(v_set(-k->lr), g, x->param);
}

struct adam_terms { struct decay decay; struct moments moments; real size, eps; };
INLINE void adam_update(struct lanes *x, const struct adam_terms *k) {
    take_moments(x, decayed_gradient(x, &k->decay), &k->moments);
    x->param = v_fma(v_set(-k->size), v_over_root(x->state[0], x->state[1], k->eps), x->param);
}
/* The larger one, or a NaN. */
INLINE void amsgrad_update(struct lanes *x, const struct adam_terms *k) {
    take_moments(x, decayed_gradient(x, &k->decay), &k->moments);
    const vec v = x->state[1], top = x->state[2];
    x->state[2] = v_sel(v_lt(v, top), top, v_sel(v_eq(top, top), v, top));
    x->param = v_fma(v_set(-k->size), v_over_root(x->state[0], x->state[2], k->eps), x->param);
}

struct rmsprop_terms { struct decay decay; real lr, keep, rate, momentum, eps; int centered; };
INLINE void rmsprop_update(struct lanes *x, const struct rmsprop_terms *k) {
    vec g = decayed_gradient(x, &k->decay);
    x->state[0] = mean_square(x->state[0], g, k->keep, k->rate);
    vec variance = x->state[0];
    if (k->centered) {
        x->state[1] = v_lerp(x->state[1], g, k->rate);
        variance = variance - x->state[1] * x->state[1];
    }
    g = v_over_root(g, variance, k->eps);
    if (k->momentum != 0) g = x->state[2] = v_fma(v_set(k->momentum), x->state[2], g);
    x->param = v_fma(v_set(-k->lr), g, x->param);
}

struct adagrad_terms { struct decay decay; real lr, eps; };
INLINE void adagrad_update(struct lanes *x, const struct adagrad_terms *k) {
    const vec g = decayed_gradient(x, &k->decay);
    x->state[0] = v_fma(g, g, x->state[0]);
    x->param = v_fma(v_set(-k->lr), v_over_root(g, x->state[0], k->eps), x->param);
}

struct adadelta_terms { struct decay decay; real lr, keep, rate, eps; };
INLINE void adadelta_update(struct lanes *x, const struct adadelta_terms *k) {
    const vec g = decayed_gradient(x, &k->decay);
    x->state[0] = mean_square(x->state[0], g, k->keep, k->rate);
    const vec delta = v_sqrt(x->state[1] + k->eps) / v_sqrt(x->state[0] + k->eps) * g;
    x->state[1] = mean_square(x->state[1], delta, k->keep, k->rate);
    x->param = v_fma(v_set(-k->lr), delta, x->param);
}

struct nadam_terms { struct decay decay; struct moments moments; real now, average, eps; };
INLINE void nadam_update(struct lanes *x, const struct nadam_terms *k) {
    const vec g = decayed_gradient(x, &k->decay);
    take_moments(x, g, &k->moments);
    x->param = x->param - v_over_root(v_fma(g, v_set(k->now), x->state[0] * k->average), x->state[1], k->eps);
}

/* radam, while the variance is not to be had; later it is as adam */
INLINE void unrectified_update(struct lanes *x, const struct adam_terms *k) {
    take_moments(x, decayed_gradient(x, &k->decay), &k->moments);
    x->param = v_fma(v_set(-k->size), x->state[0], x->param);
}

/* ------------------------------------------------------------------------------------------------ runs of elements */

/* The n <= VLEN elements from `at`. kept: how many kinds of state there are, or ANY of them. */
enum { ANY = -1 };
INLINE struct lanes take_lanes(const struct optimized *o, ptrdiff_t at, ptrdiff_t n, const int kept) {
    struct lanes x = {row_load((const real *)o->param + at, n, v_set(0)), row_load((const real *)o->grad + at, n, v_set(0)), {{0}}};
    UNROLL for (int i = 0; i < OPTIM_STATES; i++)
        if (kept == ANY ? o->state[i] != NULL : i < kept) x.state[i] = row_load((const real *)o->state[i] + at, n, v_set(0));
    return x;
}
INLINE void put_lanes(const struct optimized *o, ptrdiff_t at, ptrdiff_t n, const int kept, struct lanes x) {
    row_store((real *)o->param + at, x.param, n);
    UNROLL for (int i = 0; i < OPTIM_STATES; i++)
        if (kept == ANY ? o->state[i] != NULL : i < kept) row_store((real *)o->state[i] + at, x.state[i], n);
}

/* Elements at..end of one parameter. The copies say that no store changes what they hold; plain: that nothing decays. */
typedef void update_run(const struct optimized *, ptrdiff_t at, ptrdiff_t end, const void *terms);
#define UPDATE_RUN(name, terms_of, kept)                                                                      \
    INLINE void name##_loop(struct optimized o, ptrdiff_t at, ptrdiff_t end, struct terms_of k, const int plain) { \
        k.decay.plain = plain;                                                                                \
        for (; at + VLEN <= end; at += VLEN) {                                                                \
            struct lanes x = take_lanes(&o, at, VLEN, kept);                                                  \
            name##_update(&x, &k);                                                                            \
            put_lanes(&o, at, VLEN, kept, x);                                                                 \
        }                                                                                                     \
        if (at < end) {                                                                                       \
            struct lanes x = take_lanes(&o, at, end - at, kept);                                              \
            name##_update(&x, &k);                                                                            \
            put_lanes(&o, at, end - at, kept, x);                                                             \
        }                                                                                                     \
    }                                                                                                         \
    static void name##_run(const struct optimized *o, ptrdiff_t at, ptrdiff_t end, const void *terms) {       \
        const struct terms_of *k = terms;                                                                     \
        if (k->decay.plain) name##_loop(*o, at, end, *k, 1);                                                  \
        else name##_loop(*o, at, end, *k, 0);                                                                 \
    }
UPDATE_RUN(sgd, sgd_terms, ANY)
UPDATE_RUN(adam, adam_terms, 2)
UPDATE_RUN(amsgrad, adam_terms, 3)
UPDATE_RUN(rmsprop, rmsprop_terms, ANY)
UPDATE_RUN(adagrad, adagrad_terms, 1)
UPDATE_RUN(adadelta, adadelta_terms, 2)
UPDATE_RUN(nadam, nadam_terms, 2)
UPDATE_RUN(unrectified, adam_terms, 2)

/* A task takes RUN elements of all parameters' in a row. */
struct update { const struct optimized *each; ptrdiff_t params, total; update_run *run; const void *terms; };

static void update_task(void *job, ptrdiff_t index) {
    const struct update *u = job;
    const ptrdiff_t begin = index * RUN, end = u->total - begin < RUN ? u->total : begin + RUN;
    ptrdiff_t first = 0, beyond = u->params; /* the last parameter that begins at `begin` or before, by bisection */
    while (beyond - first > 1) {
        const ptrdiff_t middle = (first + beyond) / 2;
        if (u->each[middle].begin <= begin) first = middle;
        else beyond = middle;
    }
    const uint64_t floating = flush_denormals();
    for (const struct optimized *o = u->each + first; o < u->each + u->params && o->begin < end; o++) {
        const ptrdiff_t from = begin > o->begin ? begin - o->begin : 0;
        const ptrdiff_t to = end - o->begin < o->count ? end - o->begin : o->count;
        if (from < to) u->run(o, from, to, u->terms);
    }
    unflush(floating);
}

/* An element's cost, in multiply-adds. */
enum { UPDATE_COST = 24 };

/* How an optimizer updates parameters like `one`, in this step. */
struct rule {
    update_run *run;
    union {
        struct sgd_terms sgd;
        struct adam_terms adam;
        struct rmsprop_terms rmsprop;
        struct adagrad_terms adagrad;
        struct adadelta_terms adadelta;
        struct nadam_terms nadam;
    } terms;
};
typedef struct rule rule_of(const void *arguments, const struct optimized *one);

INLINE ptrdiff_t elements_of(struct parameters of) {
    return of.count ? of.each[of.count - 1].begin + of.each[of.count - 1].count : 0;
}
INLINE ptrdiff_t runs_of(struct parameters of) { return (elements_of(of) + RUN - 1) / RUN; }

/* Over all elements, over the threads. */
static void run_over(struct parameters of, update_run *run, const void *terms) {
    struct update u = {of.each, of.count, elements_of(of), run, terms};
    pool_run(update_task, &u, runs_of(of), pool_is_worth((double)u.total * UPDATE_COST, VLEN));
}

static int update_all(const void *arguments, struct parameters of, rule_of *rule_for) {
    if (of.count == 0) return 0;
    const struct rule rule = rule_for(arguments, of.each);
    run_over(of, rule.run, &rule.terms);
    return 0;
}

/* ------------------------------------------------------------------------------------------------- the optimizers */

static struct rule sgd_rule(const void *arguments, const struct optimized *one) {
    const struct sgd *o = arguments;
    (void)one;
    return (struct rule){sgd_run, .terms.sgd = {decay_of(o->weight_decay, 0, o->lr, o->maximize), (real)o->lr,
                                                (real)o->momentum, (real)(1 - o->dampening), o->nesterov, o->first}};
}

static struct rule adam_rule(const void *arguments, const struct optimized *one) {
    const struct adam *o = arguments;
    const double bias1 = 1 - pow(o->beta1, *o->step), root2 = sqrt(1 - pow(o->beta2, *o->step));
    const struct adam_terms k = {decay_of(o->weight_decay, o->decoupled, o->lr, o->maximize), moments_of(o->beta1, o->beta2),
                                 (real)(o->lr / bias1 * root2), (real)(o->eps * root2)};
    return (struct rule){one->state[2] ? amsgrad_run : adam_run, .terms.adam = k};
}

static struct rule rmsprop_rule(const void *arguments, const struct optimized *one) {
    const struct rmsprop *o = arguments;
    const struct rmsprop_terms k = {decay_of(o->weight_decay, 0, o->lr, o->maximize), (real)o->lr, (real)o->alpha,
                                    (real)(1 - o->alpha), (real)o->momentum, (real)o->eps, one->state[1] != NULL};
    return (struct rule){rmsprop_run, .terms.rmsprop = k};
}

static struct rule adagrad_rule(const void *arguments, const struct optimized *one) {
    const struct adagrad *o = arguments;
    (void)one;
    return (struct rule){adagrad_run, .terms.adagrad = {decay_of(o->weight_decay, 0, o->lr, o->maximize),
                                                        (real)(o->lr / (1 + (*o->step - 1) * o->lr_decay)), (real)o->eps}};
}

static struct rule adadelta_rule(const void *arguments, const struct optimized *one) {
    const struct adadelta *o = arguments;
    (void)one;
    return (struct rule){adadelta_run, .terms.adadelta = {decay_of(o->weight_decay, 0, o->lr, o->maximize), (real)o->lr,
                                                          (real)o->rho, (real)(1 - o->rho), (real)o->eps}};
}

static struct rule nadam_rule(const void *arguments, const struct optimized *one) {
    const struct nadam *n = arguments;
    const struct adam *o = &n->adam;
    const double root2 = sqrt(1 - pow(o->beta2, *o->step));
    const double now = (1 - n->mu) / (1 - n->mu_product), average = n->mu_next / (1 - n->mu_product * n->mu_next);
    (void)one;
    return (struct rule){nadam_run, .terms.nadam = {decay_of(o->weight_decay, o->decoupled, o->lr, o->maximize),
                                                    moments_of(o->beta1, o->beta2), (real)(o->lr * now * root2),
                                                    (real)(o->lr * average * root2), (real)(o->eps * root2)}};
}

static struct rule radam_rule(const void *arguments, const struct optimized *one) {
    const struct adam *o = arguments;
    const double power2 = pow(o->beta2, *o->step), bias1 = 1 - pow(o->beta1, *o->step), bias2 = 1 - power2;
    const double longest = 2 / (1 - o->beta2) - 1, rho = longest - 2 * *o->step * power2 / bias2;
    struct adam_terms k = {decay_of(o->weight_decay, o->decoupled, o->lr, o->maximize), moments_of(o->beta1, o->beta2),
                           (real)(o->lr / bias1), (real)o->eps};
    if (rho > 5) {
        const double rectified = sqrt((rho - 4) * (rho - 2) * longest / ((longest - 4) * (longest - 2) * rho));
        k.size = (real)(o->lr / bias1 * sqrt(bias2) * rectified);
    }
    (void)one;
    return (struct rule){rho > 5 ? adam_run : unrectified_run, .terms.adam = k};
}

/* The kernels: all parameters of a group. */
#define OPTIMIZER(name) \
    static int name(const void *arguments) { return update_all(arguments, ((const struct name *)arguments)->of, name##_rule); }
OPTIMIZER(sgd)
OPTIMIZER(adam)
OPTIMIZER(rmsprop)
OPTIMIZER(adagrad)
OPTIMIZER(adadelta)
static int nadam(const void *arguments) { return update_all(arguments, ((const struct nadam *)arguments)->adam.of, nadam_rule); }
static int radam(const void *arguments) { return update_all(arguments, ((const struct adam *)arguments)->of, radam_rule); }

static rule_of *const rules[OPTIM_COUNT] = {
    [OPTIM_sgd] = sgd_rule, [OPTIM_adam] = adam_rule, [OPTIM_rmsprop] = rmsprop_rule, [OPTIM_adagrad] = adagrad_rule,
    [OPTIM_adadelta] = adadelta_rule, [OPTIM_nadam] = nadam_rule, [OPTIM_radam] = radam_rule,
};

#endif
