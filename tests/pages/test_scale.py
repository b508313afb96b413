"""A scale's colours can be read, and told apart; its legend says what they mean."""

import math

import numpy as np
import pytest

from charrnn.pages.scale import ACTIVITY, INK, SURPRISE, Scale


def luminance(colour: str) -> float:
    """WCAG's."""
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


def test_surprise_is_in_whole_bits() -> None:
    values = (None, -0.0, 0.99, 1.0, 7.9, 8.0, 1e30, math.inf)
    assert [SURPRISE.index(bits) for bits in values] == [0, 0, 0, 1, 7, 8, 8, 8]
    assert SURPRISE.told(1.5) == "1.50 bits, probability 0.35"
    assert SURPRISE.told(math.inf) == "inf bits, probability 0"


def test_activity_is_to_the_nearest_quarter() -> None:
    values = (-9.0, -1.0, -0.88, -0.87, -0.13, -0.12, None, 0.0, 0.12, 0.13, 0.62, 0.63, 1.0, 9.0)
    assert [ACTIVITY.index(value) for value in values] == [0, 0, 0, 1, 3, 4, 4, 4, 4, 5, 6, 7, 8, 8]
    assert [ACTIVITY.told(value) for value in (-1.0, 0.126)] == ["-1.00", "+0.13"]


@pytest.mark.parametrize("scale", [SURPRISE, ACTIVITY], ids=lambda scale: scale.name)
def test_the_legend_names_every_range(scale: Scale) -> None:
    assert len(scale.labels) == len(scale.colours) == len(set(scale.labels)) == len(set(scale.colours))


@pytest.mark.parametrize(("scale", "least"), [(SURPRISE, 5.8), (ACTIVITY, 6.3)], ids=["surprise", "activity"])
def test_ink_is_readable_on_every_colour(scale: Scale, least: float) -> None:
    """4.5 is asked for."""
    assert min(contrast(colour, INK) for colour in scale.colours) == pytest.approx(least, abs=0.05)


def test_each_colour_is_darker_than_the_one_nearer_to_zero() -> None:
    """For who sees no hues: of activity they tell how far from 0 it is."""
    light = [luminance(colour) for colour in SURPRISE.colours]
    assert light == sorted(light, reverse=True)
    light = [luminance(colour) for colour in ACTIVITY.colours]
    assert light == [*sorted(light[:5]), *sorted(light[5:], reverse=True)]
    assert light[4] == pytest.approx(1)


def test_the_two_ends_of_activity_differ_in_what_every_eye_sees() -> None:
    """Red and green are one to the common kinds of colour blindness; blue against yellow is left to them."""
    for colour in ACTIVITY.colours:
        red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        yellow = (red + green) / 2
        side = ACTIVITY.colours.index(colour) - 4
        assert np.sign(yellow - blue) == np.sign(side)
        assert abs(yellow - blue) >= 15 * abs(side)
