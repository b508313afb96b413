"""Which models write in columns: two that follow no more than the character before, and one of Python's library."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from charrnn.pages.layout import writes_columns
from charrnn.runtime import OnnxModel
from tests.runtime.handmade import HandMade

GOLDEN = Path(__file__).parents[1] / "golden"


@dataclass(frozen=True, kw_only=True)
class Lines(HandMade):
    """Lines of some letters, a third of them empty; of the others a `share` is indented."""

    share: float
    end: str
    white: str
    H: int = 3

    @property
    def weights(self) -> dict[str, np.ndarray]:
        after = {
            self.end: {self.end: 0.3, self.white: 0.7 * self.share, "a": 0.7 * (1 - self.share)},
            self.white: {self.white: 0.5, "a": 0.5},
            "a": {self.end: 0.2, "a": 0.8},
        }
        chances = np.array([[after[each].get(other, 1e-9) for other in self.characters] for each in self.characters])
        return {
            "table": 10 * np.eye(3, dtype=np.float32),
            "W_h0": np.zeros((3, 3), np.float32),
            "W_o": np.log(chances).astype(np.float32),
            "b_o": np.zeros(3, np.float32),
        }


@pytest.mark.parametrize(("end", "white"), [("\n", " "), ("\n", "\t"), ("\r", " ")])
@pytest.mark.parametrize("share", [0.15, 0.35])
def test_a_quarter_of_the_lines_is_indented(tmp_path: Path, end: str, white: str, share: float) -> None:
    """Of some 300 lines: the share that is written lies within 0.06 of that which was asked for."""
    made = Lines(share=share, end=end, white=white, characters="".join(sorted(end + white + "a")))
    assert writes_columns(OnnxModel.load(made.save(tmp_path / "model.onnx"))) == (share > 0.25)


def test_a_text_without_line_ends_has_no_columns(tmp_path: Path) -> None:
    assert not writes_columns(OnnxModel.load(HandMade(characters=" ").save(tmp_path / "model.onnx")))


def test_python_has() -> None:
    assert writes_columns(OnnxModel.load(GOLDEN / "python-stdlib.onnx"))
