"""The running sums are numpy's correlations, and a unit that follows a property is found."""

import numpy as np
import pytest

from charrnn.units import LEAST_R2, Correlations, Finding, Unit

L, H, T = 2, 5, 1000


def planted() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Noise [T, L, H]; unit 1:3 follows a rare property, 0:2 a count, upside down; 0:4 never changes.

    Unit 1:1 is the rare property itself, but too little to be seen.
    """
    rng = np.random.default_rng(8)
    activity = rng.uniform(-0.6, 0.6, (T, L, H)).astype(np.float32)
    rare = (rng.random(T) < 0.03).astype(np.float32)
    count = (np.arange(T) % 37).astype(np.float32)
    activity[:, 1, 3] = 0.5 * rare + 0.05 * activity[:, 1, 3]
    activity[:, 1, 1] = 0.1 * rare
    activity[:, 0, 2] = 0.5 - count / 40 + 0.2 * activity[:, 0, 2]
    activity[:, 0, 4] = 0.7
    activity[:, 1, 0] *= 1.5
    values = {"rare": rare, "count": count, "nothing": rng.integers(0, 2, T).astype(np.float32)}
    return activity, values


def correlations(cuts: list[int]) -> Correlations:
    activity, values = planted()
    sums = Correlations(L, H, values)
    for part in np.split(activity, cuts):
        sums.add(part)
    assert sums.chars == T
    return sums


@pytest.mark.parametrize("cuts", [[], [1], [64, 640, 999]])
def test_the_figures_are_numpy_s(cuts: list[int]) -> None:
    activity, values = planted()
    sums = correlations(cuts)
    for unit in (Unit(0, 0), Unit(0, 2), Unit(1, 3)):
        one = activity[:, unit.layer, unit.number].astype(np.float64)
        findings = sums.of_unit(unit)
        assert {each.name for each in findings} == values.keys()
        assert [each.r2 for each in findings] == sorted((each.r2 for each in findings), reverse=True)
        for each in findings:
            assert each.unit == unit
            # float64 throughout: sums of a thousand numbers of order 1.
            assert each.r == pytest.approx(np.corrcoef(one, values[each.name])[0, 1], abs=1e-9)
            assert each.r2 == each.r**2
            assert each.variance == pytest.approx(one.var(), rel=1e-9)


def test_planted_units_are_found() -> None:
    rare, count = correlations([300]).best_of_each()
    assert (count.unit, count.name) == (Unit(0, 2), "count")
    assert count.r < -0.9
    assert (rare.unit, rare.name) == (Unit(1, 3), "rare")
    assert 0.9 < rare.r < 1


def test_a_unit_that_hardly_changes_has_its_figures_but_is_not_worth_a_look() -> None:
    sums = correlations([])
    (best, *_) = sums.of_unit(Unit(1, 1))
    assert (best.name, best.r) == ("rare", pytest.approx(1))
    assert Unit(1, 1) not in {each.unit for each in sums.best_of_each() + sums.unexplained(20)}


def test_what_nothing_explains_comes_by_its_variance() -> None:
    """Neither what is explained, nor what never changes."""
    found = correlations([]).unexplained(20)
    assert found[0].unit == Unit(1, 0)
    assert len(found) == L * H - 4
    assert not {each.unit for each in found} & {(1, 3), (1, 1), (0, 2), (0, 4)}
    assert [each.variance for each in found] == sorted((each.variance for each in found), reverse=True)
    assert all(each.name is None for each in found)
    assert correlations([]).unexplained(2) == found[:2]


def test_a_unit_that_never_changes_has_no_correlation() -> None:
    assert [each.r for each in correlations([]).of_unit(Unit(0, 4))] == [0, 0, 0]


def test_the_threshold() -> None:
    """r² just below and just above it: a unit that is the property on some of four characters."""
    values = {"half": np.float32([0, 1] * 500)}
    for slope, found in ((0.9, 0), (1.1, 1)):
        noise = np.float32([1, 1, -1, -1] * 250) / 2
        part = slope * np.sqrt(LEAST_R2 / (1 - LEAST_R2))
        sums = Correlations(1, 1, values)
        sums.add(((values["half"] - 0.5) * part + noise).reshape(T, 1, 1) / 4)
        assert len(sums.best_of_each()) == found
        assert len(sums.unexplained(3)) == 1 - found


def test_without_properties_and_without_text() -> None:
    sums = Correlations(L, H, {})
    sums.add(planted()[0])
    assert sums.best_of_each() == []
    assert sums.of_unit(Unit(1, 0)) == sums.unexplained(1)
    assert [each.unit for each in sums.unexplained(1)] == [Unit(1, 0)]
    empty = Correlations(1, 3, {})
    assert empty.best_of_each() == empty.unexplained(3) == []
    assert empty.of_unit(Unit(0, 0)) == [Finding(Unit(0, 0), 0.0)]
