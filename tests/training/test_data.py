from pathlib import Path

import pytest

from charrnn.config import BatchConfig
from charrnn.text.batches import Split
from charrnn.text.prepare import prepare
from charrnn.text.settings import TextConfig
from charrnn.training.data import RunText


@pytest.fixture
def text(tmp_path: Path) -> RunText:
    """Each character its own id, so that a batch shows where it came from."""
    characters = "".join(map(chr, range(0x4E00, 0x4E00 + 400)))
    (tmp_path / "text").write_text(characters, encoding="utf-8")
    prepared = prepare(TextConfig(corpus=(str(tmp_path / "text"),)), cache_dir=tmp_path / "cache", progress=False)
    return RunText(prepared, Split("train", 0, 400), Split("validation", 400, 400), Split("test", 400, 400))


@pytest.mark.parametrize(
    ("behaviour", "starts"),
    [(1, [120, 288, 84, 348, 376]), (2, [36, 288, 88, 48, 340])],
)
def test_a_run_keeps_the_order_of_the_version_that_it_began_with(
    text: RunText, behaviour: int, starts: list[int]
) -> None:
    batches = text.batches(BatchConfig(mode="windows", size=5, length=9, stride=4), 3, behaviour)
    assert batches.batch(1, 2, slice(None))[:, 0].tolist() == starts
