"""Settings of a text that cannot work say which one it is, its value and what it must be."""

import re

import pytest

from charrnn.errors import ConfigError
from charrnn.text.settings import TextConfig

FRACTION = "it must be at least 0 and below 1"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("validation_fraction", -0.1, f"text.validation_fraction is -0.1: {FRACTION}"),
        ("validation_fraction", float("nan"), f"text.validation_fraction is nan: {FRACTION}"),
        ("test_fraction", 1.0, f"text.test_fraction is 1.0: {FRACTION}"),
        (
            "test_fraction",
            0.95,
            "text.validation_fraction and text.test_fraction leave nothing to train on: lower them",
        ),
        ("min_count", -1, "text.min_count is -1: it must be at least 0"),
    ],
)
def test_a_value_that_cannot_work_is_named(name: str, value: float, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        TextConfig(**{name: value})


def test_the_edges_of_what_is_allowed() -> None:
    TextConfig(validation_fraction=0, test_fraction=0, min_count=0)
