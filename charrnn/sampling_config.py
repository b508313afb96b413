"""The settings by which characters are chosen: what each means, its default and its bounds.

The command line, `generate` and the sampler share them. To add one, give it a line in both classes here; what is left
is its effect (`runtime/sampling.py`, and `runtime/scan.py` for many characters a call) and its flag.
Standard library alone: `charrnn-sample` checks its flags before numpy is imported.
"""

import math
from dataclasses import dataclass
from typing import TypedDict

from charrnn.errors import ConfigError

__all__ = ["SamplingConfig", "SamplingSettings"]


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How characters are chosen. Temperature acts first, then top-k, then top-p on what top-k left.

    Raises ConfigError where a value is out of range.
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


class SamplingSettings(TypedDict, total=False):
    """The keyword arguments of `SamplingConfig`, as functions take them with `**settings: Unpack[SamplingSettings]`."""

    temperature: float
    top_k: int
    top_p: float
