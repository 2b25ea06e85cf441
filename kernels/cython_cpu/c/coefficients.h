/* Written by tools/fit.py; do not edit. */
#ifndef COEFFICIENTS_H
#define COEFFICIENTS_H

#include "vec.h"

#if REAL_BITS == 32

#define LOG2_E              0x1.715476p0f            /* 1 / ln 2 */
#define LN2_HI              0x1.62e4p-1f             /* ln 2, without its last 8 bits */
#define LN2_LO              0x1.7f7d1cp-20f          /* the rest of it */
#define EXP_SHIFT           0x1.4p5f                 /* v_exp_up gives 2^EXP_SHIFT e^x */
#define EXP_UNIT            0x1p40f                  /* 2^EXP_SHIFT */
#define EXP_LOW             -0x1.cf05b6p6f           /* where v_exp_up becomes 0 */
#define EXPM1_LOW           -0x1.601e68p6f           /* where v_expm1 becomes -1 */
#define SATURATED           0x1.4p4f                 /* from here on sigmoid and tanh are 1 */
#define CDF_K               0x1.78p1f                /* chosen, see there */
#define CDF_CENTER          0x1.8p-2f                /* likewise */
#define CDF_END             0x1.e6e54cp3f            /* where e^(-a^2/2) becomes 0 */
#define PDF_0               0x1.988454p-2f           /* 1 / sqrt(2 pi) */
#define GELU_TANH_A         0x1.988454p0f            /* sqrt(8 / pi) */
#define GELU_TANH_A_HI      0x1.98848p0f             /* the same, without its last 6 bits */
#define GELU_TANH_A_LO      -0x1.6615e4p-19f         /* the rest of it */
#define GELU_TANH_B         0x1.2444f2p-4f           /* 0.044715 sqrt(8 / pi) */
#define GELU_TANH_B_LO      0x1.49b16ap-29f          /* the rest of it */
#define GELU_TANH_END       0x1.63d59ep3f            /* A z + B z^3 is a little beyond -EXP_LOW */
#define GELU_TANH_SATURATED 0x1.6p2f                 /* where A z + B z^3 > SATURATED */
#define SELU_SCALE          0x1.0cfabep0f            /* as in the reference */
#define SELU_SCALE_ALPHA    0x1.c212ccp0f            /* SELU_SCALE times its alpha */

/* e^r = 1 + r + r^2 P(r): relative error 2^-26.1 */
static const real EXP[] = {
    0x1.6b8b5cp-10f,
    0x1.1225dep-7f,
    0x1.5557p-5f,
    0x1.5554b2p-3f,
    0x1.fffffep-2f,
};

/* 2 atanh(s) = 2 s + s^3 P(s^2): relative error 2^-27.6 */
static const real ATANH[] = {
    0x1.1edd12p-2f,
    0x1.1eb9f2p-2f,
    0x1.99d264p-2f,
    0x1.5555p-1f,
};

/* Phi(-a) = e^(-a^2/2) P(u - CDF_CENTER) / (a + CDF_K), u = a / (a + CDF_K): relative error 2^-24.1 */
static const real CDF[] = {
    -0x1.3fe2a8p-4f,
    -0x1.882462p-6f,
    0x1.375656p-3f,
    0x1.99644p-4f,
    -0x1.2e7e4cp-2f,
    -0x1.7fd164p-3f,
    0x1.f0259ap-1f,
    -0x1.3bc3fp0f,
    0x1.bb8088p-1f,
};

#else

#define LOG2_E              0x1.71547652b82fep0      /* 1 / ln 2 */
#define LN2_HI              0x1.62e42fefa38p-1       /* ln 2, without its last 11 bits */
#define LN2_LO              0x1.ef35793c7673p-45     /* the rest of it */
#define EXP_SHIFT           0x1.4p6                  /* v_exp_up gives 2^EXP_SHIFT e^x */
#define EXP_UNIT            0x1p80                   /* 2^EXP_SHIFT */
#define EXP_LOW             -0x1.7e454aa2607e7p9     /* where v_exp_up becomes 0 */
#define EXPM1_LOW           -0x1.628b76e3a7b61p9     /* where v_expm1 becomes -1 */
#define SATURATED           0x1.4p5                  /* from here on sigmoid and tanh are 1 */
#define CDF_K               0x1.cp1                  /* chosen, see there */
#define CDF_CENTER          0x1.8p-2                 /* likewise */
#define CDF_END             0x1.38d3f0e3db2a5p5      /* where e^(-a^2/2) becomes 0 */
#define PDF_0               0x1.9884533d43651p-2     /* 1 / sqrt(2 pi) */
#define GELU_TANH_A         0x1.9884533d43651p0      /* sqrt(8 / pi) */
#define GELU_TANH_A_HI      0x1.9884533d4364p0       /* the same, without its last 6 bits */
#define GELU_TANH_A_LO      0x1.08d0fcb3c500cp-48    /* the rest of it */
#define GELU_TANH_B         0x1.2444f2a4d8b4bp-4     /* 0.044715 sqrt(8 / pi) */
#define GELU_TANH_B_LO      -0x1.6c843a29d1c7p-61    /* the rest of it */
#define GELU_TANH_END       0x1.5b56adec01b1cp4      /* A z + B z^3 is a little beyond -EXP_LOW */
#define GELU_TANH_SATURATED 0x1.ep2                  /* where A z + B z^3 > SATURATED */
#define SELU_SCALE          0x1.0cfabd6a91132p0      /* as in the reference */
#define SELU_SCALE_ALPHA    0x1.c212cc640f031p0      /* SELU_SCALE times its alpha */

/* e^r = 1 + r + r^2 P(r): relative error 2^-55.5 */
static const real EXP[] = {
    0x1.ae84f1350ed73p-26,
    0x1.28a26b0757cdep-22,
    0x1.71de78e33ae24p-19,
    0x1.a019a6c74b87ap-16,
    0x1.a01a017b4cc7ep-13,
    0x1.6c16c17f215c2p-10,
    0x1.1111111117f8p-7,
    0x1.5555555552144p-5,
    0x1.555555555553dp-3,
    0x1.0000000000005p-1,
};

/* 2 atanh(s) = 2 s + s^3 P(s^2): relative error 2^-54.1 */
static const real ATANH[] = {
    0x1.6b66e2ee814f8p-3,
    0x1.958643d2d70a5p-4,
    0x1.16420e570dfe9p-3,
    0x1.3aa8d8e4bca51p-3,
    0x1.7462556882dcbp-3,
    0x1.c71c4a34d750dp-3,
    0x1.24924978cda3p-2,
    0x1.99999998ea266p-2,
    0x1.555555555594p-1,
};

/* Phi(-a) = e^(-a^2/2) P(u - CDF_CENTER) / (a + CDF_K), u = a / (a + CDF_K): relative error 2^-54.4 */
static const real CDF[] = {
    0x1.07652ec377788p-7,
    -0x1.9cdb8ec57b844p-8,
    -0x1.3066625f9624cp-6,
    0x1.36f76c9a29974p-7,
    0x1.616bb9822e6c6p-6,
    0x1.5504bcd0da2ddp-9,
    -0x1.10b3b62cbcc51p-6,
    -0x1.3ebfe6a0868d6p-6,
    0x1.c21f625cb47ddp-11,
    0x1.c9614d6dc1f62p-6,
    0x1.88a6deb4f71bep-6,
    -0x1.5b6c2a80048c4p-6,
    -0x1.b056f5311d0dbp-5,
    -0x1.4b28d89588601p-9,
    0x1.60f083f167985p-4,
    0x1.722cc608ddccep-5,
    -0x1.29e816e1fd56dp-3,
    -0x1.c1c3448c410a2p-4,
    0x1.51c3ad2830241p-2,
    0x1.b6186ab0d6b5cp-4,
    -0x1.072ac7d553a65p0,
    0x1.a1978246d5d5ap0,
    -0x1.7df0c834a16e8p0,
    0x1.d0960da8d5dcbp-1,
};

#endif
#endif
