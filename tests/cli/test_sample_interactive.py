"""charrnn-sample --interactive: what it suggests, what keys do, and the real command in a real terminal."""

import contextlib
import itertools
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from fcntl import ioctl
from pathlib import Path

import numpy as np
import pytest

from charrnn import OnnxModel
from charrnn.autocomplete.completion import KEPT_STATES, Completion, EditedText
from charrnn.autocomplete.editor import Editor, screen
from charrnn.cli.common import EXIT_USER_ERROR
from charrnn.console import EXIT_INTERRUPTED
from tests.cli.test_sample import COMMAND, only_line, run
from tests.runtime.handmade import HandMade

TIMEOUT_SECONDS = 30
# "s" ends no word here, and " " and "!" do: all are in the vocabulary, and "z" is not.
CHARACTERS = "\n !abcdes"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return HandMade(characters=CHARACTERS).save(tmp_path / "model.onnx")


@pytest.fixture
def model(path: Path) -> OnnxModel:
    return OnnxModel.load(path)


def ids_of(model: OnnxModel, text: str) -> np.ndarray:
    return model.vocabulary.encode(text).astype(np.int64)


# What it suggests


def log_probabilities(model: OnnxModel, text: str) -> np.ndarray:
    """[V] of the character after `text`, read from its beginning."""
    state = model.initial_state(1)
    for character_id in ids_of(model, text or "\n"):
        logits, state = model.step(np.array([character_id]), state)
    return logits[0] - np.log(np.exp(logits[0].astype(np.float64)).sum())


def beginning(model: OnnxModel, text: str, continuation: str) -> float:
    """P(continuation | text), a character at a time, whatever comes then."""
    ids = ids_of(model, continuation)
    return float(np.exp(sum(log_probabilities(model, text + continuation[:i])[c] for i, c in enumerate(ids))))


def word(model: OnnxModel, text: str, continuation: str) -> float:
    """P(continuation, and that its word ends there | text)."""
    after = np.exp(log_probabilities(model, text + continuation))
    ends = [not character.isalnum() for character in model.vocabulary.characters]
    return beginning(model, text, continuation) * float(after[ends].sum())


@pytest.mark.parametrize("text", ["", "a", "bed a", "cab!\n"])
def test_the_probability_is_that_of_the_characters_and_the_words_end(model: OnnxModel, text: str) -> None:
    suggestions = Completion(model).suggest(EditedText(model).read(ids_of(model, text)))
    assert len(suggestions) == 5
    assert len({each.text for each in suggestions}) == 5
    probabilities = [each.probability for each in suggestions]
    assert probabilities == sorted(probabilities, reverse=True)
    for each in suggestions:
        assert re.fullmatch(r"[^a-z]*[a-z]+", each.text)
        assert each.probability == pytest.approx(word(model, text, each.text), rel=1e-5)


def test_no_likelier_word_is_overlooked(model: OnnxModel) -> None:
    """Of all that have up to three characters."""
    found = {
        each.text: each.probability for each in Completion(model).suggest(EditedText(model).read(ids_of(model, "a")))
    }
    every = ("".join(each) for n in (1, 2, 3) for each in itertools.product(CHARACTERS, repeat=n))
    words = [each for each in every if re.fullmatch(r"[^a-z]*[a-z]+", each)]
    likely = {each for each in words if word(model, "a", each) > min(found.values()) * (1 + 1e-5)}
    assert len(words) == 6 + 6 * 9 + 6 * (6 * 9 + 9)
    assert len(likely) >= 3
    assert likely <= found.keys()


def test_a_model_without_a_words_end_suggests_what_it_can(tmp_path: Path) -> None:
    model = OnnxModel.load(HandMade(characters="abcd").save(tmp_path / "letters.onnx"))
    suggestions = Completion(model, longest=6).suggest(EditedText(model).read(ids_of(model, "ab")))
    assert [len(each.text) for each in suggestions] == [6] * 5
    assert suggestions[0].probability == pytest.approx(beginning(model, "ab", suggestions[0].text), rel=1e-5)


def test_editing_reads_only_what_is_new_and_stands_where_reading_afresh_would(model: OnnxModel) -> None:
    rng = np.random.default_rng(0)
    edited, text = EditedText(model), rng.integers(0, len(CHARACTERS), 3 * KEPT_STATES)
    # A long prompt, typing, going back a little, more than is kept, to nothing, and typing again.
    for length in (3 * KEPT_STATES, 40, KEPT_STATES + 7, KEPT_STATES + 8, KEPT_STATES, 3, 0, 1, 60, 59, 58):
        logits, state = edited.read(text[:length])
        expected_logits, expected_state = EditedText(model).read(text[:length])
        # The same steps, or a graph that reads many characters at once.
        np.testing.assert_allclose(logits, expected_logits, atol=1e-5)
        np.testing.assert_allclose(state[0], expected_state[0], atol=1e-5)
        if rng.random() < 0.5:
            text = np.concatenate([text[:length], rng.integers(0, len(CHARACTERS), 3 * KEPT_STATES)])


# What keys do


def editor_of(model: OnnxModel, *keys: str) -> Editor:
    editor = Editor(model)
    for key in keys:
        editor.press([key])
    return editor


def test_keys(model: OnnxModel) -> None:
    first, second = editor_of(model, "a").suggestions[:2]
    assert editor_of(model, "a", "b", "\n", "c").text == "ab\nc"
    assert editor_of(model, "a", "\r").text == "a\n"
    assert editor_of(model, "a", "\t").text == "a" + first.text
    assert editor_of(model, "a", "\x1b[B", "\t").text == "a" + second.text
    assert editor_of(model, "a", "\x1b[B", "\x1b[A", "\t").text == "a" + first.text
    assert editor_of(model, "a", "\x1b[C").text == "a" + first.text[0]
    assert editor_of(model, "a", "b", "\x7f").text == "a"
    assert editor_of(model, "\x7f", "\x1b[A", "\x1b[3~", "\x1bx", "\x00").text == ""
    assert editor_of(model, *"ab cd ", "\x17").text == "ab "
    assert editor_of(model, *"ab\ncd", "\x15").text == ""
    assert editor_of(model, "\x04").done
    at_once = Editor(model)
    at_once.press(["b", "a", "\t", "\x04", "c"])
    assert at_once.text == "ba" + editor_of(model, "b", "a").suggestions[0].text, "pasted, or typed faster than drawn"
    editor = Editor(model)
    editor.press([])
    assert editor.done, "the terminal is gone"


def test_a_choice_is_forgotten_when_the_text_changes(model: OnnxModel) -> None:
    assert editor_of(model, "a", "\x1b[B").chosen == 1
    assert editor_of(model, "a", "\x1b[B", "b").chosen == 0
    assert editor_of(model, "a", *["\x1b[B"] * 5).chosen == 0, "from the last to the first"
    assert editor_of(model, "a", "\x1b[A").chosen == 4


def test_characters_that_the_model_lacks_are_named_and_left_out(tmp_path: Path, model: OnnxModel) -> None:
    editor = Editor(model)
    editor.press(list("az\u00a0b"))
    assert editor.text == "ab"
    assert editor.message == r"not in this model's texts: 'z' '\xa0'"
    editor.press(["a"])
    assert editor.message == ""
    normaliser = [{"step": "lowercase"}, {"step": "keep", "characters": "abc "}]
    editor = Editor(OnnxModel.load(HandMade(normaliser=normaliser).save(tmp_path / "normalised.onnx")))
    editor.press(["B"])
    editor.press(["!"])
    assert (editor.text, editor.message) == ("b", "not in this model's texts: '!'")


def test_spaces_of_an_indentation_are_its_tab(tmp_path: Path) -> None:
    file = HandMade(characters="\t\n ab", normaliser=[{"step": "tabs"}]).save(tmp_path / "tabs.onnx")
    editor = Editor(OnnxModel.load(file))
    for key in "a\r    b":
        editor.press([key])
        assert editor.message == ""
    assert editor.text == "a\n\tb"


# What is drawn


def lines_of(editor: Editor, columns: int, rows: int) -> list[str]:
    drawn = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", screen(editor, columns, rows))
    return drawn.split("\r\n")


def test_the_screen(model: OnnxModel) -> None:
    editor = editor_of(model, *"ab cd")
    text, empty, *suggestions, message = lines_of(editor, 60, 24)
    best = editor.suggestions[0]
    shown = best.text.replace(" ", "·").replace("\n", "⏎")
    assert text == "ab cd" + shown
    assert empty == ""
    assert suggestions[0] == f"▸ {best.probability:6.1%}  {shown}"
    assert [line[0] for line in suggestions] == ["▸", *" " * 4]
    assert message.startswith("Tab takes it")
    assert screen(editor, 60, 24).endswith("\x1b[1;6H"), "the cursor stands after the text"


@pytest.mark.parametrize("rows", [1, 2, 3, 6, 24])
@pytest.mark.parametrize("columns", [1, 2, 7, 80])
def test_a_screen_of_any_size_is_not_overrun(model: OnnxModel, columns: int, rows: int) -> None:
    editor = editor_of(model, *"ab cd\n" * 20)
    lines = lines_of(editor, columns, rows)
    assert len(lines) <= rows
    assert max(map(len, lines)) <= max(2, columns)


# The command in a terminal


@dataclass
class Session:
    """The command in a pseudo-terminal of 60 x 12, its standard output in a pipe."""

    process: subprocess.Popen[bytes]
    terminal: int
    its_end: int
    modes_before: list[object]
    seen: str = field(default="")

    def press(self, keys: str) -> None:
        os.write(self.terminal, keys.encode())

    def wait_for(self, expected: str) -> None:
        """Read what is drawn until `expected` has been since the last call, colours left out. Bounded in time."""
        begin = time.monotonic()
        while expected not in self.seen:
            assert time.monotonic() - begin < TIMEOUT_SECONDS, self.seen
            if select.select([self.terminal], [], [], 0.1)[0]:
                drawn = os.read(self.terminal, 4096).decode(errors="replace")
                self.seen += re.sub(r"\x1b\[(?:[0-9;]*m|K)|\r(?=\r)", "", drawn)
        self.seen = self.seen.split(expected, 1)[1]

    def finish(self) -> tuple[str, int]:
        """Standard output and exit status; the terminal must be as it was found."""
        out, _ = self.process.communicate(timeout=TIMEOUT_SECONDS)
        assert termios.tcgetattr(self.its_end) == self.modes_before
        self.wait_for("\x1b[?1049l")
        return out.decode(), self.process.returncode


@contextlib.contextmanager
def session(path: Path, *flags: object) -> Iterator[Session]:
    terminal, its_end = pty.openpty()
    ioctl(its_end, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 60, 0, 0))
    before = termios.tcgetattr(its_end)

    def own_the_terminal() -> None:  # so that its Ctrl-C is the command's
        os.setsid()
        ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [*COMMAND, str(path), "--interactive", *map(str, flags)],
        stdin=its_end,
        stdout=subprocess.PIPE,
        stderr=its_end,
        env=os.environ | {"TERM": "xterm"},
        preexec_fn=own_the_terminal,
    )
    try:
        yield Session(process, terminal, its_end, before)
    finally:
        process.kill()
        process.communicate()
        os.close(terminal)
        os.close(its_end)


def test_type_accept_and_end(path: Path, model: OnnxModel) -> None:
    best = editor_of(model, "a", "b").suggestions[0].text
    with session(path) as terminal:
        terminal.wait_for("Tab takes it")
        terminal.press("ab")
        terminal.wait_for("\x1b[Hab")
        terminal.press("\t")
        terminal.wait_for(f"\x1b[Hab{best}")
        terminal.press("z")
        terminal.wait_for("not in this model's texts: 'z'")
        terminal.press("\x7f" * len(best))
        terminal.press("\x1b[Dc\r\x1bOAd")  # arrows, Enter
        terminal.wait_for("\x1b[Habc\r\nd")
        terminal.press("\x04")
        assert terminal.finish() == ("abc\nd\n", 0)


def test_a_prompt_to_begin_with(path: Path) -> None:
    with session(path, "--prompt", "a bed") as terminal:
        terminal.wait_for("\x1b[Ha bed")
        terminal.press("\x7f\x04")
        assert terminal.finish() == ("a be\n", 0)


def test_ctrl_c_keeps_the_text(path: Path) -> None:
    with session(path, "--prompt", "abc") as terminal:
        terminal.wait_for("\x1b[Habc")
        terminal.press("\x03")
        assert terminal.finish() == ("abc\n", EXIT_INTERRUPTED)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_the_terminal_as_it_was(path: Path, number: signal.Signals) -> None:
    with session(path, "--prompt", "abc") as terminal:
        terminal.wait_for("\x1b[Habc")
        terminal.process.send_signal(number)
        assert terminal.finish() == ("abc\n", 128 + number)


def test_keys_that_would_stop_or_freeze_a_program_do_nothing(path: Path) -> None:
    with session(path, "--prompt", "abc") as terminal:
        terminal.wait_for("\x1b[Habc")
        terminal.press("\x1a\x1c\x13d")  # Ctrl-Z, Ctrl-\, Ctrl-S
        terminal.wait_for("\x1b[Habcd")
        terminal.press("\x04")
        assert terminal.finish() == ("abcd\n", 0)


def test_random_keys(path: Path) -> None:
    """Bytes of every kind, escape sequences cut anywhere: it goes on, and ends as ever."""
    rng = np.random.default_rng(5)
    with session(path) as terminal:
        terminal.wait_for("Tab takes it")
        for _ in range(60):
            keys = rng.integers(0, 256, rng.integers(1, 40)).astype(np.uint8).tobytes()
            os.write(terminal.terminal, bytes(byte for byte in keys if byte not in (3, 4)))
        terminal.press("\x1b[Z\x15abc")
        terminal.wait_for("\x1b[Habc")
        terminal.press("\x04")
        assert terminal.finish() == ("abc\n", 0)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--prompt", "aé"], "'é' (U+00E9), first at position 1"),
        (["--prompt-file", "-"], "name a file for --prompt-file"),
    ],
)
def test_mistakes_in_a_terminal(path: Path, flags: list[str], named: str) -> None:
    with session(path, *flags) as terminal:
        terminal.wait_for("charrnn-sample: error: ")
        terminal.wait_for(named)
        assert terminal.process.wait(TIMEOUT_SECONDS) == EXIT_USER_ERROR


def test_it_needs_a_terminal(path: Path) -> None:
    for options in ({"stdin": subprocess.DEVNULL}, {"input": b"abc"}):
        result = run(path, "--interactive", **options)
        assert result.returncode == EXIT_USER_ERROR
        assert b"--interactive needs a terminal, and standard input is none" in only_line(result.stderr)
