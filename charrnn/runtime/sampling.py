"""The choice of a character from logits: temperature, top-k, top-p, and the noise that makes it a draw."""

import itertools
import os
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Logits
from charrnn.errors import ConfigError
from charrnn.runtime.splitmix import SplitMix64
from charrnn.sampling_config import SamplingConfig

__all__ = ["Noise", "Sampler", "bounded", "choose", "fresh_seed"]

Noise: TypeAlias = npt.NDArray[np.float32]
"""Random numbers of a sampler: for each character to choose, and each text, one for each character it may be."""

_MAX_NUM_SAMPLES = 2**16
"""Above it the memory for states grows past what a laptop has (2^16 states of H=500: 131 MB)."""

_MAX_GROUP = 128
"""Texts that are written at once: more are not faster, and logits and noise would be as large as one asks for."""

_FAINT = np.float32(2.0**-80)
"""Times 1 / e, which is below 2^34: less than two sums of float32 probabilities can differ by."""


class Sampler:
    """Draws characters by an exponential race: e_i = -log(u_i), u_i uniform, and argmax p_i / e_i is a draw from p.

    As -log(e) is Gumbel noise g, argmax(logits + T * g) is the same draw from softmax(logits / T).
    Each row has a generator of its own: a text does not depend on how many are made beside it.
    Raises ConfigError where seed or num_samples is out of range.
    """

    def __init__(self, config: SamplingConfig, seed: int, num_samples: int = 1) -> None:
        if not 0 <= seed < 2**64:
            raise ConfigError(f"seed is {seed}: it must be at least 0 and below 2^64")
        if not 1 <= num_samples <= _MAX_NUM_SAMPLES:
            raise ConfigError(f"num-samples is {num_samples}: it must be at least 1 and at most {_MAX_NUM_SAMPLES}")
        self.config = config
        self.num_samples = num_samples
        count = -(-num_samples // _MAX_GROUP)
        ends = [num_samples * group // count for group in range(count + 1)]
        self.groups = [range(*each) for each in itertools.pairwise(ends)]
        """The rows, in groups of equal size to within one: each is written by itself, and draws by itself."""
        self._generators = [SplitMix64(seed, rows) for rows in self.groups]

    def choose(self, logits: Logits) -> npt.NDArray[np.int64]:
        """Choose a character for every row of `logits` [num_samples, V]; returns ids int64 [num_samples]."""
        assert len(logits) == self.num_samples
        ids = [
            choose(logits[rows.start : rows.stop], self.noise(1, logits.shape[1], group)[0], self.config)
            for group, rows in enumerate(self.groups)
        ]
        return np.concatenate(ids)

    def noise(self, steps: int, V: int, group: int = 0) -> Noise:
        """The next random numbers [steps, rows of the group, K] for `choose`: K is V, or with top-k the k of it.

        T * g; with top-p 1 / e, made faint; V zeros where the temperature T is 0. It does not matter how many steps
        are drawn at a time, but to the speed: a call costs as much as hundreds of numbers.
        """
        if self.config.temperature == 0:
            return np.zeros((steps, len(self.groups[group]), V), np.float32)
        K = min(self.config.top_k or V, V)
        e = self._generators[group].uniform(steps, K)
        # In place: memory that the operating system has to give anew each time is half of what this takes.
        e = np.log(e, out=e).astype(np.float32)
        np.negative(e, out=e)
        if self.config.top_p < 1:
            return np.divide(_FAINT, e, out=e)
        # Noise times T, rather than logits divided by it, chooses the same and cannot overflow for a small T.
        return np.multiply(np.log(e, out=e), np.float32(-bounded(self.config.temperature)), out=e)


def bounded(temperature: float) -> float:
    """The temperature, above 0, where float32 can compute with it and its inverse: beyond, the draw is at its limit."""
    return min(max(temperature, 1e-30), 1e30)


def choose(logits: Logits, noise: Noise, config: SamplingConfig) -> npt.NDArray[np.int64]:
    """The character that the sampler's `noise` [B, K] draws for each row of `logits` [B, V]: ids int64 [B].

    With top-k or top-p the noise is that of the likeliest, the second likeliest, and so on, else that of each id.
    """
    if config.temperature == 0 or (not config.top_k and config.top_p == 1):
        return _highest(logits + noise)
    order = np.argsort(-logits, axis=1, kind="stable")[:, : noise.shape[1]]
    top = np.take_along_axis(logits, order, axis=1)
    scores = top + noise if config.top_p == 1 else _scores_of_top_p(top, noise, config)
    ids: npt.NDArray[np.int64] = np.take_along_axis(order, _highest(scores)[:, None], axis=1)[:, 0]
    return ids


def _highest(scores: Logits) -> npt.NDArray[np.int64]:
    """The place of the highest score of each row, the first among equals."""
    places: npt.NDArray[np.int64] = scores.argmax(axis=1).astype(np.int64, copy=False)
    return places


def _scores_of_top_p(top: Logits, noise: Noise, config: SamplingConfig) -> Logits:
    """p / e for the characters before which less than top_p lies, and nothing above 0 for others: [B, K].

    top: logits [B, K] that fall along the row. The noise is too faint to reach what is left of top_p, where that is
    above 0: the lesser of the two is the noise, or not above 0.
    """
    with np.errstate(over="ignore"):  # a difference / a tiny temperature may be -inf, whose exp is the right 0
        weights = np.exp((top - top[:, :1]) / np.float32(bounded(config.temperature)))
    probabilities = weights / weights.sum(axis=1, keepdims=True)
    before = np.cumsum(np.pad(probabilities, ((0, 0), (1, 0)))[:, :-1], axis=1)
    scores: Logits = probabilities * np.minimum(noise, np.float32(config.top_p) - before)
    return scores


def fresh_seed() -> int:
    """A seed that nobody has used, short enough to type."""
    return int.from_bytes(os.urandom(4))
