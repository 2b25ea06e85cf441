"""What runs here, and what was compiled, in words."""

from __future__ import annotations

import numba
from numba.core.registry import cpu_target

from ..numba_scalars import cache
from .vectors import BYTES


def describe() -> dict[str, str]:
    cpu = cpu_target.target_context.codegen().magic_tuple()[1]
    compiled = [seconds for _, seconds, was_there in cache.history if not was_there]
    loaded = [seconds for _, seconds, was_there in cache.history if was_there]
    return {
        "numba": f"{numba.__version__}, for {cpu}: vectors of {8 * BYTES} bits",
        "compiled": f"{len(compiled)} in {sum(compiled):.1f} s, {len(loaded)} loaded from disk in {sum(loaded):.2f} s",
        "on disk": _on_disk(),
    }


def _on_disk() -> str:
    folder = cache.folder()
    if folder is None:
        return "nothing is kept, since FASTMLP_CACHE_DIR is empty or there is no home"
    found = cache.contents()
    size, seconds = sum(count for *_, count in found) / 2**20, sum(seconds for _, seconds, _ in found)
    text = f"{len(found)} in {folder}, {size:.1f} MiB, which took {seconds:.0f} s to compile"
    return text if cache.is_writable() else f"{text}; no more can be kept, since that cannot be written"
