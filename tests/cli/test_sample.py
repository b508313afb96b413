"""charrnn-sample as its users meet it: a process, its streams and its exit status."""

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from charrnn import generate, load
from charrnn.cli.common import EXIT_CLOSED_PIPE, EXIT_USER_ERROR
from charrnn.cli.sample import main
from charrnn.console import EXIT_INTERRUPTED
from charrnn.errors import ModelFileError
from charrnn.runtime import generate_many
from tests.runtime.handmade import HandMade

COMMAND = [sys.executable, "-m", "charrnn.cli.sample"]
HEAVY = ["torch", "datasets", "accelerate", "wandb", "onnx", "safetensors", "tyro", "tqdm", "matplotlib", "pyarrow"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return HandMade().save(tmp_path / "model.onnx")


@pytest.fixture
def accented(tmp_path: Path) -> Path:
    normaliser = [{"step": "lowercase"}]
    return HandMade(characters="\n abcdé€😀", normaliser=normaliser).save(tmp_path / "accented.onnx")


def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, check=False, timeout=60, **options)


def buffered() -> dict[str, str]:
    """The environment of a user who has not switched off Python's own buffering."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


# The text


def test_stdout_is_the_text_and_nothing_else(path: Path) -> None:
    result = run(path, "--prompt", "abc", "--length", 50, "--seed", 7)
    assert result.returncode == 0
    assert result.stdout.decode() == generate(path, "abc", 50, seed=7) + "\n"
    assert result.stderr == b""


def test_every_setting_reaches_the_sampler(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    flags = "--prompt abc --length 40 --temperature 0.7 --top-k 6 --top-p 0.8 --seed 5 --num-samples 3"
    assert main([str(path), *flags.split()]) == 0
    texts = generate_many(path, "abc", 40, num_samples=3, temperature=0.7, top_k=6, top_p=0.8, seed=5)
    assert capfd.readouterr().out == "\n\n".join(texts) + "\n"


def test_a_fresh_seed_is_told_and_gives_the_text_again(path: Path) -> None:
    first = run(path)
    seed = first.stderr.decode().split()[2]
    assert first.stderr.decode() == f"charrnn-sample: seed {seed} (--seed {seed} writes this text again)\n"
    assert run(path, "--seed", seed).stdout == first.stdout
    assert run(path).stdout != first.stdout


def test_greedy_text_has_no_seed_to_tell(path: Path) -> None:
    result = run(path, "--temperature", 0, "--prompt", "abc", "--length", 30)
    assert (result.stdout.decode(), result.stderr) == (HandMade().greedy("abc", 30) + "\n", b"")


def test_a_run_directory_and_a_prompt_file(path: Path, tmp_path: Path) -> None:
    prompt_file = tmp_path / "prompt.txt"
    prompt_file.write_bytes(b"abc\n")
    result = run(tmp_path, "--prompt-file", prompt_file, "--temperature", 0, "--length", 20)
    assert result.stdout.decode() == HandMade().greedy("abc\n", 20) + "\n"
    assert run(path, "--prompt-file", "-", "--temperature", 0, "--length", 20, input=b"abc\n").stdout == result.stdout


@pytest.mark.parametrize("locale", [{"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "ascii"}, {}])
def test_text_is_utf8_in_every_locale(accented: Path, locale: dict[str, str]) -> None:
    environment = buffered() | {"LC_ALL": "C"} | locale
    result = run(accented, "--prompt", "É€", "--length", 60, "--seed", 2, env=environment)
    assert result.stdout.decode() == generate(accented, "é€", 60, seed=2) + "\n"
    assert "😀" in result.stdout.decode()


def test_a_prompt_of_which_the_model_reads_nothing_is_told(tmp_path: Path) -> None:
    """In another alphabet, where the model's normaliser keeps only its own: the text would look like an answer."""
    normaliser = [{"step": "keep", "characters": "abc "}]
    path = HandMade(normaliser=normaliser).save(tmp_path / "model.onnx")
    flags = ("--temperature", 0, "--length", 20)
    result = run(path, "--prompt", "привет", *flags)
    assert result.stdout.decode() == generate(path, "", 20, temperature=0) + "\n"
    assert result.stderr.startswith(b"charrnn-sample: nothing is left of the prompt")
    assert result.stderr.count(b"\n") == 1
    assert run(path, "--prompt", "привет", "--quiet", *flags).stderr == b""
    assert run(path, "--prompt", "", *flags).stderr == b""


def test_skipped_characters_are_told(path: Path) -> None:
    flags = ("--temperature", 0, "--length", 20)
    result = run(path, "--prompt", "zaébécz", "--skip-unknown", *flags)
    assert result.stdout.decode() == HandMade().greedy("abc", 20) + "\n"
    assert result.stderr.decode() == "charrnn-sample: left out of the prompt: 'z', 'é'\n"
    assert run(path, "--prompt", "abc", "--skip-unknown", *flags).stderr == b""


def test_it_runs_where_there_is_no_torch(path: Path) -> None:
    blocked = "".join(f"sys.modules[{name!r}] = None\n" for name in HEAVY)
    script = f"import sys\n{blocked}from charrnn.cli.sample import main\nsys.exit(main())"
    result = subprocess.run(
        [sys.executable, "-c", script, path, "--prompt", "abc", "--seed", "1"], capture_output=True, check=True
    )
    assert result.stdout.decode() == generate(path, "abc", seed=1) + "\n"


def test_scores_pages_and_autocomplete_need_no_torch_either(path: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("abc")
    blocked = "".join(f"sys.modules[{name!r}] = None\n" for name in HEAVY)
    script = f"import sys\n{blocked}import charrnn.autocomplete.editor, charrnn.autocomplete.terminal\n"
    script += "from charrnn.cli.sample import main\nsys.exit(main())"
    flags = [path, "--score", tmp_path / "text.txt", "--heatmap", tmp_path / "heat.html"]
    subprocess.run([sys.executable, "-c", script, *flags], capture_output=True, check=True)
    assert (tmp_path / "heat.html").exists()


# Streams and signals


@contextlib.contextmanager
def started(command: list[object], stdout: int | BinaryIO) -> Iterator[subprocess.Popen[bytes]]:
    """A process that writes to `stdout` and does not outlive a test that fails."""
    with subprocess.Popen(list(map(str, command)), stdout=stdout, stderr=subprocess.PIPE, env=buffered()) as process:
        try:
            yield process
        finally:
            process.kill()


def drain(descriptor: int) -> bytes:
    """What comes until the other end of a terminal is closed, which Linux tells by an error."""
    data = b""
    with contextlib.suppress(OSError):
        while select.select([descriptor], [], [], 30)[0] and (block := os.read(descriptor, 1000)):
            data += block
    return data


def test_a_terminal_sees_each_character_as_it_is_made_until_interrupted(tmp_path: Path) -> None:
    """Text without newlines, made slowly with 5000 others beside it: a block of it would take most of a minute."""
    path = HandMade(characters=" abcdefgh").save(tmp_path / "model.onnx")
    terminal, its_end = pty.openpty()
    command = [*COMMAND, path, "--length", "20000", "--num-samples", "5000", "--seed", "1"]
    with started(command, its_end) as process:
        os.close(its_end)
        seen = b""
        while len(seen) < 30:
            assert select.select([terminal], [], [], 15)[0]
            seen += os.read(terminal, 1)
        process.send_signal(signal.SIGINT)
        drain(terminal)
        _, messages = process.communicate(timeout=30)
    os.close(terminal)
    assert generate(path, length=30, seed=1) == seen.decode()
    assert messages == b"charrnn-sample: interrupted\n"
    assert process.returncode == EXIT_INTERRUPTED


def test_an_interrupted_text_is_kept(path: Path, tmp_path: Path) -> None:
    """In a file too, where text is written in blocks: all that was made is there, and a last newline."""
    output = tmp_path / "text.txt"
    command = [*COMMAND, path, "--length", str(5 * 10**7), "--num-samples", "2", "--seed", "1"]
    with output.open("wb") as file, started(command, file) as process:
        while output.stat().st_size < 1000 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == EXIT_INTERRUPTED
    first, second = generate_many(path, length=1000, num_samples=2, seed=1)
    content = output.read_text()
    assert content.startswith(first)
    assert f"\n\n{second}" in content
    assert content.endswith("\n")


def test_a_closed_pipe_is_quiet(path: Path) -> None:
    command = [*COMMAND, path, "--endless", "--seed", "1"]
    with started(command, subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(10).decode() == generate(path, length=10, seed=1)
        process.stdout.close()
        assert process.wait(timeout=30) == EXIT_CLOSED_PIPE
        assert process.stderr is not None
        assert process.stderr.read() == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="not here: only Linux has /dev/full")
@pytest.mark.parametrize("length", [10, 100_000])
def test_a_full_disk(path: Path, length: int) -> None:
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(
            [*COMMAND, path, "--length", str(length), "--temperature", "0"],
            stdout=full,
            stderr=subprocess.PIPE,
            env=buffered(),
            check=False,
        )
    assert result.returncode == EXIT_USER_ERROR
    assert b"No space left on device" in only_line(result.stderr)


@pytest.mark.parametrize(("closed", "flags"), [(">&-", ""), ("<&-", "--prompt-file -")])
def test_a_closed_stream(path: Path, closed: str, flags: str) -> None:
    command = f"{' '.join(COMMAND)} {path} {flags} {closed}"
    result = subprocess.run(["sh", "-c", command], capture_output=True, check=False)
    assert result.returncode == EXIT_USER_ERROR
    assert b"closed" in only_line(result.stderr)


@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full"])
def test_messages_that_nobody_can_get(path: Path, closed: str) -> None:
    """They are lost, and do not end up in the text."""
    command = f"{' '.join(COMMAND)} {path} --prompt abc --length 0 {closed}"
    result = subprocess.run(["sh", "-c", command], capture_output=True, check=False)
    assert (result.returncode, result.stdout) == (EXIT_USER_ERROR, b"")
    command = f"{' '.join(COMMAND)} {path} --prompt abcz --skip-unknown --temperature 0 {closed}"
    result = subprocess.run(["sh", "-c", command], capture_output=True, check=False)
    assert (result.returncode, result.stdout.decode()) == (0, HandMade().greedy("abc", 200) + "\n")


# Bad input


def only_line(messages: bytes) -> bytes:
    assert messages.startswith(b"charrnn-sample: error: ")
    assert messages.count(b"\n") == 1
    return messages


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ("", "required: MODEL"),
        ("MODEL --promt abc", "unknown flag '--promt': did you mean --prompt?"),
        ("MODEL --top_k=3", "unknown flag '--top_k=3': did you mean --top-k?"),
        ("MODEL --temp 1", "unknown flag '--temp': did you mean --temperature?"),
        ("MODEL --zzz", "unknown flag '--zzz': charrnn-sample --help lists the flags"),
        ("MODEL abc", "unexpected argument 'abc': give one MODEL, and the prompt as --prompt TEXT"),
        ("MODEL --length", "argument --length: expected one argument"),
        ("MODEL --length many", "argument --length: 'many' is not a whole number"),
        ("MODEL --length 0", "length is 0: it must be at least 1"),
        ("MODEL --length -5", "length is -5: it must be at least 1"),
        ("MODEL --num-samples 0", "num-samples is 0: it must be at least 1"),
        ("MODEL --num-samples 99999999999", "num-samples is 99999999999: it must be at least 1 and at most 65536"),
        ("MODEL --temperature hot", "argument --temperature: 'hot' is not a number"),
        ("MODEL --temperature -1", "temperature is -1.0: it must be a finite number, at least 0"),
        ("MODEL --temperature nan", "temperature is nan: it must be a finite number"),
        ("MODEL --top-k -1", "top-k is -1: it must be at least 0"),
        ("MODEL --top-p 0", "top-p is 0.0: it must be above 0 and at most 1"),
        ("MODEL --seed -1", "seed is -1: it must be at least 0"),
        ("MODEL --prompt a --prompt-file b", "--prompt does not go with --prompt-file: leave one of them out"),
        ("MODEL --prompt abé", "'é' (U+00E9), first at position 2"),
        ("MODEL --prompt-file missing.txt", "prompt file missing.txt cannot be read (No such file or directory)"),
        ("MODEL --prompt-file .", "prompt file . cannot be read (Is a directory)"),
        (
            "MODEL --temperatures 0.2,,1",
            "argument --temperatures: '0.2,,1' is not a list of numbers such as 0.2,0.5,1.0",
        ),
        ("MODEL --temperatures 0.2;1", "argument --temperatures: '0.2;1' is not a list of numbers"),
        ("MODEL --temperatures 0.2,-1", "temperature is -1.0: it must be a finite number"),
        ("MODEL --temperatures 1 --temperature 1", "--temperature does not go with --temperatures"),
        ("MODEL --endless --length 5", "--endless does not go with --length: leave one of them out"),
        ("MODEL --endless --num-samples 2", "--endless does not go with --num-samples"),
        ("MODEL --endless --json", "--endless does not go with --json"),
        ("MODEL --quiet --verbose", "--quiet does not go with --verbose"),
        ("MODEL --stop z", "--stop: the vocabulary lacks 'z'"),
        ("MODEL --stop=", "the stop text '' is empty as the model reads it"),
        ("MODEL --length 99999999 --json --num-samples 2", "2 texts of 99,999,999 characters are held in memory"),
        ("MODEL --num-samples 3 --length 99999999999", "ask for fewer, or for shorter ones"),
        ("MODEL --score a.txt --prompt b", "--score does not go with --prompt"),
        ("MODEL --score a.txt --temperature 1", "--score does not go with --temperature"),
        ("MODEL --interactive --score a.txt", "--score does not go with --interactive"),
        ("MODEL --interactive --json", "--interactive does not go with --json"),
        (
            "MODEL --heatmap a.html",
            "--heatmap shows the text of a score in colours: name the text as well, with --score",
        ),
        ("MODEL --units", "--units looks for units in the text of a score: name the text as well"),
        ("MODEL --unit 0:1", "--unit looks at a unit in the text of a score: name the text as well"),
        ("MODEL --score a.txt --units --unit 0:1", "--units does not go with --unit: leave one of them out"),
        ("MODEL --score a.txt --unit x", "unit 'x' is no LAYER:NUMBER, both from 0: write it as in 0:217"),
        ("MODEL --score a.txt --unit 9:999", "unit 9:999: the model has 1 layer of 7: name one from 0:0 to 0:6"),
        ("MODEL --interactive --units", "--interactive does not go with --units"),
        ("MODEL --score a.txt --heatmap a.jpg", "'a.jpg' is neither .html nor .png"),
        ("MODEL --score a.txt", "text a.txt cannot be read (No such file or directory)"),
        ("MODEL --score a.html --heatmap ./a.html", "--heatmap ./a.html would replace the text"),
        ("MODEL --score .", "text . cannot be read (Is a directory)"),
        ("MODEL --interactive", "--interactive needs a terminal, and standard input is none"),
        ("missing.onnx", "missing.onnx: it cannot be read (No such file or directory)"),
        (".", ". is a directory without a model.onnx: if it is a run, write one with `charrnn-export .`"),
        ("foreign.onnx", "foreign.onnx: it is not an ONNX model"),
    ],
)
def test_a_mistake_is_one_line(
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
    flags: str,
    named: str,
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "foreign.onnx").write_text("not a model")
    monkeypatch.chdir(elsewhere)
    assert main([str(path) if flag == "MODEL" else flag for flag in flags.split()]) == EXIT_USER_ERROR
    output = capfdbinary.readouterr()
    assert named in only_line(output.err).decode()
    assert output.out == b""


LONG = "It was the best of times. " * 20
"""A prompt: too long to be the name of a file."""


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (LONG, "File name too long"),
        ("a/" * 5000, "File name too long"),
        ("loop/file", "Too many levels of symbolic links"),
        ("file/below", "Not a directory"),
        ("a\0b", "null"),
        ("\ud800", "surrogates not allowed"),
        ("\udcff", "No such file or directory"),  # a byte that is not UTF-8
    ],
    ids=lambda text: text[:9],
)
def test_a_name_that_the_system_refuses(
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
    name: str,
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    Path("file").write_text("abc")
    for arguments in ([name], [path, "--prompt-file", name], [path, "--score", name]):
        assert main(list(map(str, arguments))) == EXIT_USER_ERROR
        output = capfdbinary.readouterr()
        assert f"cannot be read ({reason}" in only_line(output.err).decode() or reason in only_line(output.err).decode()
        assert output.out == b""
    for use in (load, generate):
        with pytest.raises(ModelFileError, match=reason):
            use(name)
    if "No such" not in reason and main([str(path), "--score", "file", "--heatmap", f"{name}.html"]) != EXIT_USER_ERROR:
        pytest.fail("the page was written")


def test_a_directory_that_may_not_be_entered(path: Path, tmp_path: Path) -> None:
    """Asked by a user who is not root."""
    closed = tmp_path / "closed"
    closed.mkdir()
    HandMade().save(closed / "model.onnx")
    closed.chmod(0)
    try:
        for name in (closed / "model.onnx", closed):
            with as_nobody(tmp_path), pytest.raises(ModelFileError, match=r"it cannot be read \(Permission denied\)"):
                load(name)
    finally:
        closed.chmod(0o700)


@contextlib.contextmanager
def as_nobody(directory: Path) -> Iterator[None]:
    """With the rights of another user, who may come as far as `directory`."""
    if os.geteuid() != 0:
        yield
        return
    for above in (directory, *directory.parents):
        if above.owner() == "root" and not above.stat().st_mode & 1:
            above.chmod(above.stat().st_mode | 0o711)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("flag", ["--prompt", "--stop"])
def test_half_a_character(path: Path, capfd: pytest.CaptureFixture[str], flag: str) -> None:
    """As Windows gives it, where arguments are UTF-16."""
    assert main([str(path), flag, "ab\ud83d"]) == EXIT_USER_ERROR
    assert (
        rf"{flag} has '\ud83d' at position 2, half of a character"
        in only_line(capfd.readouterr().err.encode()).decode()
    )


def test_a_prompt_that_is_not_utf8(path: Path, tmp_path: Path) -> None:
    wrong = "abé".encode() + b"\xff"
    prompt_file = tmp_path / "prompt.txt"
    prompt_file.write_bytes(wrong)
    for arguments, source in (
        ([b"--prompt", wrong], b"--prompt"),
        ([b"--prompt-file", b"-"], b"standard input"),
        ([b"--prompt-file", os.fsencode(prompt_file)], b"prompt file " + os.fsencode(prompt_file)),
    ):
        result = subprocess.run([*COMMAND, path, *arguments], input=wrong, capture_output=True, check=False)
        assert result.returncode == EXIT_USER_ERROR
        assert source + b": byte 0xFF at offset 4 is not utf-8" in only_line(result.stderr)
        assert result.stdout == b""


def test_help_names_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for name in (
        "prompt",
        "prompt-file",
        "length",
        "temperature",
        "top-k",
        "top-p",
        "seed",
        "num-samples",
        "skip-unknown",
        "endless",
        "stop",
        "temperatures",
        "interactive",
        "score",
        "heatmap",
        "units",
        "unit",
        "json",
        "quiet",
        "verbose",
    ):
        assert f"--{name} " in text
    assert max(map(len, text.splitlines())) < 100
