/* All kernels for one instruction set and precision. Compiled with -DISA=avx2 -DISA_AVX2 -DREAL_BITS=32 and the
 * like, once for each; the only symbol that leaves this file is the table at its end. */
#include "backward.h"
#include "elementwise_losses.h"
#include "batch_norm.h"
#include "chain.h"
#include "clip.h"
#include "dropout.h"
#include "engine.h"
#include "how.h"
#include "layer_norm.h"
#include "linear.h"
#include "losses.h"
#include "optim.h"
#include "prelu.h"
#include "softmax.h"

static double fma_peak(ptrdiff_t rounds) {
    enum { CHAINS = 12 };
    vec a[CHAINS], x = v_set((real)0.999), y = v_set((real)0.001);
    for (int i = 0; i < CHAINS; i++) a[i] = v_set((real)i);
    for (ptrdiff_t r = 0; r < rounds; r++) {
        UNROLL for (int i = 0; i < CHAINS; i++) a[i] = v_fma(a[i], x, y);
    }
    vec total = a[0];
    for (int i = 1; i < CHAINS; i++) total = total + a[i];
    /* the sum takes part in the result, or the loop would be removed; it is finite */
    return 2.0 * CHAINS * VLEN * (double)rounds + 0 * (double)v_sum(total);
}

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define NAME__(isa, bits) kernels_##isa##_##bits
#define NAME_(isa, bits) NAME__(isa, bits)

extern const struct kernels NAME_(ISA, REAL_BITS);
const struct kernels NAME_(ISA, REAL_BITS) = {
    .isa = TEXT(ISA),
    .bits = REAL_BITS,
    .linear_forward = linear_forward,
    .linear_backward = linear_backward,
    .forward_how = forward_how,
    .backward_how = backward_how,
    .elementwise = elementwise,
    .prelu = prelu,
    .softmax_forward = softmax_forward,
    .log_softmax_forward = log_softmax_forward,
    .softmax_backward = softmax_backward,
    .log_softmax_backward = log_softmax_backward,
    .layer_norm_forward = layer_norm_forward,
    .layer_norm_backward = layer_norm_backward,
    .batch_norm_forward = batch_norm_forward,
    .batch_norm_apply = batch_norm_apply,
    .batch_norm_backward = batch_norm_backward,
    .dropout = dropout,
    .cross_entropy = cross_entropy,
    .nll_loss = nll_loss,
    .elementwise_loss = elementwise_loss,
    .bad_label = bad_label,
    .outside_unit = outside_unit,
    .chain = chain,
    .clip_norm = clip_norm,
    .clip_value = clip_value,
    .sgd = sgd,
    .adam = adam,
    .rmsprop = rmsprop,
    .adagrad = adagrad,
    .adadelta = adadelta,
    .nadam = nadam,
    .radam = radam,
    .fma_peak = fma_peak,
};
