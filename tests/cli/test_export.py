"""charrnn-export writes the model of a run's checkpoint, or says in one line why not."""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from charrnn import OnnxModel
from charrnn.cli.export import main
from charrnn.errors import CorpusError
from charrnn.runs.checkpoint import read_checkpoint
from charrnn.runs.directory import RunDirectory
from charrnn.training.loss_change import measure_loss_change
from tests.conftest import Finished

Command = Callable[..., tuple[int, str, str]]
TOO_LONG = "a_prompt_where_a_path_was_wanted_" * 9


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Call `charrnn-export` in this process: exit status, stdout, stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["charrnn-export", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capfd.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return call


@pytest.fixture
def run(trained: Finished, tmp_path: Path) -> Path:
    """The trained run, to be exported from or spoilt; without its model."""
    path = shutil.copytree(trained.run, tmp_path / "run", ignore=shutil.ignore_patterns("wandb"))
    (path / "model.onnx").rename(tmp_path / "made-by-training.onnx")
    return path


def one_line(result: tuple[int, str, str]) -> str:
    """The message of a mistake: status 2, nothing on stdout, exactly one line on stderr, which says who speaks."""
    status, stdout, stderr = result
    assert (status, stdout) == (2, "")
    assert re.fullmatch(r"charrnn-export: error: [^\n]+\n", stderr), stderr
    return stderr.removeprefix("charrnn-export: error: ").rstrip("\n")


def test_the_best_checkpoint_gives_the_file_that_training_made(command: Command, run: Path) -> None:
    status, stdout, stderr = command(run)
    assert (status, stderr) == (0, "")
    size_bytes = (run / "model.onnx").stat().st_size
    assert stdout == f"{run}/model.onnx: {size_bytes / 1e3:.0f} KB, from step 60, equal to torch within 1e-5\n"
    assert (run / "model.onnx").read_bytes() == (run.parent / "made-by-training.onnx").read_bytes()


def test_a_full_stdout_is_no_failure(command: Command, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", full)
        status, _, stderr = command(run, "--output", run / os.fsdecode(b"caf\xe9.onnx"))
    told = "standard output cannot be written (No space left on device): the work goes on without it\n"
    assert (status, stderr) == (0, told)
    assert OnnxModel.load(run / os.fsdecode(b"caf\xe9.onnx")).training["step"] == 60


@pytest.mark.parametrize(("checkpoint", "step"), [("latest", 60), ("step-00000030", 30)])
def test_another_checkpoint_and_another_place(command: Command, run: Path, checkpoint: str, step: int) -> None:
    output = run.parent / "new" / "other.onnx"
    status, stdout, stderr = command(run, "--checkpoint", checkpoint, "--output", output)
    assert (status, stderr) == (0, "")
    assert stdout.startswith(f"{output}: ")
    training = OnnxModel.load(output).training
    assert training["step"] == step
    assert training["characters_seen"] == 400 * step
    assert (training["test_loss_nats"] is None) == (step != 60), "only the best was scored on the test split"
    assert not (run / "model.onnx").exists()


SCORED = re.compile(r"validation loss (\d+\.\d{4}) nats, ([+-]\d\.\d{4}) by (\w+) \(([\d,]+) characters\)")


@pytest.mark.parametrize(
    ("flags", "name"),
    [(["--quantize", "int8"], "int8"), (["--quantize", "int4"], "int4"), (["--float16"], "float16")],
)
def test_fewer_bytes_and_what_they_cost(command: Command, run: Path, flags: list[str], name: str) -> None:
    status, stdout, stderr = command(run, *flags)
    assert status == 0
    file = run / f"model-{name}.onnx"
    assert stdout.startswith(f"{file}: {file.stat().st_size / 1e3:.0f} KB, from step 60; ")
    loss, change, by, characters = re.search(SCORED, stdout).groups()  # type: ignore[union-attr]
    assert by == name
    recorded = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (validation,) = [r["validation_loss_nats"] for r in recorded if r["step"] == 60 and "validation_loss_nats" in r]
    # The recorded loss is that of every character of the split; the first one is not scored here. Untrained characters
    # cost up to 3 nats and there are some hundred, so one less moves the mean by 0.03 at most.
    assert float(loss) - float(change) == pytest.approx(validation, abs=0.03)
    begin, end = json.loads((run / "config.json").read_text())["text"]["splits"]["validation"]
    assert int(characters.replace(",", "")) == end - begin - 1
    assert (stderr != "") == (name == "int8" and float(change) > 0.001)
    model = OnnxModel.load(file)
    assert model.training["weights"] == name
    whole = (run.parent / "made-by-training.onnx").stat().st_size
    assert file.stat().st_size < whole
    assert not (run / "model.onnx").exists(), "the whole model keeps its name"


def test_int8_that_costs_more_than_it_should_is_said(
    command: Command, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charrnn.cli.export.INT8_COSTS_NATS", -1.0)
    status, stdout, stderr = command(run, "--quantize", "int8")
    assert (status, stderr) == (
        0,
        "charrnn-export: int8 costs this model more than -1.0 nats: float16 or float32 may be the better choice\n",
    )
    assert re.search(SCORED, stdout)


def other_text(run: Path, change: dict[str, object]) -> None:
    path = run / "config.json"
    description = json.loads(path.read_text())
    description["text"] |= change
    path.write_text(json.dumps(description))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "0" * 64}, "alphabet: is not in the cache .*/cache any more"),
        ({"splits": {"validation": [9, 9]}}, "run: has no validation split"),
        ({"splits": {}}, "config.json: does not say where its validation split lies"),
        ({"splits": {"validation": [5, 10**9]}}, "config.json: does not say where its validation split lies"),
    ],
)
def test_without_the_text_the_cost_cannot_be_measured(run: Path, change: dict[str, object], message: str) -> None:
    other_text(run, change)
    checkpoint = read_checkpoint(run / "checkpoints" / "step-00000060")
    with pytest.raises(CorpusError, match=f"{message}$") as caught:
        measure_loss_change(RunDirectory(run), checkpoint, run.parent / "made-by-training.onnx")
    assert len(str(caught.value).splitlines()) == 1


def test_a_cost_that_cannot_be_measured_is_told_in_logits(command: Command, run: Path) -> None:
    other_text(run, {"splits": {}})
    status, stdout, stderr = command(run, "--quantize", "int8")
    assert status == 0
    message = "config.json: does not say where its validation split lies"
    assert re.fullmatch(f"charrnn-export: the loss is not measured: [^\n]*{message}\n", stderr)
    assert re.search(r"; logits within \d\.\de-0\d of what torch has with the same int8 weights\n$", stdout)
    assert (run / "model-int8.onnx").exists()


def test_without_a_cache_directory_too(command: Command, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CHARRNN_CACHE", "HOME"):
        monkeypatch.delenv(name)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    status, stdout, stderr = command(run, "--quantize", "int8")
    assert (status, stderr) == (
        0,
        "charrnn-export: the loss is not measured: there is no home directory for the cache: "
        "set CHARRNN_CACHE to a directory\n",
    )
    assert "; logits within " in stdout


def test_a_run_from_a_gpu_is_scored_here(command: Command, run: Path) -> None:
    """Its backend is not on this machine; the model is the same."""
    config = json.loads((run / "config.json").read_text())
    config["config"]["model"]["recurrence"] = "cudnn"
    (run / "config.json").write_text(json.dumps(config))
    status, stdout, _ = command(run, "--quantize", "int8")
    assert status == 0
    assert SCORED.search(stdout)


def test_an_opset_for_an_old_runtime(command: Command, run: Path) -> None:
    assert command(run, "--opset", "13")[0] == 0
    (standard,) = onnx.load(run / "model.onnx").opset_import
    assert standard.version == 13


def test_help(command: Command) -> None:
    status, stdout, stderr = command("--help")
    assert (status, stderr) == (0, "")
    assert "--checkpoint" in stdout
    assert "best, latest, or the name of a checkpoint in the run" in " ".join(stdout.replace("│", " ").split())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--chekpoint", "best"], "Unrecognized options: --chekpoint, best; did you mean --checkpoint?"),
        (["--checkpoint", "step-7"], "has no checkpoint 'step-7' (it has: step-00000030, step-00000060)"),
        (["--quantize", "int8", "--float16"], "--float16 and --quantize int8 exclude each other: choose one"),
        (["--quantize", "int3"], "int3"),
        (["--opset", "12"], "opset is 12: it must be from 13 to 24 (default 18)"),
        (["--checkpoint", TOO_LONG], f"checkpoints/{TOO_LONG}: cannot be looked at (File name too long): name another"),
        (["--output", TOO_LONG], f"{TOO_LONG}: cannot be written (File name too long)"),
        (["--output", "a\0b"], "'a\\x00b' has a NUL character: give it without"),
        (["--output", "/dev/null/below/x.onnx"], "/dev/null/below/x.onnx: cannot be written (Not a directory)"),
    ],
)
def test_mistakes_in_flags(command: Command, run: Path, flags: list[str], message: str) -> None:
    assert message in one_line(command(run, *flags))
    assert not (run / "model.onnx").exists()


def test_no_run_at_all(command: Command, tmp_path: Path) -> None:
    for path in (tmp_path / "gone", tmp_path):
        assert f"{path}: has no checkpoint 'best' (it has: none): name a run directory" in one_line(command(path))
    assert "run" in one_line(command()).lower()
    assert f"{TOO_LONG}: cannot be looked at (File name too long): name another path" in one_line(command(TOO_LONG))
    assert not list(tmp_path.iterdir())


def vocabulary_without(run: Path, characters: int) -> None:
    path = run / "vocabulary.json"
    both = json.loads(path.read_text())
    both["vocabulary"]["characters"] = both["vocabulary"]["characters"][characters:]
    path.write_text(json.dumps(both))


def spoil_model(run: Path, step: int) -> None:
    path = run / "checkpoints" / f"step-{step:08d}" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def other_architecture(run: Path, change: dict[str, object]) -> None:
    path = run / "config.json"
    description = json.loads(path.read_text())
    description["config"]["model"] |= change
    path.write_text(json.dumps(description))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: vocabulary_without(run, 1), "vocabulary.json: has 25 characters, the model 26: restore the run's"),
        (lambda run: vocabulary_without(run, 26), "vocabulary.json: cannot be read (a vocabulary needs at least one"),
        (lambda run: (run / "vocabulary.json").unlink(), "vocabulary.json: cannot be read"),
        (lambda run: (run / "config.json").unlink(), "run: holds no run (no config.json)"),
        (lambda run: (run / "config.json").write_text("{}"), "config.json: is not a charrnn run's"),
        (
            lambda run: other_architecture(run, {"hidden_size": 31}),
            "config.json: does not describe the model of step 60: ",
        ),
        (
            lambda run: other_architecture(run, {"num_layers": 2}),
            "config.json: does not describe the model of step 60: ",
        ),
        (
            lambda run: other_architecture(run, {"hidden_size": "x"}),
            "config.json: does not describe the model of step 60: ",
        ),
        (lambda run: other_architecture(run, {"new": 1}), "config.json: does not describe the model of step 60: "),
        (lambda run: other_architecture(run, {"hidden_size": 10**30}), "config.json: does not describe the model of"),
        (lambda run: shutil.rmtree(run / "checkpoints"), "run: has no checkpoint 'best' (it has: none)"),
    ],
)
def test_a_run_that_is_not_whole(command: Command, run: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(run)
    assert message in one_line(command(run))
    assert not (run / "model.onnx").exists()


def test_a_damaged_best_checkpoint_is_passed_over_unless_it_is_the_last(command: Command, run: Path) -> None:
    spoil_model(run, 60)
    status, stdout, stderr = command(run)
    assert status == 0
    assert re.fullmatch(
        r"charrnn-export: [^\n]*/step-00000060/model.safetensors: does not match its checksum[^\n]*\n", stderr
    )
    assert ", from step 30, " in stdout
    (run / "model.onnx").unlink()
    message = "step-00000060/model.safetensors: does not match its checksum: use another checkpoint"
    assert one_line(command(run, "--checkpoint", "step-00000060")).endswith(message)
    spoil_model(run, 30)
    status, stdout, stderr = command(run)
    assert (status, stdout) == (2, "")
    assert [line.rpartition(": ")[2] for line in stderr.splitlines()] == [
        "use another checkpoint (it is passed over)",
        "use another checkpoint (it is passed over)",
        "restore one from a copy, or start another run",
    ]
    assert not (run / "model.onnx").exists()


def test_memory_that_is_not_there_is_one_line(command: Command, run: Path) -> None:
    """torch raises a RuntimeError for it. The config asks for a matrix of 4 TB."""
    path = run / "config.json"
    description = json.loads(path.read_text())
    description["config"]["model"]["hidden_size"] = 2**20
    path.write_text(json.dumps(description))
    message = one_line(command(run))
    assert message.startswith(f"{run}: out of memory (")
    assert message.endswith("): free some, or export it where there is more")
    assert not (run / "model.onnx").exists()
