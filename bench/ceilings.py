"""What the machine can do at most, measured in the same run as everything else."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

COPY_BYTES = 256 * 2**20
REPEATS = 5  # a ceiling is the best of them
A_TURN = 0.008  # seconds


def fma_peak(dtype, threads):
    """GFLOP/s of fused multiply-adds on so many cores at once; None without the compiled backend."""
    try:
        from fastmlp.kernels.cython_cpu import fma_peak as of_one
    except ImportError:
        return None
    bits = {"float32": 32, "float64": 64}[dtype]
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(lambda _: of_one(bits, A_TURN), range(threads)))


def fma_peaks(threads):
    """The best of some, by dtype; None without the compiled backend."""
    peaks = {dtype: [fma_peak(dtype, threads) for _ in range(REPEATS)] for dtype in ("float32", "float64")}
    return None if None in peaks["float32"] else {dtype: max(some) for dtype, some in peaks.items()}


def copy_bandwidth(threads):
    """GB/s of np.copyto on 256 MiB, split among `threads`. A byte is read and written, and so counts twice."""
    source = np.ones(COPY_BYTES, np.uint8)
    target = np.zeros(COPY_BYTES, np.uint8)
    parts = list(zip(np.array_split(source, threads), np.array_split(target, threads)))
    with ThreadPoolExecutor(threads) as pool:
        seconds = min(_copy_once(pool, parts) for _ in range(REPEATS))
    return 2 * COPY_BYTES / seconds / 1e9


def _copy_once(pool, parts):
    begin = time.perf_counter()
    list(pool.map(lambda part: np.copyto(part[1], part[0]), parts))
    return time.perf_counter() - begin
