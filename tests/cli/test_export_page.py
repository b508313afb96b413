"""charrnn-export --page: from a run, from a file without torch, or one line that says why not."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import charrnn
from charrnn import OnnxModel
from tests.cli.test_export import SCORED, Command, command, one_line, run
from tests.pages.models import node, settings
from tests.runtime.handmade import HandMade
from tests.test_imports import TRAINING_SIDE

__all__ = ["command", "run"]  # fixtures
GOLDEN = Path(__file__).parents[1] / "golden" / "python-stdlib.onnx"


def written(page: Path) -> str:
    """What a page writes."""
    way = settings(temperature=0.5)
    (text,) = node(page, {"command": "write", "prompt": "ab", "length": 40, "seed": "1", "settings": way})
    return str(text)


@pytest.mark.parametrize(("flags", "weights"), [([], "int8"), (["--float16"], "float16")])
def test_the_page_of_a_run(command: Command, run: Path, flags: list[str], weights: str) -> None:
    page, model = run.parent / "new" / "novel.html", run.parent / "same.onnx"
    status, stdout, _ = command(run, "--page", page, *flags)
    assert status == 0
    told = re.fullmatch(rf"{page}: (\d+) KB, {weights}, from step 60; ({SCORED.pattern})\n", stdout)
    assert told
    assert int(told[1]) == round(page.stat().st_size / 1e3)
    assert not list(run.glob("*.onnx")), "the model is in the page alone"
    assert "<title>run</title>" in page.read_text()
    command(run, "--output", model, *(flags or ["--quantize", "int8"]))
    assert written(page) == charrnn.generate(model, "ab", 40, seed=1, temperature=0.5)
    assert page.stat().st_size < 1.4 * model.stat().st_size + 60_000


def test_a_file_goes_into_a_page_without_torch(tmp_path: Path) -> None:
    model, page = HandMade().save(tmp_path / "model.onnx"), tmp_path / "novel.html"
    heavy = set(TRAINING_SIDE) - {"tyro"}
    code = (
        "import sys\n"
        "from charrnn.cli.export import main\n"
        f"sys.argv = ['charrnn-export', {str(model)!r}, '--page', {str(page)!r}]\n"
        "try:\n    main()\n"
        f"finally:\n    assert not {heavy} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    size = f"{page.stat().st_size / 1e3:.0f} KB"
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(rf"{page}: {size}, with the model of \d KB inside\n", done.stdout)
    first = page.read_bytes()
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, stdout=subprocess.DEVNULL)
    assert page.read_bytes() == first, "the same model makes the same page"


def test_the_font_is_that_of_what_the_model_writes(command: Command, run: Path) -> None:
    page = run.parent / "novel.html"
    for model, font in ((GOLDEN, "monospaced"), (run.parent / "made-by-training.onnx", "proportional")):
        command(model, "--page", page)
        assert f'<div id="work" class="{font}" hidden>' in page.read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--quantize", "int4"], "--quantize int4 uses an operator that the page lacks: leave it out (int8), or "),
        (["--output", "x.onnx"], "--page and --output exclude each other: choose one"),
        (["--checkpoint", "step-7"], "has no checkpoint 'step-7'"),
    ],
)
def test_mistakes_with_a_run(command: Command, run: Path, flags: list[str], message: str) -> None:
    assert message in one_line(command(run, "--page", run.parent / "novel.html", *flags))
    assert not (run.parent / "novel.html").exists()


def test_mistakes_with_a_file(command: Command, run: Path) -> None:
    page = run.parent / "novel.html"
    for flags in (["--checkpoint", "latest"], ["--float16"], ["--quantize", "int8"], ["--opset", "13"]):
        message = one_line(command(run.parent / "made-by-training.onnx", "--page", page, *flags))
        assert message.startswith(f"{flags[0]} is for a run, and ")
    command(run, "--quantize", "int4", "--output", run / "four.onnx")
    message = one_line(command(run / "four.onnx", "--page", page))
    assert "four.onnx: it uses the operator com.microsoft.MatMulNBits, which the page cannot run" in message
    (run / "no.onnx").write_bytes(os.urandom(100))
    assert "no.onnx: it is not an ONNX model, or a damaged one" in one_line(command(run / "no.onnx", "--page", page))
    good = run.parent / "made-by-training.onnx"
    assert "cannot be written" in one_line(command(good, "--page", "/dev/null/novel.html"))
    assert "File name too long" in one_line(command("a" * 300, "--page", page))
    assert not page.exists()
    OnnxModel.load(good)
