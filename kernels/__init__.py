"""The numbers' side of fastmlp.

Here live the contract (what every kernel takes and writes), the cases that exercise it, `selfcheck` (some of them
beside the reference, wherever fastmlp is installed), and one folder for each backend: `reference` (NumPy), `cython_cpu`
(C, compiled ahead of time), `numba_cpu` (Python, compiled just in time, on the formulas of `numba_scalars`).
A kernel folder imports `contract` and nothing else of fastmlp; it trusts its inputs, because `fastmlp.ops`
has checked them, and never calls upward.
"""
