/* Every kernel of every built table against plain C in long double. Stands alone, so that it can be cross-compiled and run
 * under an emulator: `make selftest`, `make neon`. Exit status 1 if anything is wrong. */
#include "engine.h"
#include "pool.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;
static uint64_t seed = 88172645463325252u;

static double uniform(void) { /* xorshift64, Marsaglia 2003 */
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return (double)(seed >> 11) / 9007199254740992.0 * 2 - 1;
}

/* An array of the table's precision. */
struct array { char *data; int bits; };
static struct array array(ptrdiff_t count, int bits) {
    struct array a = {calloc((size_t)(count ? count : 1), (size_t)bits / 8), bits};
    if (!a.data) exit(2);
    return a;
}
static double get(struct array a, ptrdiff_t i) { return a.bits == 32 ? ((float *)a.data)[i] : ((double *)a.data)[i]; }
static void set(struct array a, ptrdiff_t i, double v) {
    if (a.bits == 32) ((float *)a.data)[i] = (float)v;
    else ((double *)a.data)[i] = v;
}
static struct array noise(ptrdiff_t count, int bits, double scale) {
    struct array a = array(count, bits);
    for (ptrdiff_t i = 0; i < count; i++) set(a, i, scale * uniform());
    return a;
}

static void expect(const struct kernels *t, const char *what, ptrdiff_t i, double got, double want, double bound) {
    if (fabs(got - want) <= bound) return;
    if (failures++ < 20)
        printf("%s %d: %s[%td] is %.17g, not %.17g (bound %g)\n", t->isa, t->bits, what, i, got, want, bound);
}

static double unit(const struct kernels *t) { return t->bits == 32 ? 0x1p-23 : 0x1p-52; }

static void test_linear(const struct kernels *t, ptrdiff_t m, ptrdiff_t k, ptrdiff_t n, int act) {
    struct array x = noise(m * k, t->bits, 1), w = noise(n * k, t->bits, 1), b = noise(n, t->bits, 1);
    struct array y = array(m * n, t->bits), dy = noise(m * n, t->bits, 1), dz = array(m * n, t->bits);
    struct array dx = array(m * k, t->bits), dw = array(n * k, t->bits), db = array(n, t->bits);
    struct linear_forward f = {m, k, n, {x.data, k, 1}, {w.data, k, 1}, b.data, {act, 0, 0}, y.data, NULL};
    t->linear_forward(&f);
    for (ptrdiff_t i = 0; i < m; i++)
        for (ptrdiff_t j = 0; j < n; j++) {
            long double z = get(b, j), size = fabs(get(b, j));
            for (ptrdiff_t p = 0; p < k; p++) {
                const double term = get(x, i * k + p) * get(w, j * k + p);
                z += term, size += fabs(term);
            }
            const double want = act == ACT_relu && z < 0 ? 0 : (double)z;
            expect(t, "linear y", i * n + j, get(y, i * n + j), want, (double)size * unit(t) * (2 + sqrt((double)k)));
        }
    struct linear_backward g = {m, k, n, dy.data, y.data, {x.data, k, 1}, {w.data, k, 1}, {act, 0, 0},
                                dx.data, dw.data, db.data, 0};
    t->linear_backward(&g);
    for (ptrdiff_t i = 0; i < m * n; i++) set(dz, i, act && get(y, i) <= 0 ? 0 : get(dy, i));
    for (ptrdiff_t i = 0; i < m; i++)
        for (ptrdiff_t p = 0; p < k; p++) {
            long double sum = 0;
            for (ptrdiff_t j = 0; j < n; j++) sum += get(dz, i * n + j) * get(w, j * k + p);
            expect(t, "linear dx", i * k + p, get(dx, i * k + p), (double)sum, unit(t) * (2 + (double)n));
        }
    for (ptrdiff_t j = 0; j < n; j++) {
        long double sum = 0;
        for (ptrdiff_t i = 0; i < m; i++) sum += get(dz, i * n + j);
        expect(t, "linear db", j, get(db, j), (double)sum, unit(t) * (2 + (double)m));
        for (ptrdiff_t p = 0; p < k; p++) {
            sum = 0;
            for (ptrdiff_t i = 0; i < m; i++) sum += get(dz, i * n + j) * get(x, i * k + p);
            expect(t, "linear dw", j * k + p, get(dw, j * k + p), (double)sum, unit(t) * (2 + (double)m));
        }
    }
    free(x.data), free(w.data), free(b.data), free(y.data), free(dy.data);
    free(dz.data), free(dx.data), free(dw.data), free(db.data);
}

/* y = act(z) of activation `code`, with the parameters of params_of(). */
static double sigmoid(double z) { return 1 / (1 + exp(-z)); }
static double truth(int code, double z) {
    switch (code) {
    case ACT_relu: return z > 0 ? z : 0;
    case ACT_leaky_relu: return z > 0 ? z : 0.03125 * z;
    case ACT_relu6: return fmin(fmax(z, 0), 6);
    case ACT_sigmoid: return sigmoid(z);
    case ACT_tanh: return tanh(z);
    case ACT_elu: return z > 0 ? z : 1.25 * expm1(z);
    case ACT_selu: return 1.0507009873554804934 * (z > 0 ? z : 1.6732632423543772848 * expm1(z));
    case ACT_softsign: return z / (1 + fabs(z));
    case ACT_gelu: return z * 0.5 * erfc(-z / sqrt(2));
    case ACT_gelu_tanh: return z * sigmoid(2 * sqrt(2 / acos(-1.0)) * (z + 0.044715 * z * z * z));
    case ACT_silu: return z * sigmoid(z);
    case ACT_softplus: return 1.5 * z > 20 ? z : log1p(exp(1.5 * z)) / 1.5;
    case ACT_mish: return z * tanh(log1p(exp(z)));
    case ACT_hardswish: return z * fmin(fmax(z + 3, 0), 6) / 6;
    case ACT_logsigmoid: return z < 0 ? z - log1p(exp(z)) : -log1p(exp(-z));
    case ACT_celu: return z > 0 ? z : 1.25 * expm1(z / 1.25);
    case ACT_tanhshrink: return fabs(z) < 0.02 ? z * z * z * (1 - z * z * 0.4 * (1 - z * z * 17 / 42)) / 3 : z - tanh(z);
    case ACT_hardsigmoid: return fmin(fmax(z + 3, 0), 6) / 6;
    case ACT_hardtanh: return fmin(fmax(z, -3), 6);
    case ACT_hardshrink: return fabs(z) <= 3 ? 0 : z;
    case ACT_softshrink: return fabs(z) <= 3 ? 0 : z - copysign(3, z);
    case ACT_threshold: return z <= 3 ? 6 : z;
    default: return z;
    }
}

static struct activation params_of(int code) {
    switch (code) {
    case ACT_leaky_relu: return (struct activation){code, 0.03125, 0};
    case ACT_elu: case ACT_celu: return (struct activation){code, 1.25, 0};
    case ACT_hardtanh: return (struct activation){code, -3, 6};
    case ACT_hardshrink: case ACT_softshrink: case ACT_threshold: return (struct activation){code, 3, 6};
    default: return (struct activation){code, 1.5, 20};
    }
}

static void test_activations(const struct kernels *t) {
    enum { COUNT = 20000 + 7 };
    static const char *const saves_z[] = {"gelu", "gelu_tanh", "silu", "softplus", "mish", "hardswish", "tanhshrink", "threshold"};
    for (int code = 0; code < ACT_COUNT; code++) {
        const char *name = engine_activations()[code];
        const struct activation act = params_of(code);
        struct array z = noise(COUNT, t->bits, 8), y = array(COUNT, t->bits), dz = array(COUNT, t->bits);
        struct array ones = array(COUNT, t->bits);
        for (ptrdiff_t i = 0; i < COUNT; i++) set(ones, i, 1);
        t->elementwise(&(struct elementwise){COUNT, NULL, z.data, act, y.data});
        int from_z = 0;
        for (size_t i = 0; i < sizeof saves_z / sizeof *saves_z; i++) from_z |= !strcmp(name, saves_z[i]);
        t->elementwise(&(struct elementwise){COUNT, ones.data, from_z ? z.data : y.data, act, dz.data});
        for (ptrdiff_t i = 0; i < COUNT; i++) {
            const double at = get(z, i), h = 1e-6, want = truth(code, at);
            expect(t, name, i, get(y, i), want, 4 * unit(t) * fabs(want) + 4e-14 + 1e-8 * (t->bits == 32));
            const double slope = (truth(code, at + h) - truth(code, at - h)) / (2 * h);
            const double kink = fmin(fmin(fabs(at), fabs(at - 6)), fabs(fabs(at) - 3));
            if (kink > 2 * h) expect(t, name, i, get(dz, i), slope, 1e-7 + 64 * unit(t));
        }
        free(z.data), free(y.data), free(dz.data), free(ones.data);
    }
}

static void test_rows(const struct kernels *t, ptrdiff_t rows, ptrdiff_t classes) {
    const ptrdiff_t count = rows * classes;
    struct array x = noise(count, t->bits, 9), y = array(count, t->bits), l = array(count, t->bits);
    struct array dx = array(count, t->bits), loss = array(rows, t->bits);
    int64_t *labels = calloc((size_t)rows, sizeof *labels);
    double *scratch = calloc((size_t)rows, sizeof *scratch);
    for (ptrdiff_t i = 0; i < rows; i++) labels[i] = i % classes;
    t->softmax_forward(&(struct softmax){rows, classes, x.data, NULL, y.data});
    t->log_softmax_forward(&(struct softmax){rows, classes, x.data, NULL, l.data});
    t->cross_entropy(&(struct cross_entropy){.rows = rows, .classes = classes, .logits = x.data, .labels = labels,
                                             .ignore_index = -100, .reduction = REDUCE_NONE, .loss = loss.data,
                                             .dlogits = dx.data, .row_loss = scratch});
    for (ptrdiff_t i = 0; i < rows; i++) {
        long double sum = 0;
        for (ptrdiff_t c = 0; c < classes; c++) sum += expl(get(x, i * classes + c));
        for (ptrdiff_t c = 0; c < classes; c++) {
            const ptrdiff_t at = i * classes + c;
            const double p = (double)(expl(get(x, at)) / sum);
            expect(t, "softmax", at, get(y, at), p, 16 * unit(t));
            expect(t, "log_softmax", at, get(l, at), log(p), 64 * unit(t));
            expect(t, "dlogits", at, get(dx, at), p - (c == labels[i]), 16 * unit(t));
        }
        expect(t, "loss", i, get(loss, i), -log((double)(expl(get(x, i * classes + labels[i])) / sum)), 64 * unit(t));
    }
    free(x.data), free(y.data), free(l.data), free(dx.data), free(loss.data), free(labels), free(scratch);
}

static void test_losses(const struct kernels *t, ptrdiff_t count) {
    struct array x = array(count, t->bits), target = array(count, t->bits), dx = array(count, t->bits), loss = array(1, t->bits);
    double *scratch = calloc((size_t)count / LOSS_RUN + 1, sizeof *scratch);
    for (ptrdiff_t i = 0; i < count; i++) set(x, i, fabs(uniform())), set(target, i, fabs(uniform()));
    struct elementwise_loss l = {.count = count, .input = x.data, .target = target.data, .reduction = REDUCE_MEAN,
                                 .divisor = (double)count, .loss = loss.data, .dinput = dx.data, .run_loss = scratch};
    for (l.kind = LOSS_mse; l.kind <= LOSS_bce; l.kind += LOSS_bce - LOSS_mse) {
        const int bce = l.kind == LOSS_bce;
        t->elementwise_loss(&l);
        long double sum = 0;
        for (ptrdiff_t i = 0; i < count; i++) {
            const double p = get(x, i), q = get(target, i), d = p - q;
            const double slope = (bce ? d / ((1 - p) * p) : 2 * d) / (double)count;
            sum += bce ? -(q * log(p) + (1 - q) * log1p(-p)) : d * d;
            expect(t, bce ? "bce gradient" : "mse gradient", i, get(dx, i), slope, 4 * unit(t) * fabs(slope));
        }
        sum /= (long double)count;
        expect(t, engine_losses()[l.kind], 0, get(loss, 0), (double)sum, 8 * unit(t) * (double)sum);
    }
    ptrdiff_t found;
    const struct outside_unit unit = {count, x.data, &found};
    expect(t, "outside_unit", 0, t->outside_unit(&unit), 0, 0);
    set(x, count / 2, 1.5);
    expect(t, "outside_unit", 1, t->outside_unit(&unit), REFUSED, 0);
    expect(t, "outside_unit", 2, (double)found, (double)(count / 2), 0);
    free(x.data), free(target.data), free(dx.data), free(loss.data), free(scratch);
}

/* Layer norm, or batch norm where `columns`: forward, then the gradients. */
static void test_normalize(const struct kernels *t, ptrdiff_t rows, ptrdiff_t n, int columns) {
    const ptrdiff_t lines = columns ? n : rows, size = columns ? rows : n, line = columns ? 1 : n, step = columns ? n : 1;
    const int bits = t->bits;
    struct array x = noise(rows * n, bits, 3), w = noise(n, bits, 1), b = noise(n, bits, 1), dy = noise(rows * n, bits, 1);
    struct array y = array(rows * n, bits), dx = array(rows * n, bits), dw = array(n, bits), db = array(n, bits);
    struct array mean = array(lines, bits), rstd = array(lines, bits), var = array(lines, bits);
    double *sum_w = calloc((size_t)n, sizeof *sum_w), *sum_b = calloc((size_t)n, sizeof *sum_b);
    const struct normalize c = {.rows = rows, .n = n, .dy = dy.data, .x = x.data, .weight = w.data, .bias = b.data,
                                .eps = 1e-3, .training = 1, .y = y.data, .mean = mean.data, .rstd = rstd.data,
                                .var = var.data, .dx = dx.data, .dweight = dw.data, .dbias = db.data};
    if (columns) t->batch_norm_forward(&c), t->batch_norm_backward(&c);
    else t->layer_norm_forward(&c), t->layer_norm_backward(&c);
    for (ptrdiff_t i = 0; i < lines; i++) {
        long double m = 0, v = 0, all = 0, along = 0;
        for (ptrdiff_t k = 0; k < size; k++) m += get(x, i * line + k * step) / (long double)size;
        for (ptrdiff_t k = 0; k < size; k++) v += powl(get(x, i * line + k * step) - m, 2) / (long double)size;
        const long double r = 1 / sqrtl(v + 1e-3L);
        for (ptrdiff_t k = 0; k < size; k++) {
            const ptrdiff_t at = i * line + k * step;
            const long double g = get(dy, at) * get(w, at % n), normal = (get(x, at) - m) * r;
            all += g / (long double)size, along += g * normal / (long double)size;
            sum_w[at % n] += (double)(get(dy, at) * normal), sum_b[at % n] += get(dy, at);
            expect(t, "normalized", at, get(y, at), (double)(normal * get(w, at % n) + get(b, at % n)), 64 * unit(t));
        }
        for (ptrdiff_t k = 0; k < size; k++) {
            const ptrdiff_t at = i * line + k * step;
            const long double want = r * (get(dy, at) * get(w, at % n) - all - (get(x, at) - m) * r * along);
            expect(t, "normalized dx", at, get(dx, at), (double)want, 64 * unit(t) * (double)(1 + r));
        }
        expect(t, "mean", i, get(mean, i), (double)m, 16 * unit(t));
        expect(t, "rstd", i, get(rstd, i), (double)r, 16 * unit(t) * (double)r);
        if (columns) expect(t, "var", i, get(var, i), (double)v, 16 * unit(t) * (double)v);
    }
    for (ptrdiff_t k = 0; k < n; k++) {
        expect(t, "normalized dweight", k, get(dw, k), sum_w[k], 32 * unit(t) * (2 + (double)rows)); /* rstd < 32 */
        expect(t, "normalized dbias", k, get(db, k), sum_b[k], unit(t) * (2 + (double)rows));
    }
    free(x.data), free(w.data), free(b.data), free(dy.data), free(y.data), free(dx.data), free(dw.data);
    free(db.data), free(mean.data), free(rstd.data), free(var.data), free(sum_w), free(sum_b);
}

static void test_prelu(const struct kernels *t, ptrdiff_t rows, ptrdiff_t channels, ptrdiff_t inner, ptrdiff_t weights) {
    const ptrdiff_t count = rows * channels * inner;
    struct array x = noise(count, t->bits, 1), w = noise(weights, t->bits, 1), dy = noise(count, t->bits, 1);
    struct array y = array(count, t->bits), dx = array(count, t->bits), dw = array(weights, t->bits);
    double *sum = calloc((size_t)weights, sizeof *sum);
    t->prelu(&(struct prelu){rows, channels, inner, weights, NULL, x.data, w.data, y.data, NULL, NULL});
    t->prelu(&(struct prelu){rows, channels, inner, weights, dy.data, x.data, w.data, NULL, dx.data, dw.data});
    for (ptrdiff_t i = 0; i < count; i++) {
        const ptrdiff_t c = weights == 1 ? 0 : i / inner % channels;
        const double slope = get(x, i) > 0 ? 1 : get(w, c);
        expect(t, "prelu", i, get(y, i), slope * get(x, i), unit(t));
        expect(t, "prelu dx", i, get(dx, i), slope * get(dy, i), unit(t));
        if (!(get(x, i) > 0)) sum[c] += get(x, i) * get(dy, i);
    }
    for (ptrdiff_t c = 0; c < weights; c++)
        expect(t, "prelu dweight", c, get(dw, c), sum[c], unit(t) * (2 + (double)(count / weights)));
    free(x.data), free(w.data), free(dy.data), free(y.data), free(dx.data), free(dw.data), free(sum);
}

/* The first words of Philox 4x32-10 for counter 0 and key 0, as its authors publish them: with p of just such a word an element
 * is kept, with the next p it is not. */
static void test_dropout(const struct kernels *t) {
    static const uint32_t words[] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    struct array x = array(4, t->bits), y = array(4, t->bits);
    for (int i = 0; i < 4; i++) set(x, i, 1);
    for (int i = 0; i < 8; i++) {
        const double p = ((double)words[i / 2] + i % 2) / 4294967296.0;
        t->dropout(&(struct dropout){4, x.data, p, &(uint64_t){0}, 0, y.data});
        expect(t, "dropout", i, get(y, i / 2), i % 2 ? 0 : 1 / (1 - p), 8 * unit(t));
    }
    free(x.data), free(y.data);
}

/* A step of sgd, or of adam, on two parameters that lie in one array. */
static void test_optimizer(const struct kernels *t, int is_adam, ptrdiff_t count) {
    const ptrdiff_t first = count / 3;
    const size_t size = (size_t)t->bits / 8;
    struct array p = noise(count, t->bits, 1), g = noise(count, t->bits, 1), m = noise(count, t->bits, 1);
    struct array v = array(count, t->bits), before = array(count, t->bits), average = array(count, t->bits);
    for (ptrdiff_t i = 0; i < count; i++) set(v, i, 1 + uniform()), set(before, i, get(p, i)), set(average, i, get(m, i));
    struct array square = array(count, t->bits);
    memcpy(square.data, v.data, (size_t)count * size);
    char *squares = is_adam ? v.data : NULL;
    const size_t at = (size_t)first * size;
    const struct optimized each[2] = {
        {0, first, p.data, g.data, {m.data, squares, NULL}},
        {first, count - first, p.data + at, g.data + at, {m.data + at, squares ? squares + at : NULL, NULL}}};
    const struct sgd s = {.of = {each, 2}, .lr = 0.1, .momentum = 0.9, .weight_decay = 0.25, .nesterov = 1};
    const struct adam a = {.of = {each, 2}, .lr = 0.1, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.25,
                           .decoupled = 1, .step = &(double){2}};
    if (is_adam) t->adam(&a);
    else t->sgd(&s);
    for (ptrdiff_t i = 0; i < count; i++) {
        const double w = get(before, i), x = get(g, i) + (is_adam ? 0 : s.weight_decay * w);
        const double m1 = is_adam ? a.beta1 * get(average, i) + (1 - a.beta1) * x : s.momentum * get(average, i) + x;
        const double v1 = a.beta2 * get(square, i) + (1 - a.beta2) * x * x;
        const double root = sqrt(v1 / (1 - a.beta2 * a.beta2)) + a.eps;
        const double want = is_adam ? w * (1 - a.lr * a.weight_decay) - a.lr / (1 - a.beta1 * a.beta1) * m1 / root
                                    : w - s.lr * (x + s.momentum * m1);
        expect(t, is_adam ? "adam" : "sgd", i, get(p, i), want, 8 * unit(t) * (fabs(w) + 1 / (is_adam ? root : 1)));
        expect(t, "momentum", i, get(m, i), m1, 16 * unit(t));
        if (is_adam) expect(t, "squares", i, get(v, i), v1, 16 * unit(t));
    }
    free(p.data), free(g.data), free(m.data), free(v.data), free(before.data), free(average.data), free(square.data);
}

int main(void) {
    static const ptrdiff_t sizes[][3] = {{1, 10, 64},   {1, 1, 1},    {2, 3, 5},    {5, 7, 300},  {9, 40, 33},
                                         {33, 17, 10},  {100, 64, 32}, {31, 33, 65}, {130, 70, 50}, {64, 300, 17},
                                         {3, 1100, 70}, {40, 0, 9},   {15, 1024, 20}, {200, 9, 260}};
    for (int threads = 1; threads <= 3; threads += 2) {
        pool_set_threads(threads);
        for (const char *const *isa = engine_isas(); *isa; isa++)
            for (int bits = 32; bits <= 64; bits += 32) {
                const struct kernels *t = engine_kernels(*isa, bits);
                for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
                    for (int act = ACT_identity; act <= ACT_relu; act++)
                        test_linear(t, sizes[i][0], sizes[i][1], sizes[i][2], act);
                test_activations(t);
                for (int columns = 0; columns < 2; columns++)
                    test_normalize(t, 37, 10, columns), test_normalize(t, 300, 7, columns), test_normalize(t, 2, 130, columns);
                test_prelu(t, 37, 10, 1, 10), test_prelu(t, 5, 3, 37, 3), test_prelu(t, 50, 20, 9, 1);
                test_dropout(t);
                test_rows(t, 37, 10), test_rows(t, 3, 1), test_rows(t, 5, 1000), test_rows(t, 2, 129);
                test_losses(t, 101), test_losses(t, 30001);
                for (int is_adam = 0; is_adam <= 1; is_adam++)
                    test_optimizer(t, is_adam, 0), test_optimizer(t, is_adam, 101), test_optimizer(t, is_adam, 300001);
                printf("%s, float%d, %d threads: %s\n", *isa, bits, threads, failures ? "WRONG" : "right");
            }
    }
    if (failures) printf("%d values are wrong\n", failures);
    return failures != 0;
}
