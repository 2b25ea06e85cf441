/* Which tables there are, and which of them this CPU can run. Compiled for the baseline instruction set. */
#include "engine.h"

#include <string.h>

#define TABLES(isa) extern const struct kernels kernels_##isa##_32, kernels_##isa##_64;
#ifdef HAVE_AVX512
TABLES(avx512)
#endif
#ifdef HAVE_AVX2
TABLES(avx2)
#endif
#ifdef HAVE_NEON
TABLES(neon)
#endif
TABLES(generic)

#if defined(__x86_64__) || defined(__i386__)
static int has_avx512(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}
static int has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif
static int always(void) { return 1; }

static const struct {
    const char *name;
    int (*runs_here)(void);
    const struct kernels *f32, *f64;
} built[] = { /* best first */
#ifdef HAVE_AVX512
    {"avx512", has_avx512, &kernels_avx512_32, &kernels_avx512_64},
#endif
#ifdef HAVE_AVX2
    {"avx2", has_avx2, &kernels_avx2_32, &kernels_avx2_64},
#endif
#ifdef HAVE_NEON
    {"neon", always, &kernels_neon_32, &kernels_neon_64}, /* every AArch64 CPU has it */
#endif
    {"generic", always, &kernels_generic_32, &kernels_generic_64},
};
enum { BUILT = sizeof built / sizeof *built };

const char *const *engine_isas(void) {
    static const char *names[BUILT + 1];
    int count = 0;
    for (int i = 0; i < BUILT; i++)
        if (built[i].runs_here()) names[count++] = built[i].name;
    names[count] = NULL;
    return names;
}

const char *const *engine_built(void) {
    static const char *names[BUILT + 1];
    for (int i = 0; i < BUILT; i++) names[i] = built[i].name;
    return names;
}

const struct kernels *engine_kernels(const char *isa, int bits) {
    for (int i = 0; i < BUILT; i++)
        if (strcmp(built[i].name, isa) == 0 && built[i].runs_here()) return bits == 32 ? built[i].f32 : built[i].f64;
    return NULL;
}

const char *const *engine_activations(void) {
    static const char *const names[ACT_COUNT + 1] = {
        [ACT_identity] = "identity", [ACT_relu] = "relu", [ACT_leaky_relu] = "leaky_relu", [ACT_relu6] = "relu6",
        [ACT_sigmoid] = "sigmoid", [ACT_tanh] = "tanh", [ACT_elu] = "elu", [ACT_selu] = "selu",
        [ACT_softsign] = "softsign", [ACT_gelu] = "gelu", [ACT_gelu_tanh] = "gelu_tanh", [ACT_silu] = "silu",
        [ACT_softplus] = "softplus", [ACT_mish] = "mish", [ACT_hardswish] = "hardswish",
        [ACT_logsigmoid] = "logsigmoid", [ACT_celu] = "celu", [ACT_tanhshrink] = "tanhshrink",
        [ACT_hardsigmoid] = "hardsigmoid", [ACT_hardtanh] = "hardtanh", [ACT_hardshrink] = "hardshrink",
        [ACT_softshrink] = "softshrink", [ACT_threshold] = "threshold",
    };
    return names;
}

const char *const *engine_losses(void) {
    static const char *const names[LOSS_COUNT + 1] = {
        [LOSS_mse] = "mse", [LOSS_l1] = "l1", [LOSS_smooth_l1] = "smooth_l1", [LOSS_huber] = "huber",
        [LOSS_bce] = "bce", [LOSS_bce_with_logits] = "bce_with_logits", [LOSS_kl_div] = "kl_div",
        [LOSS_kl_div_log_target] = "kl_div_log_target",
    };
    return names;
}
