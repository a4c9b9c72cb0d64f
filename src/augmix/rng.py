"""Counter-based random numbers: the same address draws the same numbers, whatever came before.

A `Stream` is a 64-bit seed and an address (purpose, part, epoch), to which drawing adds the sample
id and the view. There is no state, so any worker, rank or restart draws the same numbers for the
same image:

* `Stream.uniforms` draws for a whole batch by Philox4x32-10 (Salmon et al. 2011, "Parallel random
  numbers: as easy as 1, 2, 3"), `Stream.uniforms_torch` the same numbers on a device;
* `Stream.generator` is a NumPy generator for one sample, for code that draws a varying number of
  values (normal, Poisson, ...).

Philox has three forms here, equal word by word: `philox4x32` for NumPy arrays, `philox4x32_torch`
for tensors, and `philox4x32_scalar`, which numba compiles where a kernel draws (`jit.inner`).
"""

from dataclasses import dataclass, replace
from enum import IntEnum, unique
from functools import cache
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Float, Float64, Int64, Integer, UInt32

from augmix.errors import check_integer

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_WORD = 0xFFFFFFFF
# the same for the forms in NumPy and numba, typed
_M0, _M1 = np.uint64(_MULTIPLIERS[0]), np.uint64(_MULTIPLIERS[1])
_W0, _W1 = np.uint32(_WEYL[0]), np.uint32(_WEYL[1])
_SHIFT, _LOW = np.uint64(32), np.uint64(_WORD)


@unique
class Purpose(IntEnum):
    """What a stream is drawn for; a number is never used for another purpose."""

    ORDER = 1
    CROP = 2
    CHAINS = 3
    WEIGHTS = 4
    MIX = 5
    CORRUPTION = 6
    SPLIT = 7
    SPAWN = 8
    EXAMPLES = 9
    BOOTSTRAP = 10
    STYLE = 11
    POLICY = 12
    HOLE = 13
    PATCH = 14
    NOISE = 15
    PAIRS = 16
    ATTACK = 17
    TORCH = 18
    FOURIER = 19
    RECOMBINE = 20
    SPECTRA = 21
    WAVES = 22
    PRIMITIVES = 23
    LP_NOISE = 24
    NOISE_NET = 27
    ERASING = 28
    BANK = 29
    PICTURES = 30
    DECISION = 40
    CONFORMAL = 41


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """An address in a run, from which numbers are drawn.

    Attributes:
        seed: The run's seed, 0 .. 2**64 - 1.
        purpose: What is drawn; two purposes never have numbers in common.
        part: A part of the purpose, 0 .. 1023, e.g. one corruption at one severity.
        epoch: 0 .. 2**32 - 1.

    Example:
        >>> stream = Stream(seed=0).at(epoch=3)
        >>> stream.uniforms(np.array([17]), count=2).shape
        (1, 1, 2)
    """

    seed: int
    purpose: Purpose = Purpose.CHAINS
    part: int = 0
    epoch: int = 0

    def __post_init__(self) -> None:
        for name, value, bits in (
            ("seed", self.seed, 64),
            ("part", self.part, 10),
            ("epoch", self.epoch, 32),
        ):
            if not 0 <= check_integer(name, value) < 2**bits:
                raise ValueError(f"{name} must be 0..2**{bits} - 1, got {value}")

    def at(
        self, purpose: Purpose | None = None, *, part: int | None = None, epoch: int | None = None
    ) -> "Stream":
        """The same seed at another address; what is not given stays as it is."""
        given = {"purpose": purpose, "part": part, "epoch": epoch}
        return replace(self, **{name: value for name, value in given.items() if value is not None})

    def spawn(self, number: int) -> "Stream":
        """A stream of the same epoch, its seed made from this one's and a 64-bit number by hashing.

        Seeds are never added or multiplied, which would give neighbours the same streams.
        """
        if not 0 <= number < 2**64:
            raise ValueError(f"number must be 0..2**64 - 1, got {number}")
        counter = np.array(
            [[number & _WORD], [number >> 32], [int(Purpose.SPAWN) << 26], [0]], np.uint32
        )
        words = philox4x32(counter, self.seed)[:, 0]
        return Stream(seed=int(words[0]) | int(words[1]) << 32, epoch=self.epoch)

    def uniforms(
        self,
        ids: Integer[np.ndarray, " batch"],
        *,
        count: int,
        num_views: int = 1,
        first_block: int = 0,
    ) -> Float64[np.ndarray, "view batch count"]:
        """Uniform numbers strictly between 0 and 1 for every view of every sample.

        Args:
            ids: Sample ids, 0 .. 2**32 - 1; any order, repeats allowed.
            num_views: Independent draws per sample, at most 65,536.
            first_block: Blocks of four numbers to skip, for draws in several rounds.

        Returns:
            Multiples of 2**-32 shifted by half a step, so neither 0 nor 1 occurs.

        Raises:
            ValueError: If an id does not fit into 32 bits.
        """
        addresses = self.addresses(ids, num_views=num_views)
        words = np.empty((*addresses.shape[:2], count), np.uint32)
        from augmix import jit

        key0, key1 = self.seed & _WORD, self.seed >> 32
        rows = addresses.reshape(-1, 3), words.reshape(addresses.size // 3, count)
        jit.call(_fill_words(), *rows, key0, key1, first_block)
        return to_uniforms(words)

    def uniforms_torch(
        self, ids: Integer[np.ndarray, " batch"], *, count: int, num_views: int = 1, device: Any
    ) -> Float[Any, "view batch count"]:
        """The numbers of `uniforms` as a tensor, drawn on the device; float32 where it has no more.

        On the CPU they are drawn by NumPy, which is faster there.
        """
        import torch

        if torch.device(device).type == "cpu":
            return torch.from_numpy(self.uniforms(ids, count=count, num_views=num_views))
        addresses = self.addresses(ids, num_views=num_views).astype(np.int64)
        block = torch.arange(-(-count // 4), device=device).expand(*addresses.shape[:2], -1)
        words = words_at_torch(torch.from_numpy(addresses).to(device), block, self.seed)
        return to_uniforms_torch(torch.stack(words, dim=3).flatten(2)[..., :count])

    def addresses(
        self, ids: Integer[np.ndarray, " batch"], *, num_views: int = 1
    ) -> UInt32[np.ndarray, "view batch 3"]:
        """Counter words 1 to 3 of every view of every sample; word 0 numbers the blocks there.

        Kept together with the seed, they draw at any later time what `uniforms` draws.

        Raises:
            ValueError: If an id does not fit into 32 bits.
        """
        ids = np.asarray(ids)
        if ids.size and (ids.min() < 0 or ids.max() >= 2**32):
            raise ValueError(
                f"sample ids must be 0..2**32 - 1, got {int(ids.min())}..{int(ids.max())}"
            )
        if not 1 <= num_views <= 2**16:
            raise ValueError(f"num_views must be 1..65536, got {num_views}")
        words = np.empty((num_views, len(ids), 3), np.uint32)
        views = np.arange(num_views, dtype=np.uint32)
        words[..., 0] = (int(self.purpose) << 26 | self.part << 16) + views[:, None]
        words[..., 1] = self.epoch
        words[..., 2] = ids.astype(np.uint32)
        return words

    def generator(self, sample: int) -> np.random.Generator:
        """A NumPy generator for one sample; its draws advance word 0 of the counter."""
        if not 0 <= sample < 2**64:
            raise ValueError(f"sample must be 0..2**64 - 1, got {sample}")
        address = int(self.purpose) << 32 | self.part
        philox = np.random.Philox(key=self.seed, counter=[0, address, self.epoch, sample])
        return np.random.Generator(philox)

    def permutation(self, size: int) -> Int64[np.ndarray, " size"]:
        """A random order of 0 .. size - 1, by sorting addressed 64-bit numbers."""
        halves = self.uniforms(np.arange(size), count=2)[0]
        return np.lexsort((halves[:, 1], halves[:, 0])).astype(np.int64)


def philox4x32(counter: UInt32[np.ndarray, "4 n"], seed: int) -> UInt32[np.ndarray, "4 n"]:
    """Philox4x32-10: four random 32-bit words for every counter of four words, a column each.

    The low half of the 64-bit seed is key word 0.
    """
    c0, c1, c2, c3 = (word.astype(np.uint64) for word in counter)
    product0, product1 = np.empty_like(c0), np.empty_like(c0)
    k0, k1 = seed & _WORD, seed >> 32
    for _ in range(_ROUNDS):  # in place: a plan asks for thousands of blocks at a time
        np.multiply(c0, _M0, out=product0)
        np.multiply(c2, _M1, out=product1)
        np.right_shift(product1, _SHIFT, out=c0)
        c0 ^= c1
        c0 ^= np.uint64(k0)
        np.right_shift(product0, _SHIFT, out=c2)
        c2 ^= c3
        c2 ^= np.uint64(k1)
        np.bitwise_and(product1, _LOW, out=c1)
        np.bitwise_and(product0, _LOW, out=c3)
        k0, k1 = (k0 + _WEYL[0]) & _WORD, (k1 + _WEYL[1]) & _WORD
    words = np.empty(counter.shape, np.uint32)
    words[0], words[1], words[2], words[3] = c0, c1, c2, c3
    return words


def words_at(
    addresses: UInt32[np.ndarray, "*row 3"],
    blocks: Integer[np.ndarray, " n"],
    seed: int,
    num: Integer[np.ndarray, " row"] | None = None,
) -> UInt32[np.ndarray, "4 n"]:
    """The four words of every block at an address (`Stream.addresses`), a column each.

    With several addresses, the first ``num[0]`` blocks are at the first one, and so on.
    """
    from augmix import jit

    words = np.empty((4, len(blocks)), np.uint32)
    rows = np.ascontiguousarray(np.atleast_2d(addresses), np.uint32)
    num = np.array([len(blocks)]) if num is None else num.astype(np.int64)
    key = np.uint32(seed & _WORD), np.uint32(seed >> 32)
    jit.call(_fill_blocks(), rows, num, np.asarray(blocks, np.int64), *key, words)
    return words


@no_type_check
def philox4x32_scalar(c0, c1, c2, c3, k0, k1, words):
    """`philox4x32` for one counter and key of 32-bit words, into an array of four; for numba."""
    for _ in range(_ROUNDS):
        product0 = np.uint64(c0) * _M0
        product1 = np.uint64(c2) * _M1
        c0 = np.uint32(product1 >> _SHIFT) ^ c1 ^ k0
        c2 = np.uint32(product0 >> _SHIFT) ^ c3 ^ k1
        c1, c3 = np.uint32(product1 & _LOW), np.uint32(product0 & _LOW)
        k0 = np.uint32(k0 + _W0)
        k1 = np.uint32(k1 + _W1)
    words[0], words[1], words[2], words[3] = c0, c1, c2, c3


_philox: Any = None  # a global: numba finds no kernel on the disk that closes over another


@cache
def _compile_philox() -> None:
    """Make the Philox that the kernels below call."""
    from augmix.jit import inner

    global _philox
    _philox = inner(philox4x32_scalar)


@cache
def _fill_words() -> Any:
    """A kernel that fills rows of words, each from the blocks of an address; one call, no GIL."""
    from augmix.jit import outer

    _compile_philox()

    @outer
    @no_type_check
    def fill(addresses, result, key0, key1, first_block):
        words = np.empty(4, np.uint32)
        num_rows, count = result.shape
        for row in range(num_rows):
            c1, c2, c3 = addresses[row, 0], addresses[row, 1], addresses[row, 2]
            for start in range(0, count, 4):
                block = np.uint32(first_block + start // 4)
                _philox(block, c1, c2, c3, np.uint32(key0), np.uint32(key1), words)
                for index in range(start, min(start + 4, count)):
                    result[row, index] = words[index - start]

    return fill


@cache
def _fill_blocks() -> Any:
    """The kernel of `words_at`."""
    from augmix.jit import outer

    _compile_philox()

    @outer
    @no_type_check
    def fill(addresses, num, blocks, key0, key1, result):
        words, start = np.empty(4, np.uint32), 0
        for row in range(len(num)):
            c1, c2, c3 = addresses[row, 0], addresses[row, 1], addresses[row, 2]
            for at in range(start, start + num[row]):
                _philox(np.uint32(blocks[at]), c1, c2, c3, key0, key1, words)
                for index in range(4):
                    result[index, at] = words[index]
            start += num[row]

    return fill


def philox4x32_torch(counter: list[Any], seed: int) -> list[Any]:
    """`philox4x32` for four int64 tensors of 32-bit counter words, on any device.

    A product of two words may pass 2**63; its bits are right all the same.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = seed & _WORD, seed >> 32
    for _ in range(_ROUNDS):
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0 = ((product1 >> 32) & _WORD) ^ c1 ^ k0
        c2 = ((product0 >> 32) & _WORD) ^ c3 ^ k1
        c1, c3 = product1 & _WORD, product0 & _WORD
        k0, k1 = (k0 + _WEYL[0]) & _WORD, (k1 + _WEYL[1]) & _WORD
    return [c0, c1, c2, c3]


def words_at_torch(
    address: Integer[Any, "*batch 3"], blocks: Integer[Any, "*batch n"], seed: int
) -> list[Any]:
    """`words_at` for tensors, at an address of every entry: four tensors like ``blocks``."""
    words = [word[..., None].expand_as(blocks) for word in address.unbind(-1)]
    return philox4x32_torch([blocks, *words], seed)


def to_uniforms(words: UInt32[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
    """Random words as numbers strictly between 0 and 1."""
    return (words + 0.5) * 2.0**-32


def to_uniforms_torch(words: Int64[Any, "..."]) -> Float[Any, "..."]:
    """`to_uniforms` for tensors; float32 on devices without float64."""
    real = words.float() if words.device.type == "mps" else words.double()
    return (real + 0.5) * 2.0**-32
