"""The choice of a character from the logits of a step, one for each text: the likeliest, or drawn at random.

A draw is the highest sum of logits and random noise. The noise does not depend on the logits, so it is made for many
steps at once, before the model runs them. A step is one call of the model on one character of each text.
"""

import itertools
import os
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Logits
from charrnn.errors import ConfigError
from charrnn.sampling_config import SamplingConfig
from charrnn.splitmix import SplitMix64

__all__ = ["Noise", "Sampler", "bounded", "choose", "fresh_seed"]

Noise: TypeAlias = npt.NDArray[np.float32]
"""Random numbers [batch, K] for one step, or [T, batch, K] for T of them: one for each character that can be chosen."""

_MAX_NUM_SAMPLES = 2**16
"""With more texts the states take more memory than a laptop has to spare (2^16 texts at H=500: 131 MB)."""

_MAX_GROUP = 128
"""Texts in one batch at most. Larger batches are not faster, and their logits and noise take memory without bound."""

_FAINT = np.float32(2.0**-80)
"""With top-p the noise is 1 / e times this. As 1 / e is below 2^34, the product is less than the difference of any two
sums of float32 probabilities that differ."""


class Sampler:
    """Chooses characters for `num_samples` texts, the rows of a batch, with a random generator for each.

    With u_i uniform in (0, 1) and e_i = -log(u_i), argmax p_i / e_i is a draw from the probabilities p (an exponential
    race). As g_i = -log(e_i) is Gumbel noise, argmax(logits_i + temperature * g_i) is the same draw from
    softmax(logits / temperature). export/README.md has both as the contract.

    As each row has its own generator, a text does not depend on how many are written beside it.
    """

    def __init__(self, config: SamplingConfig, seed: int, num_samples: int = 1) -> None:
        """Raises ConfigError where `seed` or `num_samples` is out of range."""
        if not 0 <= seed < 2**64:
            raise ConfigError(f"seed is {seed}: it must be at least 0 and below 2^64")
        if not 1 <= num_samples <= _MAX_NUM_SAMPLES:
            raise ConfigError(f"num-samples is {num_samples}: it must be at least 1 and at most {_MAX_NUM_SAMPLES}")
        self.config = config
        self.seed = seed
        self.num_samples = num_samples
        count = -(-num_samples // _MAX_GROUP)
        ends = [num_samples * group // count for group in range(count + 1)]
        self.groups = [range(*each) for each in itertools.pairwise(ends)]
        """The rows in groups of at most `_MAX_GROUP`, equal in size to within one; the model runs a group at a time."""
        self._generators = [SplitMix64(seed, rows) for rows in self.groups]

    def choose(self, logits: Logits) -> npt.NDArray[np.int64]:
        """Choose a character for every row of `logits` [num_samples, V]; returns ids int64 [num_samples]."""
        assert len(logits) == self.num_samples
        ids = [
            choose(logits[rows.start : rows.stop], self.noise(1, logits.shape[1], group)[0], self.config)
            for group, rows in enumerate(self.groups)
        ]
        return np.concatenate(ids)

    def noise(self, T: int, V: int, group: int = 0) -> Noise:
        """The next random numbers for T steps of a group of rows: float32 [T, rows, K], for `choose`.

        They are temperature * g, or with top-p 1 / e made faint, K being V, or k with top-k. At temperature 0 they are
        zeros, and K is V. Numbers for many steps at once are the same as step by step, and cost less: a call takes as
        long as hundreds of numbers.
        """
        if self.config.temperature == 0:
            return np.zeros((T, len(self.groups[group]), V), np.float32)
        K = min(self.config.top_k or V, V)
        e = self._generators[group].uniform(T, K)
        # Computed in place: new memory for each intermediate result would double the time.
        e = np.log(e, out=e).astype(np.float32)
        np.negative(e, out=e)
        if self.config.top_p < 1:
            return np.divide(_FAINT, e, out=e)
        # Noise times the temperature chooses as logits divided by it do, and does not overflow where that is small.
        return np.multiply(np.log(e, out=e), np.float32(-bounded(self.config.temperature)), out=e)


def bounded(temperature: float) -> float:
    """A `temperature` above 0, clipped to where float32 can hold it and its inverse.

    Beyond these bounds the draw is at its limit anyway: the likeliest character, or all alike.
    """
    return min(max(temperature, 1e-30), 1e30)


def choose(logits: Logits, noise: Noise, config: SamplingConfig) -> npt.NDArray[np.int64]:
    """The character that `noise` [B, K] of the sampler draws for each row of `logits` [B, V]: ids int64 [B].

    With top-k or top-p noise[:, 0] belongs to the likeliest character, noise[:, 1] to the next, and so on; otherwise
    noise[:, i] belongs to the character with id i.
    """
    if config.temperature == 0 or (not config.top_k and config.top_p == 1):
        return _highest(logits + noise)
    order = np.argsort(-logits, axis=1, kind="stable")[:, : noise.shape[1]]
    top = np.take_along_axis(logits, order, axis=1)
    scores = top + noise if config.top_p == 1 else _scores_of_top_p(top, noise, config)
    ids: npt.NDArray[np.int64] = np.take_along_axis(order, _highest(scores)[:, None], axis=1)[:, 0]
    return ids


def _highest(scores: Logits) -> npt.NDArray[np.int64]:
    """The column of the highest score of each row, the first among equals."""
    columns: npt.NDArray[np.int64] = scores.argmax(axis=1).astype(np.int64, copy=False)
    return columns


def _scores_of_top_p(top: Logits, noise: Noise, config: SamplingConfig) -> Logits:
    """Scores [B, K], the highest of which is the draw: p / e, made faint, for characters that are kept, else at most 0.

    A character is kept if the probabilities of those before it add up to less than top_p.
    top: the logits [B, K] of each row from the highest down.

    min(noise, top_p - sum before) selects without a mask: for a character that is kept the difference is above 0 and
    the noise smaller still (see `_FAINT`), so the noise remains; for others the difference is at most 0.
    """
    with np.errstate(over="ignore"):  # with a tiny temperature a quotient may be -inf, whose exp is rightly 0
        weights = np.exp((top - top[:, :1]) / np.float32(bounded(config.temperature)))
    probabilities = weights / weights.sum(axis=1, keepdims=True)
    before = np.cumsum(np.pad(probabilities, ((0, 0), (1, 0)))[:, :-1], axis=1)
    scores: Logits = probabilities * np.minimum(noise, np.float32(config.top_p) - before)
    return scores


def fresh_seed() -> int:
    """A new random seed, of 32 bits: short enough to type."""
    return int.from_bytes(os.urandom(4))
