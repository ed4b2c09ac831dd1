"""64-bit hashes of many word sequences at once, so that no sentence need be kept to be recognised.

A sequence ``k_0 … k_n`` hashes to the sum of ``k_j * B**j`` modulo 2**64 (a polynomial rolling hash, Karp and Rabin
1987), its keys mixed by splitmix64 first. With prefix sums over a chunk, and powers of the inverse of ``B``, the hash
of any range is one subtraction and one product. Of a million different sentences two share a hash by chance with
probability 3e-8 (n² / 2 / 2**64); nothing here defends against sentences made to collide.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]

_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2**64
_INVERSE = pow(_BASE, -1, 1 << 64)


def mix(values: npt.NDArray[Any]) -> Hashes:
    """Splitmix64: numbers that differ in a bit become numbers that differ in about half of theirs.

    Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
    """
    state = values.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


class RangeHashes:
    """Hashes of ranges of a sequence of mixed keys.

    Args:
        keys: mixed keys, ``[n]``.
        widths: how many places each key takes, ``[n]``; a key that is itself a hash of three characters takes three,
            and then the hash of two words is that of their characters in one row. One each by default.
    """

    def __init__(self, keys: Hashes, widths: npt.NDArray[np.int64] | None = None) -> None:
        self._places = np.arange(len(keys) + 1) if widths is None else np.concatenate([[0], np.cumsum(widths)])
        powers = _powers(_BASE, int(self._places[-1]) + 1)
        self._inverses = _powers(_INVERSE, int(self._places[-1]) + 1)
        self._sums = np.zeros(len(keys) + 1, dtype=np.uint64)
        np.cumsum(keys * powers[self._places[:-1]], out=self._sums[1:])

    def __call__(self, starts: npt.NDArray[Any], ends: npt.NDArray[Any]) -> Hashes:
        """The hash of each range ``starts`` to ``ends`` (exclusive); 0 for an empty one."""
        found: Hashes = (self._sums[ends] - self._sums[starts]) * self._inverses[self._places[starts]]
        return found


def text_keys(texts: list[str]) -> tuple[Hashes, npt.NDArray[np.int64]]:
    """The hash of the characters of each text, and how many there are."""
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    characters = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    ends = np.cumsum(lengths)
    return RangeHashes(mix(characters))(ends - lengths, ends), lengths


def _powers(base: int, count: int) -> Hashes:
    """``base**0`` to ``base**(count - 1)`` modulo 2**64."""
    factors = np.full(count, base, dtype=np.uint64)
    factors[0] = 1
    return np.cumprod(factors, dtype=np.uint64)
