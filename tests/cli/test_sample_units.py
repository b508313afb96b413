"""charrnn-sample --score FILE --units: a model with a unit that is known to follow quotations, from file to picture."""

import json
import os
import pty
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

import charrnn
import charrnn.writing.score_report as score_report
import charrnn.writing.units_report as units_report
from charrnn.cli.common import EXIT_USER_ERROR
from charrnn.cli.sample import main
from charrnn.pages.html import HtmlPage
from charrnn.pages.scale import ACTIVITY
from charrnn.runtime.tracing import trace_ids
from charrnn.units import PROPERTIES
from tests.cli.test_sample import COMMAND, drain, only_line, run
from tests.cli.test_sample_score import Page, page_of
from tests.runtime.handmade import HandMade

LATCH = 3
CHARACTERS = "\n #AB[]abcd“”"
TEXT = "ab “cd [a] AB b” dc\n “a\nb” [cd] # ab\n" * 20


@dataclass(frozen=True, kw_only=True)
class Latched(HandMade):
    """Unit LATCH of layer 0 goes up at an opening quotation mark, down at a closing one, and stays where it is."""

    characters: str = CHARACTERS

    @property
    def weights(self) -> dict[str, np.ndarray]:
        weights = super().weights
        weights["W_h0"][LATCH], weights["W_h0"][:, LATCH] = 0, 0
        weights["W_h0"][LATCH, LATCH] = 10
        weights["table"][:, LATCH] = [{"“": 30, "”": -30}.get(each, -1) for each in self.characters]
        return weights


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return Latched(L=2).save(tmp_path / "model.onnx")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "text.txt"
    file.write_text(TEXT)
    return file


def of_numpy(path: Path, text: str, name: str) -> tuple[str, float]:
    """The unit that property `name` explains best, and r, from the trace of the whole text."""
    trace = charrnn.load(path).trace(text)["state"].astype(np.float64)
    r = np.array(
        [[np.corrcoef(PROPERTIES[name](text), unit)[0, 1] for unit in layer.T] for layer in trace.swapaxes(0, 1)]
    )
    layer, number = np.unravel_index(np.abs(r).argmax(), r.shape)
    return f"{layer}:{number}", r[layer, number]


# The figures


def test_the_table(path: Path, text: Path) -> None:
    result = run(path, "--score", text, "--units")
    assert result.stderr == b""
    scores, table = result.stdout.decode().split("\n\n")
    assert scores + "\n" == run(path, "--score", text).stdout.decode()
    head, columns, *lines = table.splitlines()
    assert head == f"units in the {len(TEXT)} characters"
    assert columns == "unit      what explains it              r     r²  variance"
    assert re.fullmatch(r"0:3       in double quotes          \+1\.00   1\.00  0\.\d{3}", lines[0])
    known = [line for line in lines if "nothing known" not in line]
    r2 = [float(line.split()[-2]) for line in known]
    assert r2 == sorted(r2, reverse=True)
    assert len(lines) - len(known) <= 3
    assert max(map(len, [columns, *lines])) <= len(columns)


def test_json_has_numpy_s_figures(path: Path, text: Path) -> None:
    result = run(path, "--score", "-", "--units", "--json", input=text.read_bytes())
    units = json.loads(result.stdout)["units"]
    assert units["characters"] == len(TEXT)
    known = [each for each in units["found"] if each["property"]]
    assert {each["property"] for each in known} <= PROPERTIES.keys()
    assert {"in double quotes", "in a word of capitals", "white space"} <= {each["property"] for each in known}
    for each in known:
        unit, r = of_numpy(path, TEXT, each["property"])
        assert (each["unit"], each["r"]) == (unit, pytest.approx(r, abs=1e-5))
        assert each["r2"] == each["r"] ** 2 >= 0.1
    for each in units["found"][len(known) :]:
        assert (each["property"], each["r"], each["r2"]) == (None, None, None)


def test_one_unit_with_every_property(path: Path, text: Path) -> None:
    found = json.loads(run(path, "--score", text, "--unit", "0:3", "--json").stdout)["units"]["found"]
    assert {each["unit"] for each in found} == {"0:3"}
    assert found[0]["property"] == "in double quotes"
    assert [each["r2"] for each in found] == sorted((each["r2"] for each in found), reverse=True)
    in_text = {name for name, of in PROPERTIES.items() if len(set(of(TEXT))) > 1}
    assert {each["property"] for each in found} == in_text
    assert "in single quotes" not in in_text


def test_several_units_in_the_order_that_they_are_named(path: Path, tmp_path: Path) -> None:
    page = page_of(path, TEXT, tmp_path, "--unit", "1:6,0:3", "--json")
    content = (tmp_path / "made" / "heat.html").read_text()
    assert re.findall("<h2>unit ([^ ]+) · ", content) == ["1:6", "0:3"]
    trace = charrnn.load(path).trace(TEXT)["state"]
    expected = [f"{each:+.2f}" for layer, number in ((1, 6), (0, 3)) for each in trace[:, layer, number]]
    assert [title for _, title, _ in page.characters] == expected


def test_only_the_beginning_of_a_long_text_is_looked_at(
    path: Path, text: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(score_report, "MAX_CHARS", 300)
    flags = [str(path), "--score", str(text), "--heatmap", str(text.with_suffix(".html"))]
    assert main([*flags, "--unit", "0:3"]) == 0
    out, err = capfd.readouterr()
    assert "\nunits in the first 300 characters\n" in out
    assert err.endswith("text.html: the text coloured by the activity of a unit (its first 300 characters)\n")
    assert f"{len(TEXT)} characters · units in its first 300" in text.with_suffix(".html").read_text()
    assert main([*flags, "--units", "--verbose"]) == 0
    assert re.search(r"units of 300 characters in [\d.]+ s\n", capfd.readouterr().err)


def test_the_text_is_read_once_for_units_that_are_named(
    path: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A unit that is named twice takes no room from the others."""
    traces: list[int] = []
    monkeypatch.setattr(units_report, "trace_ids", lambda *model_and_ids: traces.append(1) or trace_ids(*model_and_ids))
    monkeypatch.setattr(HtmlPage, "max_chars", 2 * len(TEXT))
    flags = [str(path), "--score", str(text), "--heatmap", str(tmp_path / "a.html"), "--quiet"]
    assert main([*flags, "--unit", "0:3,1:6,0:3"]) == 0
    assert len(traces) == 1
    assert len(Page((tmp_path / "a.html").read_text()).characters) == 2 * len(TEXT)


@pytest.mark.parametrize("unit", ["2:0", "0:7", "x", "0:3,x", "1:1,2:0", "0:3,"])
def test_a_unit_that_is_none_is_refused_before_the_text_is_read(path: Path, unit: str) -> None:
    result = run(path, "--score", "missing.txt", "--unit", unit)
    assert result.returncode == EXIT_USER_ERROR
    wrong = unit.split(",")[-1]
    none, lacking = f"{wrong!r} is no LAYER:NUMBER", f"{wrong}: the model has 2 layers of 7: name one from 0:0 to 1:6"
    assert f"unit {lacking if ':' in wrong else none}" in only_line(result.stderr).decode()
    assert result.stdout == b""


def test_progress_shows_in_a_terminal_and_is_gone(path: Path, text: Path) -> None:
    terminal, its_end = pty.openpty()
    command = [*COMMAND, str(path), "--score", str(text), "--units"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=its_end) as process:
        os.close(its_end)
        seen = drain(terminal).decode()
        assert process.wait(timeout=60) == 0
    os.close(terminal)
    assert re.search(r"\runits: 100% looked at\r {21}\r$", seen)


# Odd texts and models


@pytest.mark.parametrize("content", ["ab", "aa\n", "“”", "\n\n\n", "[a" * 250])
def test_short_and_monotonous_texts(path: Path, tmp_path: Path, content: str) -> None:
    file = tmp_path / "odd.txt"
    file.write_text(content)
    for flag in (["--units"], ["--unit", "1:6"]):
        result = run(path, "--score", file, *flag, "--heatmap", tmp_path / "odd.html")
        assert result.returncode == 0
        assert "nan" not in result.stdout.decode()
        assert Page((tmp_path / "odd.html").read_text()).plain


@pytest.mark.parametrize("content", ["", "a"])
def test_texts_without_a_score(path: Path, content: str) -> None:
    result = run(path, "--score", "-", "--units", input=content.encode())
    assert result.returncode == EXIT_USER_ERROR
    assert "fewer than two characters" in only_line(result.stderr).decode()


def test_unknown_characters_are_left_out_of_what_units_see(path: Path, tmp_path: Path) -> None:
    """The properties are those of the text as the model reads it; control characters and NUL are characters."""
    file = tmp_path / "strange.txt"
    file.write_text(TEXT.replace("[", "\0é[\x1b"))
    assert "the vocabulary lacks '\\x00'" in only_line(run(path, "--score", file, "--units").stderr).decode()
    skipped = run(path, "--score", file, "--units", "--skip-unknown")
    (tmp_path / "plain.txt").write_text(TEXT)
    assert skipped.stdout == run(path, "--score", tmp_path / "plain.txt", "--units").stdout


def test_a_model_of_one_unit(tmp_path: Path, text: Path) -> None:
    path = HandMade(H=1, characters=CHARACTERS).save(tmp_path / "one.onnx")
    found = json.loads(run(path, "--score", text, "--units", "--json").stdout)["units"]["found"]
    assert {each["unit"] for each in found} == {"0:0"}
    assert "name one from 0:0 to 0:0" in only_line(run(path, "--score", text, "--unit", "0:1").stderr).decode()


def test_units_that_never_change(tmp_path: Path, text: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The figures are there; there is nothing to draw."""
    path, proto = tmp_path / "dead.onnx", HandMade(characters=CHARACTERS).proto()
    for tensor in proto.graph.initializer:
        if tensor.name == "table":
            tensor.raw_data = bytes(len(tensor.raw_data))
    path.write_bytes(proto.SerializeToString())
    assert main([str(path), "--score", str(text), "--units", "--heatmap", str(tmp_path / "a.html")]) == EXIT_USER_ERROR
    out, err = capfd.readouterr()
    assert out.endswith("variance\n")
    assert "no unit changes enough in this text to be drawn: name one" in only_line(err.encode()).decode()
    assert not (tmp_path / "a.html").exists()


# The picture


def test_a_page_by_one_unit(path: Path, tmp_path: Path) -> None:
    page = page_of(path, TEXT, tmp_path, "--unit", "0:3")
    states = charrnn.load(path).trace(TEXT)["state"][:, 0, LATCH]
    assert [css for css, _, _ in page.characters] == [f"c{ACTIVITY.index(float(each))}" for each in states]
    assert [title for _, title, _ in page.characters] == [f"{each:+.2f}" for each in states]
    inside = "".join(content[0] for css, _, content in page.characters if css == "c8")
    assert inside.startswith("“cd [a] AB b“a⏎b“cd")
    assert page.plain.startswith(TEXT.replace("\n", "⏎\n"))


def test_a_page_by_every_unit_found(path: Path, tmp_path: Path) -> None:
    page = page_of(path, TEXT, tmp_path, "--units")
    content = (tmp_path / "made" / "heat.html").read_text()
    found = json.loads(run(path, "--score", tmp_path / "scored.txt", "--units", "--json").stdout)["units"]["found"]
    headings = re.findall("<h2>unit ([^ ]+) · (.*)</h2>", content)
    assert [unit for unit, _ in headings] == list(dict.fromkeys(each["unit"] for each in found))
    assert headings[0][1].startswith("in double quotes, r +1.00")
    assert len(page.characters) == len(headings) * len(TEXT)
    layer, number = map(int, headings[1][0].split(":"))
    states = charrnn.load(path).trace(TEXT)["state"][:, layer, number]
    second = page.characters[len(TEXT) : 2 * len(TEXT)]
    assert [title for _, title, _ in second] == [f"{each:+.2f}" for each in states]


def test_a_picture_by_one_unit(path: Path, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "unit.png"
    assert main([str(path), "--score", str(text), "--unit", "0:3", "--heatmap", str(out), "--quiet"]) == 0
    body = (imread(out)[200:, :, :3] * 255).round().astype(int)
    shown = [
        (body == [int(colour[i : i + 2], 16) for i in (1, 3, 5)]).all(axis=-1).any() for colour in ACTIVITY.colours
    ]
    assert shown[0], "outside"
    assert shown[8], "inside"
    assert not any(shown[2:4] + shown[5:8]), "a latch has no other values, but at the text's beginning"
