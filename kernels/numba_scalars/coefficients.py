"""Written by tools/fit.py; do not edit. Bits of a number -> constants and polynomials, highest power first."""

from typing import Any

COEFFICIENTS: dict[int, dict[str, Any]] = {
    32: {
        "LOG2_E": 1.4426950216293335,  # 1 / ln 2
        "LN2_HI": 0.693145751953125,  # ln 2, without its last 8 bits
        "LN2_LO": 1.428606765330187e-06,  # the rest of it
        "EXP_SHIFT": 40.0,  # v_exp_up gives 2^EXP_SHIFT e^x
        "EXP_UNIT": 1099511627776.0,  # 2^EXP_SHIFT
        "EXP_LOW": -115.75557708740234,  # where v_exp_up becomes 0
        "EXPM1_LOW": -88.02969360351562,  # where v_expm1 becomes -1
        "SATURATED": 20.0,  # from here on sigmoid and tanh are 1
        "CDF_K": 2.9375,  # chosen, see there
        "CDF_CENTER": 0.375,  # likewise
        "CDF_END": 15.215490341186523,  # where e^(-a^2/2) becomes 0
        "PDF_0": 0.3989422917366028,  # 1 / sqrt(2 pi)
        "GELU_TANH_A": 1.5957691669464111,  # sqrt(8 / pi)
        "GELU_TANH_A_HI": 1.5957717895507812,  # the same, without its last 6 bits
        "GELU_TANH_A_LO": -2.6679449547373224e-06,  # the rest of it
        "GELU_TANH_B": 0.07135481387376785,  # 0.044715 sqrt(8 / pi)
        "GELU_TANH_B_LO": 2.3988324659995897e-09,  # the rest of it
        "GELU_TANH_END": 11.119826316833496,  # A z + B z^3 is a little beyond -EXP_LOW
        "GELU_TANH_SATURATED": 5.5,  # where A z + B z^3 > SATURATED
        "SELU_SCALE": 1.0507010221481323,  # as in the reference
        "SELU_SCALE_ALPHA": 1.7580993175506592,  # SELU_SCALE times its alpha
        "OFFSET": 12583039.0,  # rounds what it is added to; the last bits are then BIAS
        "REAL_MIN": 1.1754943508222875e-38,  # the least normal number
        "REAL_MAX": 3.4028234663852886e38,  # the largest number
        "SUBNORMAL_SHIFT": 24.0,  # makes a subnormal number normal
        "SUBNORMAL_UNIT": 16777216.0,  # 2^SUBNORMAL_SHIFT
        "SQRT_2": 1.4142135381698608,  # square root of 2
        "TINY": 2.168404344971009e-19,  # its square is still normal
        "ERF_NEAR": 0.75,  # beyond, erf is 1 - erfc
        "EXP": [  # e^r = 1 + r + r^2 P(r): relative error 2^-26.1
            0.0013868117239326239,
            0.008366330526769161,
            0.04166746139526367,
            0.1666654497385025,
            0.4999999701976776,
        ],
        "ATANH": [  # 2 atanh(s) = 2 s + s^3 P(s^2): relative error 2^-27.6
            0.2801401913166046,
            0.28000620007514954,
            0.40021663904190063,
            0.6666641235351562,
        ],
        "CDF": [  # Phi(-a) = e^(-a^2/2) P(u - CDF_CENTER) / (a + CDF_K), u = a / (a + CDF_K): relative error 2^-24.1
            -0.07809701561927795,
            -0.02393445558845997,
            0.1520201414823532,
            0.09994912147521973,
            -0.2954036593437195,
            -0.1874110996723175,
            0.969036877155304,
            -1.2334585189819336,
            0.8662149906158447,
        ],
        "ERF": [  # erf(x) = x + x P(x^2): relative error 2^-29.2
            -0.0006745741702616215,
            0.005114036146551371,
            -0.026834629476070404,
            0.11283382028341293,
            -0.3761261999607086,
            0.12837916612625122,
        ],
    },
    64: {
        "LOG2_E": 1.4426950408889634,  # 1 / ln 2
        "LN2_HI": 0.6931471805598903,  # ln 2, without its last 11 bits
        "LN2_LO": 5.497923018708371e-14,  # the rest of it
        "EXP_SHIFT": 80.0,  # v_exp_up gives 2^EXP_SHIFT e^x
        "EXP_UNIT": 1.2089258196146292e24,  # 2^EXP_SHIFT
        "EXP_LOW": -764.5413401576196,  # where v_exp_up becomes 0
        "EXPM1_LOW": -709.0895657128241,  # where v_expm1 becomes -1
        "SATURATED": 40.0,  # from here on sigmoid and tanh are 1
        "CDF_K": 3.5,  # chosen, see there
        "CDF_CENTER": 0.375,  # likewise
        "CDF_END": 39.10348680508222,  # where e^(-a^2/2) becomes 0
        "PDF_0": 0.3989422804014327,  # 1 / sqrt(2 pi)
        "GELU_TANH_A": 1.5957691216057308,  # sqrt(8 / pi)
        "GELU_TANH_A_HI": 1.595769121605727,  # the same, without its last 6 bits
        "GELU_TANH_A_LO": 3.675065195634423e-15,  # the rest of it
        "GELU_TANH_B": 0.07135481627260025,  # 0.044715 sqrt(8 / pi)
        "GELU_TANH_B_LO": -6.175149918155315e-19,  # the rest of it
        "GELU_TANH_END": 21.708661958599905,  # A z + B z^3 is a little beyond -EXP_LOW
        "GELU_TANH_SATURATED": 7.5,  # where A z + B z^3 > SATURATED
        "SELU_SCALE": 1.0507009873554805,  # as in the reference
        "SELU_SCALE_ALPHA": 1.7580993408473768,  # SELU_SCALE times its alpha
        "OFFSET": 6755399441056767.0,  # rounds what it is added to; the last bits are then BIAS
        "REAL_MIN": 2.2250738585072014e-308,  # the least normal number
        "REAL_MAX": 1.7976931348623157e308,  # the largest number
        "SUBNORMAL_SHIFT": 53.0,  # makes a subnormal number normal
        "SUBNORMAL_UNIT": 9007199254740992.0,  # 2^SUBNORMAL_SHIFT
        "SQRT_2": 1.4142135623730951,  # square root of 2
        "TINY": 2.983336292480083e-154,  # its square is still normal
        "ERF_NEAR": 0.75,  # beyond, erf is 1 - erfc
        "EXP": [  # e^r = 1 + r + r^2 P(r): relative error 2^-55.5
            2.5059521753030455e-08,
            2.762623556220026e-07,
            2.7557390339572118e-06,
            2.480150467681255e-05,
            0.00019841269736673226,
            0.0013888888932184072,
            0.008333333333382376,
            0.041666666666574176,
            0.166666666666666,
            0.5000000000000006,
        ],
        "ATANH": [  # 2 atanh(s) = 2 s + s^3 P(s^2): relative error 2^-54.1
            0.17744233408317434,
            0.09900499814597426,
            0.1358681793515182,
            0.1536423630528412,
            0.18182818150704202,
            0.22222192739256066,
            0.2857142906172241,
            0.39999999996010727,
            0.666666666666778,
        ],
        "CDF": [  # Phi(-a) = e^(-a^2/2) P(u - CDF_CENTER) / (a + CDF_K), u = a / (a + CDF_K): relative error 2^-54.4
            0.00803818496109067,
            -0.006299707752516485,
            -0.018579097812422327,
            0.009489944485107961,
            0.02157109371248713,
            0.002601764725501317,
            -0.016644409089121407,
            -0.01945493242428927,
            0.0008585407154788578,
            0.027916265119557145,
            0.023965566146090238,
            -0.02120498800656702,
            -0.0527758397010147,
            -0.002526546896448379,
            0.08616687336186686,
            0.04518736532821209,
            -0.1454622066227488,
            -0.10980536247740472,
            0.3298480087069358,
            0.10695687938770732,
            -1.0279965301339413,
            1.6312180922448847,
            -1.4919552925579698,
            0.9073948162649058,
        ],
        "ERF": [  # erf(x) = x + x P(x^2): relative error 2^-56.3
            -1.4110109348295915e-08,
            5.529295444367899e-08,
            -2.1819037986678827e-07,
            1.6876602293310736e-06,
            -1.4945209073681509e-05,
            0.00012055926027626711,
            -0.0008548338578120888,
            0.005223977765901305,
            -0.026866170655101936,
            0.11283791670991468,
            -0.3761263890318427,
            0.1283791670955126,
        ],
    },
}
