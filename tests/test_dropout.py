"""Dropout's generator: the published vectors, in the reference and in what the kernels keep; how many are kept."""

import numpy as np
import pytest

from fastmlp.kernels import reference
from fastmlp.kernels.cases import dropout
from fastmlp.kernels.reference.dropout import draws, philox4x32

FULL = 0xFFFFFFFF
#: counter, key, words: philox4x32-10 in kat_vectors of Random123, the authors' library
VECTORS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((FULL,) * 4, (FULL,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize("counter, key, words", VECTORS)
def test_the_reference_gives_the_published_words(counter, key, words):
    got = philox4x32(*(np.array([word], np.uint64) for word in counter), *key)
    assert tuple(int(word[0]) for word in got) == words


def kept(backend, p, size, seed=0, offset=0, dtype=np.float32):
    y = np.empty(size, dtype)
    backend.dropout(np.ones(size, dtype), p, seed, offset, y)
    return y != 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_element_is_kept_from_its_word_on(backend, dtype):
    """p of just the word keeps it, the next p drops it: with that, the words of the kernel are the published ones."""
    for i, word in enumerate(VECTORS[0][2]):
        assert kept(backend, word / 2**32, 4, dtype=dtype)[i]
        assert not kept(backend, (word + 1) / 2**32, 4, dtype=dtype)[i]


@pytest.mark.parametrize("seed, offset", [(0, 0), (2**64 - 1, 2**64 - 5), (2**32 + 1, 2**32 - 3)])
def test_every_backend_keeps_the_same_elements(backend, seed, offset):
    """Seed and offset have 64 bits, and the counter wraps."""
    expected = draws(40_003, seed, offset) >= int(0.3 * 2**32)
    np.testing.assert_array_equal(kept(backend, 0.3, 40_003, seed, offset), expected)


def test_the_offset_counts_blocks_of_four(backend):
    whole = kept(backend, 0.5, 10_000, seed=7)
    np.testing.assert_array_equal(kept(backend, 0.5, 4000, seed=7, offset=1500), whole[6000:])


@pytest.mark.parametrize("p", [0.01, 0.3, 0.5, 0.9])
def test_the_share_of_what_is_kept(p):
    """Within 5 standard deviations; neither neighbours nor seeds have to do with each other."""
    n = 200_000
    a, b = (kept(reference, p, n, seed) for seed in (1, 2))
    deviation = (p * (1 - p) / n) ** 0.5
    for mask in (a, b):
        assert abs(mask.mean() - (1 - p)) < 5 * deviation
    for one, other in ((a[1:], a[:-1]), (a, b), (a[4:], a[:-4])):
        both = ((one - (1 - p)) * (other - (1 - p))).mean() / (p * (1 - p))
        assert abs(both) < 5 / n**0.5


def test_all_or_nothing(backend):
    for p in (0.0, 1.0):
        case = dropout(1001, "float32", p)
        x = case.inputs()["x"]
        np.testing.assert_array_equal(case.run(backend)["y"], x if p == 0 else 0 * x)
