"""The settings by which characters are chosen: their bounds, and the keyword arguments that spell them."""

import math
from dataclasses import fields

import pytest

from charrnn.errors import ConfigError
from charrnn.sampling_config import SamplingConfig, SamplingSettings


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"top_k": -1}, "top-k is -1"),
        ({"top_p": 0.0}, "top-p is 0.0"),
        ({"top_p": 1.01}, "top-p is 1.01"),
        ({"top_p": math.nan}, "top-p is nan"),
    ],
)
def test_a_setting_out_of_range(settings: dict[str, float], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        SamplingConfig(**settings)


def test_each_setting_is_a_keyword_argument() -> None:
    """What an editor offers for `generate` is what `SamplingConfig` takes."""
    assert SamplingSettings.__annotations__ == {field.name: field.type for field in fields(SamplingConfig)}
