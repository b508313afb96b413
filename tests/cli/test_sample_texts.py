"""Where a text ends, and the forms in which charrnn-sample writes it."""

import itertools
import json
import os
import pty
import signal
import struct
import subprocess
import termios
import time
from fcntl import ioctl
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn import OnnxModel, generate
from charrnn.cli.common import EXIT_USER_ERROR
from charrnn.cli.sample import main
from charrnn.console import EXIT_INTERRUPTED
from charrnn.runtime import Sampler, SamplingConfig, encode_prompt, generate_many
from charrnn.writing.continuations import Continuations
from tests.cli.test_sample import COMMAND, buffered, drain, only_line, run, started
from tests.runtime.handmade import HandMade


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return HandMade().save(tmp_path / "model.onnx")


def output_of(capfd: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(list(map(str, arguments))) == 0
    return capfd.readouterr().out


def cut(text: str, stop: str, prompt: str) -> str:
    """`text` up to the end of the first `stop` that the continuation has."""
    place = text.find(stop, len(prompt))
    return text if place < 0 else text[: place + len(stop)]


# Where it ends


@pytest.mark.parametrize("stop", ["a", "fb", "\n", "abcdefghijk"])
def test_a_text_ends_once_it_has_written_the_stop_text(
    path: Path, capfd: pytest.CaptureFixture[str], stop: str
) -> None:
    whole = generate(path, "fb", 300, seed=4)
    expected = cut(whole, stop, "fb")
    assert (len(expected) < len(whole)) == (stop != "abcdefghijk"), "three are written by chance, and one is not"
    flags = ("--prompt", "fb", "--length", 300, "--seed", 4, f"--stop={stop}")
    assert output_of(capfd, path, *flags) == expected + "\n"


def test_each_sample_ends_on_its_own(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    flags = ("--length", 200, "--seed", 3, "--num-samples", 7, "--stop", "i")
    expected = [cut(text, "i", "") for text in generate_many(path, "", 200, num_samples=7, seed=3)]
    assert len({len(text) for text in expected}) > 3
    assert 200 in map(len, expected), "and some not at all"
    assert output_of(capfd, path, *flags) == "\n\n".join(expected) + "\n"


@given(st.text("ab", min_size=1, max_size=6), st.integers(0, 2**32), st.integers(1, 3))
def test_stop_texts_that_overlap_themselves(two_letters: OnnxModel, stop: str, seed: int, num_samples: int) -> None:
    """Of two letters, where a text begins as the stop text does again and again: the first whole one counts."""
    sampler = Sampler(SamplingConfig(), seed, num_samples)
    prompt = encode_prompt(two_letters, "ab")
    made = Continuations(two_letters, prompt, sampler, length=60, stop=stop, keep=True)
    shown: list[str] = []
    made.make(shown.append)
    whole = generate_many(two_letters, "ab", 60, num_samples=num_samples, seed=seed)
    assert [made.text(row) for row in range(num_samples)] == [cut(text, stop, "ab") for text in whole]
    assert "ab" + "".join(shown) == made.text(0)
    assert made.stopped(0) == (stop in whole[0][2:])


@pytest.fixture(scope="module")
def two_letters(tmp_path_factory: pytest.TempPathFactory) -> OnnxModel:
    return OnnxModel.load(HandMade(characters="ab", seed=5).save(tmp_path_factory.mktemp("two") / "model.onnx"))


def test_the_stop_text_is_normalised(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = HandMade(normaliser=[{"step": "lowercase"}]).save(tmp_path / "model.onnx")
    expected = cut(generate(path, "", 100, seed=1), "a", "")
    assert output_of(capfd, path, "--length", 100, "--seed", 1, "--stop", "A") == expected + "\n"


def test_an_endless_text_ends_at_its_stop_text(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = generate(path, "", 5000, seed=1)
    stop = text[4000:4005]
    assert output_of(capfd, path, "--endless", "--seed", 1, "--stop", stop) == cut(text, stop, "") + "\n"


def test_an_endless_text_needs_no_memory(path: Path, tmp_path: Path) -> None:
    """Nothing is kept of it: a million characters later the process has grown by less than they would take."""
    script = (
        "import re, sys\n"
        "from charrnn.cli.sample import main\n"
        "def peak(): return int(re.search('VmHWM:([^k]+)', open('/proc/self/status').read())[1])\n"
        "class Counter:\n"
        "    count = 0\n"
        "    def isatty(self): return False\n"
        "    def flush(self): pass\n"
        "    def write(self, text):\n"
        "        self.count += len(text)\n"
        "        if self.count == 10**4: self.before = peak()\n"
        "        if self.count >= 4 * 10**5:\n"
        "            print(peak() - self.before, file=sys.__stdout__)\n"
        "            raise KeyboardInterrupt\n"
        "sys.stdout = Counter()\n"
        "sys.exit(main([sys.argv[1], '--endless', '--seed', '1']))\n"
    )
    result = subprocess.run([*COMMAND[:1], "-c", script, path], capture_output=True, check=False, timeout=60)
    assert result.returncode == EXIT_INTERRUPTED, result.stderr
    assert int(result.stdout.split()[0]) < 3000  # KiB; a list of as many characters would take 3200


# JSON


def test_json_has_an_object_a_line_for_each_text(path: Path) -> None:
    text_flags = ("--prompt", "ab", "--length", 40, "--stop", "h", "--num-samples", 3, "--json")
    result = run(path, *text_flags, "--temperature", 0.7, "--top-k", 6, "--top-p", 0.9, "--seed", 2)
    assert result.stderr == b""
    records = [json.loads(line) for line in result.stdout.splitlines()]
    texts = generate_many(path, "ab", 40, num_samples=3, temperature=0.7, top_k=6, top_p=0.9, seed=2)
    for row, (record, text) in enumerate(zip(records, texts, strict=True)):
        assert record.pop("characters_per_second") > 0
        assert record == {
            "text": cut(text, "h", "ab"),
            "prompt": "ab",
            "ended_by": "stop" if "h" in text else "length",
            "seed": 2,
            "sample": row,
            "settings": {"temperature": 0.7, "top_k": 6, "top_p": 0.9, "length": 40, "stop": "h"},
        }
    assert {record["ended_by"] for record in records} == {"stop", "length"}


def test_json_tells_a_fresh_seed(path: Path) -> None:
    result = run(path, "--json")
    record = json.loads(result.stdout)
    assert result.stderr == b""
    assert record["text"] == generate(path, seed=record["seed"])


def test_json_of_separators_stays_on_its_line(tmp_path: Path) -> None:
    path = HandMade(characters="\n ab\u0085é\u2028😀").save(tmp_path / "model.onnx")
    (line,) = run(path, "--json", "--seed", 1).stdout.decode().splitlines()
    assert json.loads(line)["text"] == generate(path, seed=1)


def test_interrupted_json_says_so(path: Path) -> None:
    command = [*COMMAND, path, "--length", 10**8, "--json", "--seed", 1]
    for seconds in (0.5, 2, 10):  # until the first characters have been made, which nobody sees
        with started(command, subprocess.PIPE) as process:
            time.sleep(seconds)
            process.send_signal(signal.SIGINT)
            out, messages = process.communicate(timeout=30)
        assert process.returncode == EXIT_INTERRUPTED
        assert messages == b"charrnn-sample: interrupted\n"
        if out:
            break
    record = json.loads(out)
    assert record["ended_by"] == "interruption"
    assert generate(path, length=2000, seed=1).startswith(record["text"][:2000])


# Several temperatures


def test_temperatures_one_under_the_other(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    flags = ("--prompt", "ab", "--length", 50, "--seed", 9)
    expected = "\n".join(
        f"--- temperature {t} ---\n{generate(path, 'ab', 50, temperature=t, seed=9)}\n" for t in (0.0, 0.5, 1.25)
    )
    assert output_of(capfd, path, *flags, "--temperatures", "0,.5,1.25") == expected


def test_temperatures_as_json(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = output_of(capfd, path, "--length", 30, "--seed", 9, "--temperatures", "0.5,2", "--num-samples", 2, "--json")
    records = [json.loads(line) for line in out.splitlines()]
    assert [(record["settings"]["temperature"], record["sample"]) for record in records] == [
        (0.5, 0),
        (0.5, 1),
        (2.0, 0),
        (2.0, 1),
    ]
    assert records[3]["text"] == generate_many(path, "", 30, num_samples=2, temperature=2, seed=9)[1]


def in_a_terminal(columns: int, *arguments: object) -> str:
    """What a terminal of that width receives."""
    terminal, its_end = pty.openpty()
    ioctl(its_end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in buffered().items() if name != "COLUMNS"}
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdout=its_end, stderr=subprocess.PIPE, env=environment
    ) as process:
        os.close(its_end)
        text = drain(terminal)
        assert process.wait(timeout=30) == 0
    os.close(terminal)
    return text.decode().replace("\r\n", "\n")


def test_temperatures_side_by_side_in_a_terminal(tmp_path: Path) -> None:
    path = HandMade(characters="abcdefgh").save(tmp_path / "model.onnx")  # no space, no newline: exact rows
    flags = (path, "--length", 50, "--seed", 9, "--temperatures", "0.5,1.5")
    left, right = (generate(path, "", 50, temperature=t, seed=9) for t in (0.5, 1.5))
    assert in_a_terminal(47, *flags) == (
        "temperature 0.5        │ temperature 1.5\n"
        f"{'─' * 22} │ {'─' * 22}\n"
        f"{left[:22]} │ {right[:22]}\n{left[22:44]} │ {right[22:44]}\n{left[44:]:22} │ {right[44:]}\n"
    )
    assert in_a_terminal(45, *flags).startswith("--- temperature 0.5 ---\n"), "too narrow for two"


# What is told


def test_quiet_tells_nothing_and_verbose_tells_of_model_and_speed(path: Path) -> None:
    assert run(path, "--quiet", "--prompt", "az", "--skip-unknown").stderr == b""
    result = run(path, "--verbose", "--seed", 1, "--length", 30)
    assert result.stdout.decode() == generate(path, length=30, seed=1) + "\n"
    lines = result.stderr.decode().splitlines()
    assert [line.split()[1] for line in lines] == ["model", "vocabulary", "normaliser:", "training:", "30"]
    assert "hidden_size 7" in lines[0]
    assert "14 characters: '\\n !abcdefghijk'" in lines[1]
    assert "test_loss_nats 1.5" in lines[3]
    assert "a second" in lines[4]


@pytest.mark.parametrize(("taken", "action"), [("choice/sums", ["--length", "30"]), ("outer/tokens", ["--score"])])
def test_verbose_says_why_a_step_is_a_call(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], taken: str, action: list[str]
) -> None:
    """A value in the file has a name that the Scan around it needs."""
    proto = HandMade().proto()
    for node in proto.graph.node:
        for names in (node.input, node.output):
            names[:] = [taken if name == "scores" else name for name in names]
    path, text = tmp_path / "model.onnx", tmp_path / "text.txt"
    path.write_bytes(proto.SerializeToString())
    text.write_text("abc" * 100)
    arguments = [str(path), *action, *([str(text)] if "--score" in action else [])]
    assert main([*arguments, "--verbose"]) == 0
    *_, speed, why = capfd.readouterr().err.splitlines()
    assert "a second" in speed
    assert "a call of onnxruntime for each character: no Scan of this file's graph: [ONNXRuntimeError]" in why
    assert main(arguments) == 0
    assert "Scan" not in capfd.readouterr().err


def test_a_prompt_that_never_ends(path: Path) -> None:
    result = run(path, "--prompt-file", "/dev/zero")
    assert result.returncode == EXIT_USER_ERROR
    assert b"prompt file /dev/zero has more than 67,108,864 bytes" in only_line(result.stderr)


def test_a_message_is_one_line_whatever_the_file_is_called(path: Path) -> None:
    result = run(path, "--prompt-file", "no\nsuch\rfile")
    assert b"no such file cannot be read" in only_line(result.stderr)


def test_the_length_of_a_text_does_not_change_how_it_begins(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lengths = np.random.default_rng(0).integers(1, 600, 5).tolist()
    texts = [output_of(capfd, path, "--seed", 2, "--length", length)[:-1] for length in sorted(lengths)]
    assert all(longer.startswith(shorter) for shorter, longer in itertools.pairwise(texts))
