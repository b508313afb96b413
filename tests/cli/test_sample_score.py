"""charrnn-sample --score and its heatmaps: figures on standard output, a page or a picture in a file."""

import html.parser
import json
import math
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from charrnn import OnnxModel
from charrnn.cli.common import EXIT_USER_ERROR
from charrnn.cli.sample import main
from charrnn.pages.coloured_text import COLOURS
from charrnn.pages.scale import SURPRISE
from charrnn.runtime.scoring import score
from charrnn.scores import score_blocks
from tests.cli.test_sample import COMMAND, drain, only_line, run
from tests.runtime.handmade import HandMade

TEXT = "abc de!\nfgh " * 40 + "k"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return HandMade().save(tmp_path / "model.onnx")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "text.txt"
    file.write_text(TEXT)
    return file


# The figures


def test_the_table(path: Path, text: Path) -> None:
    expected = score(OnnxModel.load(path), TEXT)
    result = run(path, "--score", text)
    assert result.stderr == b""
    assert result.stdout.decode() == (
        "characters  480\n"
        f"loss        {expected.loss_nats:.5f} nats\n"
        f"bpc         {expected.bpc:.5f}\n"
        f"perplexity  {expected.perplexity:.5g}\n"
        f"accuracy    {expected.accuracy:.2%}\n"
    )


def test_json_and_standard_input(path: Path, text: Path) -> None:
    result = run(path, "--score", "-", "--json", "--verbose", input=text.read_bytes())
    record, expected = json.loads(result.stdout), score(OnnxModel.load(path), TEXT)
    assert record.pop("characters_per_second") > 0
    assert record == {
        "text": "-",
        "characters": 480,
        "loss_nats": expected.loss_nats,
        "bpc": expected.bpc,
        "perplexity": expected.perplexity,
        "accuracy": expected.accuracy,
    }
    assert re.search(rb"480 characters in [\d.]+ s: [\d,]+ a second\n$", result.stderr)


def test_json_has_no_infinity(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A model that is sure, and wrong: exp(loss) is beyond float64."""
    hand_made = HandMade()
    proto = hand_made.proto()
    for tensor in proto.graph.initializer:
        if tensor.name == "b_o":
            bias = np.zeros(hand_made.V, np.float32)
            bias[0] = 1e6
            tensor.raw_data = bias.tobytes()
    path = tmp_path / "sure.onnx"
    path.write_bytes(proto.SerializeToString())
    (tmp_path / "text.txt").write_text("abc")
    assert main([str(path), "--score", str(tmp_path / "text.txt"), "--json"]) == 0
    record = json.loads(capfd.readouterr().out, parse_constant=pytest.fail)
    assert record["loss_nats"] == pytest.approx(1e6, rel=1e-4)
    assert record["perplexity"] is None


def test_unknown_characters_are_refused_or_skipped(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "accents.txt"
    file.write_text("abzcédé")
    result = run(path, "--score", file)
    assert result.returncode == EXIT_USER_ERROR
    message = only_line(result.stderr).decode()
    assert f"text {file}: the vocabulary lacks 'z' (U+007A), 'é' (U+00E9), first at position 2" in message
    assert message.endswith("(--skip-unknown)\n")
    result = run(path, "--score", file, "--skip-unknown", "--json")
    assert json.loads(result.stdout)["loss_nats"] == score(OnnxModel.load(path), "abcd").loss_nats
    assert result.stderr.decode() == (
        f"charrnn-sample: left out of text {file}: 3 characters that the model has never seen\n"
    )


def test_the_position_of_an_unknown_character_counts_from_the_beginning_of_the_text(path: Path, tmp_path: Path) -> None:
    """And not from that of the piece that was being read."""
    file = tmp_path / "long.txt"
    file.write_text("ab" * 100_000 + "é")
    assert "first at position 200000" in only_line(run(path, "--score", file).stderr).decode()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "fewer than two characters"),
        (b"a", "fewer than two characters"),
        (b"abc\xff", "byte 0xFF at offset 3 is not utf-8 (invalid start byte)"),
        (b"abc" * 50_000 + "é".encode()[:1], "byte 0xC3 at offset 150000 is not utf-8"),
    ],
)
def test_texts_that_cannot_be_scored(path: Path, content: bytes, named: str) -> None:
    result = run(path, "--score", "-", input=content)
    assert result.returncode == EXIT_USER_ERROR
    assert named in only_line(result.stderr).decode()
    assert result.stdout == b""


def test_a_long_text_takes_no_more_memory_than_a_short_one(path: Path) -> None:
    """20 MB through a pipe: what is read is neither kept nor decoded at once."""
    script = (
        "import re, sys\n"
        "from charrnn.cli.sample import main\n"
        "status = main(sys.argv[1:])\n"
        "print(re.search('VmHWM:([^k]+)', open('/proc/self/status').read())[1], file=sys.stderr)\n"
        "sys.exit(status)\n"
    )

    def peak_kib(copies: int) -> int:
        command = [sys.executable, "-c", script, str(path), "--score", "-"]
        result = subprocess.run(command, input=b"abc de!\nfgh " * copies, capture_output=True, check=True)
        return int(result.stderr)

    assert peak_kib(2_000_000 // 12 * 2) - peak_kib(1_000_000 // 12) < 8000  # blocks are 0.5 million characters


def test_progress_shows_in_a_terminal_and_is_gone_before_an_error(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "long.txt"
    file.write_text("ab" * 300_000 + "é")
    terminal, its_end = pty.openpty()
    command = [*COMMAND, str(path), "--score", str(file)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=its_end) as process:
        os.close(its_end)
        seen = drain(terminal).decode()
        assert process.wait(timeout=60) == EXIT_USER_ERROR
    os.close(terminal)
    (progress, error) = re.fullmatch(r"\r(0\.5 million [^\r]*)\r +\r(.*)", seen, re.DOTALL).groups()
    assert re.fullmatch(r"0\.5 million characters, \d\.\d{3} bpc so far", progress)
    assert seen.count(" " * len(progress)) == 1, "it is gone"
    assert error.startswith("charrnn-sample: error: ")
    assert "first at position 600000" in error


# The heatmap as a page


class Page(html.parser.HTMLParser):
    """The tags of a page and, of those in the text, class, title and content."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.characters: list[tuple[str, str, str]] = []
        self.in_text = False
        self.plain = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}
        given = dict(attributes)
        self.in_text |= given.get("class") == "text"
        if self.in_text and tag == "b":
            self.characters.append((given["class"] or "", given["title"] or "", ""))

    def handle_data(self, data: str) -> None:
        if self.in_text:
            self.plain += data
            if self.characters:
                css, title, content = self.characters[-1]
                self.characters[-1] = css, title, content + data


def page_of(model: Path, content: str, tmp_path: Path, *flags: str) -> Page:
    file, out = tmp_path / "scored.txt", tmp_path / "made" / "heat.html"
    file.write_bytes(content.encode())
    assert main([str(model), "--score", str(file), "--heatmap", str(out), "--quiet", *flags]) == 0
    return Page(out.read_text())


def test_every_character_is_coloured_by_its_surprise(path: Path, tmp_path: Path) -> None:
    page = page_of(path, TEXT, tmp_path)
    model = OnnxModel.load(path)
    (block,) = score_blocks(model, [model.vocabulary.encode(TEXT)])
    assert len(page.characters) == len(TEXT) - 1, "nothing predicts the first"
    for character, nats, guess, (css, title, content) in zip(
        TEXT[1:], block.nats, block.guesses, page.characters, strict=True
    ):
        bits = nats / math.log(2)
        assert css == f"c{min(int(bits), 8)}"
        assert title.startswith(f"{bits:.2f} bits, probability ")
        expected = model.vocabulary.characters[guess].replace("\n", "⏎")
        assert title.endswith(f"; expected {expected!r}")
        assert content[0] == character.replace("\n", "⏎")
    assert page.plain.startswith(TEXT.replace("\n", "⏎\n"))


def test_a_page_has_nothing_that_a_browser_would_obey(tmp_path: Path) -> None:
    hostile = "<script>alert('&amp;')</script>\"\u202e\x07\r"
    characters = "".join(sorted(set(hostile + "\n ab")))
    path = HandMade(characters=characters).save(tmp_path / "<b onload=x>&.onnx")
    page = page_of(path, hostile * 20, tmp_path)
    assert page.tags == {
        "html", "head", "meta", "title", "style", "body", "h1", "p", "div", "span", "b", "i",
    }  # fmt: skip
    assert page.attributes <= {"lang", "charset", "http-equiv", "content", "name", "class", "title"}
    shown = hostile.replace("\u202e", "‹202E›").replace("\x07", "‹0007›").replace("\r", "‹000D›")
    assert page.plain.startswith(shown * 20)


def test_a_page_of_a_long_text_shows_its_beginning(
    path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    page = page_of(path, "ab" * 75_000, tmp_path)
    assert len(page.characters) == 100_000 - 1
    assert main([str(path), "--score", str(tmp_path / "scored.txt"), "--heatmap", str(tmp_path / "a.html")]) == 0
    assert "(its first 100,000 characters)" in capfd.readouterr().err
    assert "The first 100,000 characters." in (tmp_path / "a.html").read_text()


# The heatmap as a picture


def picture_of(model: Path, content: str, tmp_path: Path) -> np.ndarray:
    file, out = tmp_path / "scored.txt", tmp_path / "heat.png"
    file.write_bytes(content.encode())
    assert main([str(model), "--score", str(file), "--heatmap", str(out), "--quiet"]) == 0
    pixels: np.ndarray = imread(out)
    return pixels


def test_a_picture_has_the_colours_of_the_surprises(path: Path, tmp_path: Path) -> None:
    pixels = picture_of(path, TEXT, tmp_path)
    model = OnnxModel.load(path)
    (block,) = score_blocks(model, [model.vocabulary.encode(TEXT)])
    expected = {SURPRISE.index(float(nats) / math.log(2)) for nats in block.nats}
    legend_rows = 150  # the head of the picture, which shows all of them
    text = (pixels[legend_rows:, :, :3] * 255).round().astype(int)
    for n, colour in enumerate(COLOURS[1:], start=1):
        found = (text == [int(colour[i : i + 2], 16) for i in (1, 3, 5)]).all(axis=-1).any()
        assert found == (n in expected), f"{n} bits"
    assert (text.max(axis=-1) < 60).any(), "and characters in ink"


def test_a_picture_of_any_characters_and_of_a_long_text(tmp_path: Path) -> None:
    """Controls, what the font lacks, blank ones, a dollar; no more than 160 lines are drawn."""
    strange = "".join(sorted("\n\t\x07\u00a0\u2800\u3000漢😀$́_^ab"))
    path = HandMade(characters=strange).save(tmp_path / "strange.onnx")
    height, width, _ = picture_of(path, strange * 300, tmp_path).shape
    assert width == 1274
    assert height == pytest.approx((160 * 0.19 + 1.55) * 130, abs=2)
    assert picture_of(path, "\n\n", tmp_path).shape[0] < 300


def test_a_title_of_what_its_font_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing glyph would be a warning on standard error, which is an error here. 𝙰 is in the text's font alone."""
    monkeypatch.chdir(tmp_path)
    path = HandMade(characters="\n ab漢").save(Path("漢字𝙰😀\x1b.onnx"))
    assert picture_of(path, "ab漢\n", Path()).shape[0] > 100


def test_a_picture_without_matplotlib_is_refused_before_the_text_is_read(path: Path) -> None:
    script = "import sys\nsys.modules['matplotlib'] = None\nfrom charrnn.cli.sample import main\nsys.exit(main())"
    command = [COMMAND[0], "-c", script, str(path), "--score", "missing.txt", "--heatmap", "a.png"]
    result = subprocess.run(command, capture_output=True, check=False)
    assert result.returncode == EXIT_USER_ERROR
    assert b"a .png heatmap needs matplotlib: pip install matplotlib, or name" in only_line(result.stderr)


def test_a_heatmap_that_cannot_be_written(path: Path, text: Path, tmp_path: Path) -> None:
    (tmp_path / "heat.html").mkdir()
    result = run(path, "--score", text, "--heatmap", tmp_path / "heat.html")
    assert result.returncode == EXIT_USER_ERROR
    assert b"heat.html: cannot be written (Is a directory)" in only_line(result.stderr)
    assert result.stdout.startswith(b"characters  480\n"), "the figures are there all the same"
