"""Any command line ends by one line and status 2, or by what was asked for; never by a traceback."""

import contextlib
import io
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charrnn.cli.common import EXIT_CLOSED_PIPE, EXIT_USER_ERROR
from charrnn.cli.sample import main
from charrnn.console import EXIT_INTERRUPTED
from tests.cli.test_sample import COMMAND, buffered
from tests.runtime.handmade import HandMade

FILES = {
    "text.txt": b"abc de!\nfgh",
    "empty.txt": b"",
    "latin.txt": "abcé".encode("latin-1"),
    "unknown.txt": "abc é 😀 xyz".encode(),
    "noise.bin": np.random.default_rng(0).bytes(3000),
}
NUMBERS = [
    "0",
    "1",
    "2",
    "3",
    "50",
    "-1",
    "-0",
    "0.5",
    "1e-300",
    "1e308",
    "1e999",
    "nan",
    "-inf",
    "½",
    "",
    " 7 ",
    "1_0",
]
NUMBERS += [str(2**31), str(2**63), str(10**30), "9" * 5000]
# A process is never given a NUL: it ends an argument.
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["a", "abc", "ab\n", "é", "-", "--", "\udcff", "a" * 3000]
)
PATHS = st.sampled_from([*FILES, "missing.txt", ".", "", "no\nfile", "/dev/null"])
# A few characters or an error: what would write for ever is tried by the tests of whole processes.
LENGTHS = st.sampled_from([number for number in NUMBERS if len(number) < 5]) | st.integers(-3, 60).map(str)


def with_value(name: str, values: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    return values.map(lambda value: [f"--{name}={value}"]) | values.map(lambda value: [f"--{name}", value])


FLAGS = st.one_of(
    with_value("prompt", TEXTS),
    with_value("prompt-file", PATHS),
    with_value("length", LENGTHS),
    with_value("stop", TEXTS),
    with_value("num-samples", st.sampled_from(NUMBERS) | st.integers(-2, 9).map(str)),
    with_value("temperature", st.sampled_from(NUMBERS) | st.floats().map(str)),
    with_value("temperatures", st.lists(st.sampled_from(NUMBERS) | st.floats(0, 3).map(str), max_size=4).map(",".join)),
    with_value("top-k", st.sampled_from(NUMBERS)),
    with_value("top-p", st.sampled_from(NUMBERS) | st.floats().map(str)),
    with_value("seed", st.sampled_from(NUMBERS)),
    with_value("score", PATHS),
    with_value("heatmap", st.sampled_from(["out.html", "out.png", "out", ".", "", "missing/out.html"])),
    with_value("unit", st.sampled_from(["0:0", "0:6", "0:7", "1:0", "x", "", "-1:0", "٣:1", "9" * 5000 + ":1"])),
    st.sampled_from(
        ["--skip-unknown", "--units", "--interactive", "--json", "--quiet", "--verbose", "--lenght", "-x"]
    ).map(lambda flag: [flag]),
    TEXTS.map(lambda text: [text]),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fuzz")
    HandMade().save(path / "model.onnx")
    for name, content in FILES.items():
        (path / name).write_bytes(content)
    return path


def finish(folder: Path, arguments: list[str]) -> tuple[int, bytes, str]:
    """Exit status, standard output and standard error of a command in `folder`; whatever it raises comes through."""
    out, messages = io.TextIOWrapper(io.BytesIO()), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(messages):
        status = main(arguments)
    out.flush()
    return status, out.buffer.getvalue(), messages.getvalue()


@settings(max_examples=400)
@given(st.lists(FLAGS, max_size=5))
@example([["--num-samples", "65536"], ["--length", "1"]])
@example([["--top-k", "1" + "0" * 30], ["--top-p", "1e-300"]])
def test_any_flags(folder: Path, flags: list[list[str]]) -> None:
    status, out, messages = finish(folder, ["model.onnx", *itertools.chain.from_iterable(flags)])
    assert status in (0, EXIT_USER_ERROR)
    errors = [line for line in messages.splitlines() if line.startswith("charrnn-sample: error: ")]
    assert len(errors) == (status != 0), messages
    assert all(line.startswith("charrnn-sample: ") for line in messages.splitlines())
    assert bool(out) == (status == 0) or b"cannot be written" in messages.encode()
    out.decode("utf-8")


@settings(max_examples=60)
@given(st.binary(max_size=60) | st.text(max_size=20).map(str.encode), st.sampled_from(["--prompt-file", "--score"]))
def test_any_bytes_as_a_text(folder: Path, content: bytes, flag: str) -> None:
    (folder / "any").write_bytes(content)
    status, out, messages = finish(folder, ["model.onnx", flag, "any", "--skip-unknown", "--quiet"])
    assert (status, messages.count("\n")) in ((0, 0), (EXIT_USER_ERROR, 1))
    assert bool(out) == (status == 0)


@pytest.mark.parametrize("flags", [[], ["--num-samples", "3"], ["--json"], ["--temperatures", "0.5,1"]])
def test_a_reader_that_goes_away(folder: Path, flags: list[str]) -> None:
    """Before the first character as well: `| true`."""
    command = [*COMMAND, str(folder / "model.onnx"), "--length", "20000", "--seed", "1", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=buffered()) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        messages = process.stderr.read()
        assert (process.wait(timeout=60), messages) == (EXIT_CLOSED_PIPE, b"")


@pytest.mark.parametrize(
    "flags",
    [["--endless"], ["--length", "20000000", "--num-samples", "5", "--stop", "abcde"], ["--score", "/dev/zero"]],
    ids=str,
)
def test_ctrl_c_at_any_time(tmp_path: Path, flags: list[str]) -> None:
    """From the moment that the command itself runs; one line, one status, and the terminal gets its prompt back."""
    path = HandMade(characters="\x00\n !abcdefghijk").save(tmp_path / "model.onnx")
    script = """if True:
        import sys
        from charrnn.cli.common import exit_status
        from charrnn.cli.sample import COMMAND, _run
        sys.exit(exit_status(COMMAND, lambda: print(flush=True, file=sys.stderr) or _run(None)))
    """
    rng = np.random.default_rng(len(flags))
    for seconds in rng.uniform(0, 0.5, 12):
        command = [sys.executable, "-c", script, str(path), "--quiet", *flags]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            assert process.stderr is not None
            assert process.stderr.read(1) == b"\n"
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
            os.kill(process.pid, signal.SIGINT)
            messages = process.stderr.read()
            assert process.wait(timeout=60) == EXIT_INTERRUPTED, messages
            assert messages == b"charrnn-sample: interrupted\n"


@pytest.mark.parametrize(
    "flags",
    [
        ["--num-samples", "3", "--length", "3000", "--top-k", "5", "--top-p", "0.9", "--stop", "abc", "--verbose"],
        ["--temperatures", "0.5,1"],
        ["--prompt-file", "text.txt", "--json"],
        ["--score", "text.txt", "--heatmap", "out.html"],
    ],
    ids=str,
)
def test_nothing_is_imported_where_ctrl_c_raises(folder: Path, flags: list[str]) -> None:
    """Python's import machinery swallows some KeyboardInterrupts: the command would go on as if nothing had been."""
    script = (
        "import contextlib, sys\n"
        "from charrnn.cli import common, sample\nfrom charrnn.writing import heatmap\n"
        "known = set()\n"
        "@contextlib.contextmanager\n"
        "def importing(command):\n"
        "    yield\n"
        "    known.update(sys.modules)\n"
        "sample.importing = heatmap.importing = importing\n"
        "status = sample.main(sys.argv[1:])\n"
        "sys.exit(status or ', '.join(sys.modules.keys() - known) or 0)"
    )
    command = [sys.executable, "-c", script, "model.onnx", *flags]
    result = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr


def test_the_same_command_writes_the_same_bytes(folder: Path) -> None:
    for flags in (["--num-samples", "3", "--top-k", "5"], ["--temperatures", "0,0.5,2"], ["--stop", "ab"]):
        arguments = ["model.onnx", "--length", "100", "--seed", "7", *flags]
        assert finish(folder, arguments)[1] == finish(folder, arguments)[1]
        texts = [json.loads(line)["text"] for line in finish(folder, [*arguments, "--json"])[1].splitlines()]
        assert all(text in finish(folder, arguments)[1].decode() for text in texts)
