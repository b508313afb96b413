"""loss.png is a picture, whatever there is to draw."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from charrnn.runs.plot import LossPlot

ORANGE, BLUE = (255, 127, 14), (31, 119, 180)


def records(losses: list[float], name: str = "train") -> list[dict[str, Any]]:
    return [
        {"step": step, "characters_seen": 400 * step, f"{name}_loss_nats": loss} for step, loss in enumerate(losses, 1)
    ]


def plot_loss(records: list[dict[str, Any]], path: Path, *, title: str) -> None:
    LossPlot.of(records, title=title).draw(path)


def drawn(path: Path) -> np.ndarray:
    """The pixels [height, width, 3] of the picture."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def shows(pixels: np.ndarray, colour: tuple[int, int, int], near: int = 60) -> bool:
    """Whether some pixels have nearly this colour: lines are thin, and blend with the white behind them."""
    return bool((np.abs(pixels.astype(int) - colour).sum(-1) < near).sum() > 5)


def test_both_curves_are_in_the_picture(tmp_path: Path) -> None:
    path = tmp_path / "loss.png"
    plot_loss(records([2.0, 1.5, 1.3]), path, title="train only")
    assert drawn(path).shape == (540, 960, 3)
    assert not shows(drawn(path), ORANGE)
    both = [*records([2.0, 1.5, 1.3]), *records([2.1, 1.4], "validation"), *records([1.4], "test")]
    plot_loss(both, path, title="both")
    assert shows(drawn(path), ORANGE)
    assert [entry.name for entry in tmp_path.iterdir()] == ["loss.png"]


def test_a_notebook_shows_the_bytes_that_are_written(tmp_path: Path) -> None:
    """The title has letters that the font lacks: of that nobody is warned."""
    case = [*records([2.0, 1.5, 1.3]), *records([2.1, 1.4], "validation")]
    for name in ("first.png", "second.png"):
        plot_loss(case, tmp_path / name, title="戦争")
    picture = (tmp_path / "first.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert picture == (tmp_path / "second.png").read_bytes()
    figure = LossPlot.of(case, title="戦争").figure()
    assert figure._repr_png_() == figure._repr_png_() == picture, "as IPython asks for it"


@pytest.mark.parametrize(
    "case",
    [
        [],
        [{"step": 1, "characters_seen": 400, "sample": "text"}],
        records([2.0]),
        records([0.0, 0.0]),
        records([3.0, 1.0, 1e-9]),
        records([3.0, 0.0]),
        records([1e30, 2.0, 1.0]),
        [{"step": 0, "characters_seen": 0, "train_loss_nats": 1.0}],
    ],
    ids=["nothing", "a sample", "one point", "zeros", "by heart", "to zero", "a peak", "at the beginning"],
)
def test_there_is_always_a_picture(tmp_path: Path, case: list[dict[str, Any]]) -> None:
    plot_loss(case, tmp_path / "loss.png", title="case")
    assert len(np.unique(drawn(tmp_path / "loss.png"))) > 2


@pytest.mark.parametrize(
    "title",
    ["", "$", r"a$\frac$b", "under_score^{", "<&>", "戦争と平和", "שלום", "नमस्ते", "caf\udce9\x1b[31m", "long " * 50],
)
def test_any_name_of_a_directory_can_be_the_title(tmp_path: Path, title: str) -> None:
    plot_loss(records([2.0, 1.0]), tmp_path / "loss.png", title=title)
    assert drawn(tmp_path / "loss.png").size
