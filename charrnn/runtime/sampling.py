"""The choice of a character from logits: temperature, top-k, top-p, and the noise that makes it a draw."""

import math
import secrets
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from charrnn.errors import ConfigError

__all__ = ["Logits", "Sampler", "SamplingConfig", "choose", "eligible", "fresh_seed"]

Logits: TypeAlias = npt.NDArray[np.floating[Any]]
"""Unnormalised log probabilities [batch, V]."""

_MAX_NUM_SAMPLES = 2**16
"""Above it the memory for generators and states grows past what a laptop has (2^16 states of H=500: 131 MB)."""


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How characters are chosen. Temperature acts first, then top-k, then top-p on what top-k left.

    Raises ConfigError.
    """

    temperature: float = 1.0
    """Logits are divided by it: below 1 the likely becomes likelier; 0 always takes the likeliest character."""
    top_k: int = 0
    """Only the k likeliest characters can be chosen (among equals, those of lower id); 0 switches it off."""
    top_p: float = 1.0
    """Only the fewest likeliest characters whose probabilities reach p can be chosen; 1 switches it off."""

    def __post_init__(self) -> None:
        if not (self.temperature >= 0 and math.isfinite(self.temperature)):
            raise ConfigError(
                f"temperature is {self.temperature}: it must be a finite number, at least 0; "
                "1 is the model's own, 0 takes the likeliest"
            )
        if self.top_k < 0:
            raise ConfigError(f"top-k is {self.top_k}: it must be at least 0; 0 switches it off")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top-p is {self.top_p}: it must be above 0 and at most 1; 1 switches it off")


class Sampler:
    """Draws characters by the Gumbel-max method: argmax(logits / T + Gumbel noise) is a draw from softmax(logits / T).

    Each row has a generator of its own, seeded by (seed, row): a text does not depend on how many are made beside it.
    The noise and the sums are float64. Raises ConfigError where seed or num_samples is out of range.
    """

    def __init__(self, config: SamplingConfig, seed: int, num_samples: int = 1) -> None:
        if seed < 0:
            raise ConfigError(f"seed is {seed}: it must be at least 0")
        if not 1 <= num_samples <= _MAX_NUM_SAMPLES:
            raise ConfigError(f"num-samples is {num_samples}: it must be at least 1 and at most {_MAX_NUM_SAMPLES}")
        self.config = config
        self.num_samples = num_samples
        self._generators = [np.random.default_rng([seed, row]) for row in range(num_samples)]

    def choose(self, logits: Logits) -> npt.NDArray[np.int64]:
        """Choose a character for every row of `logits` [num_samples, V]; returns ids int64 [num_samples]."""
        assert len(logits) == self.num_samples
        return choose(logits, self.noise(1, logits.shape[1])[0], self.config)

    def noise(self, steps: int, V: int) -> npt.NDArray[np.float64]:
        """The next T * Gumbel noise [steps, num_samples, V]; zeros where the temperature T is 0.

        It does not matter how many steps are drawn at a time, but to the speed: a call costs as much as hundreds of
        numbers. The noise is multiplied by T rather than the logits divided by it, which chooses the same and cannot
        overflow for a small T. Above 1e300 it could for a large one; the draw is uniform long before.
        """
        noise = np.zeros((self.num_samples, steps, V))
        if self.config.temperature > 0:
            for rng, row in zip(self._generators, noise, strict=True):
                rng.standard_exponential(out=row)
            # -log of a standard exponential is a standard Gumbel. An exponential can come out as 0.
            np.maximum(noise, np.finfo(np.float64).tiny, out=noise)
            np.log(noise, out=noise)
            noise *= -min(self.config.temperature, 1e300)
        return noise.swapaxes(0, 1)


def choose(logits: Logits, noise: npt.NDArray[np.float64], config: SamplingConfig) -> npt.NDArray[np.int64]:
    """The character that T * Gumbel `noise` [B, V] draws for each row of `logits` [B, V]: ids int64 [B]."""
    if config.temperature == 0:
        return _likeliest(logits)
    scores = logits + noise
    if config.top_k or config.top_p < 1:
        scores[~eligible(logits, config)] = -np.inf
    return _likeliest(scores)


def _likeliest(scores: Logits) -> npt.NDArray[np.int64]:
    """The id of the highest score of each row, the lowest id among equals."""
    ids: npt.NDArray[np.int64] = scores.argmax(axis=1).astype(np.int64, copy=False)
    return ids


def eligible(logits: Logits, config: SamplingConfig) -> npt.NDArray[np.bool_]:
    """Which characters top-k and top-p leave: bool [B, V] for logits [B, V] and a temperature above 0."""
    order = np.argsort(-logits, axis=1, kind="stable")
    if config.top_k:
        order = order[:, : config.top_k]
    rows = np.arange(len(logits))[:, None]
    kept: npt.NDArray[np.bool_] | bool = True
    if config.top_p < 1:
        kept = _mass_before(logits[rows, order], config.temperature) < config.top_p
    mask = np.zeros(logits.shape, bool)
    mask[rows, order] = kept
    return mask


def _mass_before(logits: Logits, temperature: float) -> npt.NDArray[np.float64]:
    """The probability of all that stands left of each character: [B, K] for logits [B, K] that fall along the row."""
    with np.errstate(over="ignore"):  # a difference / a tiny temperature may be -inf, whose exp is the right 0
        weights = np.exp((logits - logits[:, :1]).astype(np.float64) / temperature)
    cumulative = np.cumsum(weights, axis=1)
    before: npt.NDArray[np.float64] = (cumulative - weights) / cumulative[:, -1:]
    return before


def fresh_seed() -> int:
    """A seed that nobody has used, short enough to type."""
    return secrets.randbits(32)
