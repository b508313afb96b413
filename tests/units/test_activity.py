import numpy as np
import pytest

from charrnn.errors import ConfigError
from charrnn.units import Unit, activity_of, kind_of


@pytest.mark.parametrize(("text", "unit"), [("0:0", (0, 0)), ("2:0511", (2, 511)), ("999999999:7", (999_999_999, 7))])
def test_a_unit_is_read(text: str, unit: tuple[int, int]) -> None:
    assert Unit.parse(text) == unit
    assert Unit.parse(str(Unit.parse(text))) == unit


@pytest.mark.parametrize(
    "text", ["", "x", "1", "1:", ":1", "-1:0", "0:1:2", " 0:1", "0:1\n", "٣:1", "0:²", "9" * 5000 + ":1"]
)
def test_what_is_no_unit_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"is no LAYER:NUMBER, both from 0: write it as in 0:217$"):
        Unit.parse(text)


@pytest.mark.parametrize(("text", "known"), [("0:6", True), ("1:6", True), ("2:0", False), ("0:7", False)])
def test_a_unit_that_the_model_lacks_is_refused(text: str, known: bool) -> None:
    if known:
        return Unit.parse(text).check(2, 7)
    with pytest.raises(ConfigError, match=rf"^unit {text}: the model has 2 layers of 7: name one from 0:0 to 1:6$"):
        Unit.parse(text).check(2, 7)
    return None


def test_of_an_lstm_the_cell_is_looked_at() -> None:
    state, cell = np.float32([[[0.5, -0.25]]]), np.float32([[[3.0, -100.0]]])
    assert kind_of({"state": state, "cell": cell}) == "cell"
    np.testing.assert_array_equal(activity_of({"state": state, "cell": cell}), np.tanh(cell))
    assert activity_of({"state": state}) is state
    assert activity_of({"memory": state, "other": cell}) is state, "a kind that charrnn does not have"
