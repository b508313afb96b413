"""What a terminal gets of a model's text, of a hostile file and of names: nothing that it would obey."""

import contextlib
import json
import os
import pty
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest

from charrnn import generate
from charrnn.cli.common import EXIT_USER_ERROR
from charrnn.cli.sample import main
from tests.cli.test_sample import drain
from tests.runtime.handmade import HandMade

# Escape, the C1 that begins a sequence too, bell, backspace, carriage return, a right-to-left override, delete, a tab.
EVIL = "\x1b\x9b\x07\b\r\u202e\x7f\t"
OBEYED = [*"".join(map(chr, [*range(32), *range(0x7F, 0xA0)])).replace("\r", "").replace("\n", ""), "\u202e", "\u2028"]


@dataclass(frozen=True)
class Told:
    """What a terminal got, its own carriage returns left out, and the exit status."""

    text: str
    status: int


def told(*arguments: object) -> Told:
    """Run the command, here, where standard output and error are one terminal, which holds 4 KB."""
    terminal, its_end = pty.openpty()
    with os.fdopen(its_end, "w") as end, contextlib.redirect_stdout(end), contextlib.redirect_stderr(end):
        status = main(list(map(str, arguments)))
    text = drain(terminal).decode()
    os.close(terminal)
    return Told(text.replace("\r\n", "\n"), status)


def assert_harmless(text: str) -> None:
    assert not [character for character in [*OBEYED, "\r"] if character in text], repr(text)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return HandMade(characters="".join(sorted(EVIL + "\n ab"))).save(tmp_path / "evil.onnx")


@pytest.mark.parametrize(
    "flags",
    [
        ["--length", "300"],
        ["--endless", "--stop", "ab\n"],
        ["--num-samples", "3", "--length", "100"],
        ["--temperatures", "0.5,1", "--length", "100"],
        ["--json", "--length", "100"],
    ],
    ids=str,
)
def test_a_terminal_is_shown_what_a_pipe_gets_exactly(
    path: Path, capfd: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    arguments = [str(path), "--prompt", "a\x1bb", "--seed", "1", *flags]
    assert main(arguments) == 0
    exact = capfd.readouterr().out
    shown = told(*arguments)
    assert shown.status == 0
    assert_harmless(shown.text)
    if "--json" in flags:
        assert [json.loads(line)["text"] for line in shown.text.splitlines()] == [
            json.loads(line)["text"] for line in exact.splitlines()
        ]
    else:
        assert "\x1b" in exact
        assert "␛" in shown.text
    if "--length 300" in " ".join(flags):
        assert exact == generate(path, "a\x1bb", 300, seed=1) + "\n"
        assert len(shown.text.replace("    ", "\t")) == len(exact), "each character is one that is seen"


def hostile(tmp_path: Path, change: dict[str, str], names: dict[str, str] | None = None) -> Path:
    """A model file whose metadata, or names in the graph, would command a terminal."""
    hand_made = HandMade()
    proto = hand_made.proto()
    onnx.helper.set_model_props(proto, hand_made.metadata() | change)
    for old, new in (names or {}).items():
        for value in (*proto.graph.input, *proto.graph.output):
            value.name = new if value.name == old else value.name
        for node in proto.graph.node:
            node.input[:] = [new if name == old else name for name in node.input]
            node.output[:] = [new if name == old else name for name in node.output]
    path = tmp_path / "hostile.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


EVIL_STEP = json.dumps([{"step": EVIL}])


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"charrnn.format_version": EVIL}, {}),
        ({"charrnn.normaliser": EVIL_STEP}, {}),
        ({"charrnn.normaliser": json.dumps([{EVIL: "lf"}])}, {}),
        ({"charrnn.vocabulary": EVIL}, {}),
        ({"charrnn.vocabulary": json.dumps({"format": "charrnn.vocabulary", "version": EVIL})}, {}),
        ({"charrnn.training": EVIL}, {}),
        ({}, {"state": EVIL, "next_state": f"next_{EVIL}"}),
        ({}, {"logits": EVIL}),
    ],
    ids=str,
)
def test_an_error_about_a_hostile_file_is_one_harmless_line(
    tmp_path: Path, change: dict[str, str], names: dict[str, str]
) -> None:
    shown = told(hostile(tmp_path, change, names))
    if not names.get("state"):  # a state may be called anything
        assert shown.text.startswith("charrnn-sample: error: ")
        assert shown.status == EXIT_USER_ERROR
        assert shown.text.count("\n") == 1
    assert_harmless(shown.text)


def test_verbose_shows_what_a_hostile_file_says_of_itself(tmp_path: Path) -> None:
    change = {
        "charrnn.model": json.dumps({f"size{EVIL}": f"{EVIL}\nforged: line", "hidden_size": 7}),
        "charrnn.training": json.dumps({"corpus": EVIL, EVIL: [EVIL]}),
        "charrnn.normaliser": json.dumps([{"step": "replace", "old": EVIL, "new": ""}]),
    }
    evil = hostile(tmp_path, {name: text for name, text in change.items() if name != "charrnn.normaliser"})
    shown = told(evil, "--verbose", "--seed", 1, "--length", 5)
    assert shown.status == 0
    assert_harmless(shown.text)
    assert "␛" in shown.text
    assert "\nforged" not in shown.text


def test_names_of_files_are_shown(tmp_path: Path) -> None:
    model = HandMade().save(tmp_path / "model.onnx")
    evil = tmp_path / f"no{EVIL}\nfile"
    for arguments in (
        [evil],
        [model, "--prompt-file", evil],
        [model, "--score", evil],
        [model, "--score", model, "--heatmap", f"{evil}.jpg"],
        [model, f"--prompt={EVIL}"],
        [model, f"--stop={EVIL}"],
        [model, f"--{EVIL}"],
        [model, "--length", EVIL],
        [model, EVIL],
    ):
        shown = told(*arguments)
        assert (shown.status, shown.text.count("\n")) == (EXIT_USER_ERROR, 1), shown
        assert_harmless(shown.text)
    (tmp_path / "text.txt").write_text("abc")
    shown = told(model, "--score", tmp_path / "text.txt", "--heatmap", f"{evil}.html")
    assert shown.status == 0
    assert_harmless(shown.text.replace("\r", ""))  # its own progress goes back to the line's beginning


def test_a_skipped_character_is_told_and_not_obeyed(tmp_path: Path) -> None:
    shown = told(HandMade().save(tmp_path / "m.onnx"), f"--prompt=a{EVIL}", "--skip-unknown", "--temperature", 0)
    assert "left out of the prompt" in shown.text
    assert_harmless(shown.text)


# Windows, as far as it can be had here


WINDOWS = """\
import io, os, signal, sys
import argparse, shutil, tempfile, numpy, onnxruntime  # they know Windows by themselves
for module in ("fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"):
    sys.modules[module] = None
names = {"SIGINT", "SIGTERM", "SIGABRT", "SIGFPE", "SIGILL", "SIGSEGV", "SIG_DFL", "SIG_IGN"}
for name in [name for name in dir(signal) if name.startswith("SIG") and name not in names]:
    delattr(signal, name)
for name in ("pthread_sigmask", "setitimer", "sigwait", "alarm"):
    delattr(signal, name)
for name in ("fork", "fpathconf", "getuid", "geteuid", "killpg", "setsid", "sched_getaffinity", "O_DIRECTORY"):
    delattr(os, name)
os_open = os.open
def open_no_directory(path, *arguments, **options):
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", os.fspath(path))
    return os_open(path, *arguments, **options)
os.open = open_no_directory
os.environ.pop("TERM", None)
sys.platform = "win32"
for name in ("stdin", "stdout", "stderr"):
    stream = getattr(sys, name)
    setattr(sys, name, io.TextIOWrapper(stream.buffer, encoding="cp1252", newline="\\r\\n", write_through=True))
from charrnn.cli.sample import main
sys.exit(main())
"""
ON_WINDOWS = [sys.executable, "-c", WINDOWS]


def on_windows(*arguments: object) -> tuple[int, bytes, bytes]:
    result = subprocess.run([*ON_WINDOWS, *map(str, arguments)], capture_output=True, check=False, timeout=60)
    return result.returncode, result.stdout, result.stderr


def test_the_text_is_the_same_on_windows(tmp_path: Path) -> None:
    path = HandMade(characters="\n abcdé€😀").save(tmp_path / "model.onnx")
    text = generate(path, "é€", 60, seed=2)
    assert "\n" in text
    flags = ("--prompt", "é€", "--length", 60, "--seed", 2)
    assert on_windows(path, *flags) == (0, f"{text}\n".encode(), b"")
    status, out, _ = on_windows(path, *flags, "--json")
    assert (status, json.loads(out)["text"]) == (0, text)


def test_scores_and_pages_on_windows(tmp_path: Path) -> None:
    path = HandMade().save(tmp_path / "model.onnx")
    (tmp_path / "text.txt").write_text("abc de!\n" * 9)
    page = tmp_path / "made" / "heat.html"
    status, out, messages = on_windows(path, "--score", tmp_path / "text.txt", "--heatmap", page)
    assert (status, messages) == (0, f"charrnn-sample: {page}: the text coloured by its surprise\r\n".encode())
    assert out.startswith(b"characters  71\nloss ")
    assert page.read_text().startswith("<!doctype html>")


def test_a_mistake_on_windows_is_one_line(tmp_path: Path) -> None:
    path = HandMade().save(tmp_path / "model.onnx")
    for arguments, named in (([path, "--prompt", "я"], "U+044F"), ([tmp_path / "я.onnx"], "No such file")):
        status, out, messages = on_windows(*arguments)
        assert (status, out, messages.count(b"\n")) == (EXIT_USER_ERROR, b"", 1)
        assert named in messages.decode("cp1252")


def test_autocomplete_on_windows_is_refused_in_one_line(tmp_path: Path) -> None:
    path, (terminal, its_end) = HandMade().save(tmp_path / "model.onnx"), pty.openpty()
    result = subprocess.run(
        [*ON_WINDOWS, str(path), "--interactive"], stdin=its_end, stdout=subprocess.PIPE, stderr=its_end, check=False
    )
    os.close(its_end)
    assert (result.returncode, result.stdout) == (EXIT_USER_ERROR, b"")
    (line,) = drain(terminal).decode().replace("\r", "").splitlines()
    assert line.endswith("--interactive needs a POSIX terminal (termios), which this system lacks: use --prompt")
    os.close(terminal)
