"""Randomness by address: the same place in a run draws the same numbers, whatever came before.

A `Stream` is a 64-bit seed and an address (purpose, part, epoch). Drawing adds the sample id and
the view. Nothing here has a history, so any worker, rank or restart draws the same numbers for
the same image. Two generators stand behind it:

* `Stream.uniforms`: the uniforms of a whole batch of addresses at once, by Philox4x32-10
  (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3");
* `Stream.generator`: one NumPy generator for one sample, for code that draws a varying number of
  values (normal, Poisson, ...)."""

from dataclasses import dataclass, replace
from enum import IntEnum, unique

import numpy as np
from jaxtyping import Float64, Int64, Integer, UInt32

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_WORD = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


@unique
class Purpose(IntEnum):
    """What a stream is drawn for; a number once given is never given again."""

    ORDER = 1
    CROP = 2
    CHAINS = 3
    WEIGHTS = 4
    SHARE = 5
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A place in a run, from which numbers are drawn.

    Attributes:
        seed: The run's seed, 0 .. 2**64 - 1.
        purpose: What is drawn; different purposes never share numbers.
        part: A part of the purpose, 0 .. 1023, e.g. one corruption at one severity.
        epoch: 0 .. 2**32 - 1.

    Example:
        >>> here = Stream(seed=0).at(epoch=3)
        >>> here.uniforms(np.array([17]), count=2).shape
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
            if not 0 <= value < 2**bits:
                raise ValueError(f"{name} must be 0..2**{bits} - 1, got {value}")

    def at(
        self, purpose: Purpose | None = None, *, part: int | None = None, epoch: int | None = None
    ) -> "Stream":
        """The same seed at another address; what is not named stays."""
        return replace(
            self,
            purpose=self.purpose if purpose is None else purpose,
            part=self.part if part is None else part,
            epoch=self.epoch if epoch is None else epoch,
        )

    def spawn(self, number: int) -> "Stream":
        """A stream of a new seed, made from this one's seed and a 64-bit number by hashing.

        Seeds are never added or multiplied: neighbours would share streams.
        """
        if not 0 <= number < 2**64:
            raise ValueError(f"number must be 0..2**64 - 1, got {number}")
        counter = np.array(
            [[number & 0xFFFFFFFF], [number >> 32], [int(Purpose.SPAWN) << 26], [0]], np.uint32
        )
        words = philox4x32(counter, self.seed)[:, 0]
        return Stream(seed=int(words[0]) | int(words[1]) << 32)

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
            count: Numbers per view and sample.
            num_views: Independent draws per sample, at most 65,536.
            first_block: Blocks of four numbers to leave out at the front, for draws in turns.

        Returns:
            Multiples of 2**-32 shifted by half a step, so neither 0 nor 1 occurs.

        Raises:
            ValueError: If an id does not fit into 32 bits.
        """
        addresses = self.addresses(ids, num_views=num_views)
        num_blocks = -(-count // 4)
        counter = np.empty((4, *addresses.shape[:2], num_blocks), np.uint32)
        counter[0] = np.arange(first_block, first_block + num_blocks, dtype=np.uint32)
        counter[1:] = np.moveaxis(addresses, 2, 0)[..., None]
        words = philox4x32(counter.reshape(4, -1), self.seed)
        numbers = words.T.reshape(*addresses.shape[:2], num_blocks * 4)[..., :count]
        return (numbers + 0.5) * 2.0**-32

    def addresses(
        self, ids: Integer[np.ndarray, " batch"], *, num_views: int = 1
    ) -> UInt32[np.ndarray, "view batch 3"]:
        """Counter words 1 to 3 of every view of every sample; word 0 numbers the blocks there.

        Who keeps them with the seed can draw what `uniforms` draws, at any later time.

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
        """A NumPy generator for one sample; drawing advances counter word 0, so that is free."""
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
    """Philox4x32-10: four random 32-bit words for every counter of four words.

    Args:
        counter: One column an address.
        seed: The 64-bit key; its low half is key word 0.
    """
    c0, c1, c2, c3 = (word.astype(np.uint64) for word in counter)
    product0, product1 = np.empty_like(c0), np.empty_like(c0)
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(_ROUNDS):  # in place: a plan asks for thousands of blocks at a time
        np.multiply(c0, _MULTIPLIERS[0], out=product0)
        np.multiply(c2, _MULTIPLIERS[1], out=product1)
        np.right_shift(product1, _SHIFT, out=c0)
        c0 ^= c1
        c0 ^= np.uint64(k0)
        np.right_shift(product0, _SHIFT, out=c2)
        c2 ^= c3
        c2 ^= np.uint64(k1)
        np.bitwise_and(product1, _WORD, out=c1)
        np.bitwise_and(product0, _WORD, out=c3)
        k0 = (k0 + _WEYL[0]) & 0xFFFFFFFF
        k1 = (k1 + _WEYL[1]) & 0xFFFFFFFF
    words = np.empty(counter.shape, np.uint32)
    words[0], words[1], words[2], words[3] = c0, c1, c2, c3
    return words
