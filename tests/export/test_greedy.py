"""export/greedy.py, which knows the contract alone, writes what charrnn-sample writes."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.runtime.handmade import HandMade, two_states

GREEDY = Path(__file__).parents[2] / "export" / "greedy.py"


def output(*command: str | Path) -> str:
    return subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, encoding="utf-8", check=True
    ).stdout


@pytest.mark.parametrize(("L", "seed"), [(1, 2), (2, 9)])
def test_it_writes_the_same_text(tmp_path: Path, L: int, seed: int) -> None:
    reference = HandMade(L=L, seed=seed)
    path = reference.save(tmp_path / "model.onnx")
    text = output(GREEDY, path, "abc", "300")
    assert text == reference.greedy("abc", 300) + "\n"
    assert text == output("-m", "charrnn.cli.sample", path, "--prompt", "abc", "--length", "300", "--temperature", "0")


def test_it_carries_every_kind_of_state(tmp_path: Path) -> None:
    path = tmp_path / "two.onnx"
    path.write_bytes(two_states(14, 7, HandMade().metadata()).SerializeToString())
    text = output(GREEDY, path, "abc", "50")
    assert text == output("-m", "charrnn.cli.sample", path, "--prompt", "abc", "--length", "50", "--temperature", "0")


def test_it_needs_nothing_of_charrnn() -> None:
    imports = {line.split()[1] for line in GREEDY.read_text().splitlines() if line.startswith(("import", "from"))}
    assert imports == {"json", "sys", "numpy", "onnxruntime"}
