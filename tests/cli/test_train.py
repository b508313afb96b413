"""charrnn-train as its users meet it: what it understands, what it leaves, and one line for every mistake."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from charrnn import OnnxModel, generate
from charrnn.cli.train import main, parse
from charrnn.errors import ConfigError
from charrnn.presets import PRESETS
from charrnn.runs.checkpoint import newest_first, read_checkpoint
from tests.conftest import ROOT, TIMEOUT_SECONDS, Finished, command_line

QUICK = ["--threads", "1", "--log.wandb", "disabled", "--log.sample-length", "0"]
Command = Callable[..., tuple[int, str, str]]
TOO_LONG = "a_prompt_where_a_path_was_wanted_" * 9


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Call `charrnn-train` in this process, in an empty directory: exit status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["charrnn-train", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capfd.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return call


def one_line(result: tuple[int, str, str]) -> str:
    """The message of a mistake: status 2, and exactly one line on stderr, which says who speaks."""
    status, _, stderr = result
    assert status == 2, stderr
    assert re.fullmatch(r"charrnn-train: error: [^\n]+\n", stderr), stderr
    return stderr.removeprefix("charrnn-train: error: ").rstrip("\n")


# What it understands


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "text"])
def test_a_preset_alone_is_that_preset(name: str) -> None:
    assert parse([name]) == replace(PRESETS[name](), given=())


def test_flags_override_a_preset() -> None:
    flags = "--epochs 3 --batch.mode windows --optimiser.learning-rate 1e-4 --text.normaliser lf nfc --resume must"
    config = parse(["alphabet", *flags.split(), "--run-dir", "runs/a b", "--log.sample-prompt=--x"])
    assert (config.epochs, config.batch.mode, config.optimiser.learning_rate) == (3, "windows", 1e-4)
    assert (config.text.normaliser, config.resume, config.run_dir) == (("lf", "nfc"), "must", "runs/a b")
    assert config.log.sample_prompt == "--x"
    assert config.model == PRESETS["alphabet"]().model


@pytest.mark.parametrize(
    "words", [["a.txt"], ["a.txt", "b.txt"], ["-"], ["hub:some/data"], ["*.md"], ["https://a.org/b"]]
)
def test_texts_mean_the_preset_text(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").touch()
    config = parse([*words, "--epochs", "2"])
    assert (config.preset, config.text.corpus, config.epochs) == ("text", tuple(words), 2)
    assert config.model == PRESETS["text"]().model


def test_a_preset_on_another_text(tmp_path: Path) -> None:
    config = parse(["war-and-peace", "novel.txt", "--epochs", "2"])
    assert (config.preset, config.text.corpus) == ("war-and-peace", ("novel.txt",))
    assert config.text.normaliser == ("notebook",)


def test_help_lists_presets(command: Command) -> None:
    for arguments in ([], ["--help"], ["-h"]):
        status, stdout, stderr = command(*arguments)
        assert (status, stderr) == (0, "")
        for name, make in PRESETS.items():
            assert f"  {name} " in stdout
            assert (make.__doc__ or "").strip() in stdout


def test_the_help_of_a_preset_has_every_flag_its_value_and_its_meaning(command: Command) -> None:
    status, stdout, stderr = command("alphabet", "--help")
    assert (status, stderr) == (0, "")
    words = " ".join(stdout.replace("│", " ").split())
    for flag in ("--run-dir", "--epochs", "--batch.size", "--text.corpus", "--model.hidden-size", "--log.wandb"):
        assert flag in words
    assert "Largest norm of the whole gradient; 0: no clipping." in words
    assert "(default: 400)" in words, "the preset's own number of epochs"
    assert "--preset" not in words


# What it leaves


def test_a_run_leaves_everything_that_is_promised(trained: Finished) -> None:
    names = {path.name for path in trained.run.iterdir()}
    assert names == {
        "config.json", "vocabulary.json", "metrics.jsonl", "samples.txt", "loss.png", "checkpoints", "model.onnx",
        "wandb", ".lock",
    }  # fmt: skip
    assert sorted(path.name for path in (trained.run / "checkpoints").iterdir()) == ["step-00000030", "step-00000060"]
    assert generate(trained.run, "abcdef", 26, temperature=0) == "abcdefghijklmnopqrstuvwxyzabcdef"
    summary = OnnxModel.load(trained.run).training
    (test,) = trained.records("test_loss_nats")
    assert (summary["step"], summary["preset"], summary["corpus"]) == (60, "alphabet", "alphabet")
    assert summary["test_loss_nats"] == test["test_loss_nats"]
    samples = "".join(f"=== step {r['step']} ===\n{r['sample']}\n\n" for r in trained.records("sample"))
    assert (trained.run / "samples.txt").read_text() == samples


def test_what_a_run_says(trained: Finished) -> None:
    lines = trained.stdout.splitlines()
    assert trained.stderr == "", "no warnings, and no progress bar where there is no terminal"
    start = r"text      alphabet: 2,600 characters, 26 distinct \(train 2,340, validation 130, test 130\); \w+ "
    assert re.match(start, lines[0])
    # native where this machine has AVX-512 and a compiler
    assert re.fullmatch(
        r"model     3,446 parameters, 1 x 30 tanh, "
        r"recurrence (native|fused)(, \d+\.\d x (native|fused))?( \(native: [^()]+\))?",
        lines[1],
    )
    assert (
        lines[2]
        == "training  60 steps of 8 x 50 characters (stream), 12 epochs; a short run: 6 steps of warm-up, not 10"
    )
    assert lines[3] == "hardware  1 process on cpu, 1 thread, fp32"
    assert lines[4] == f"run       {trained.run}"
    for step in (30, 60):
        line = rf"step {step}/60 \(epoch {step / 5:.2f}\)  validation \S+ nats, \S+ bpc, accuracy \d+\.\d\d%"
        assert any(re.fullmatch(line, said) for said in lines)
    assert "done      the best checkpoint is that of step 60" in lines
    assert f"  charrnn-sample {trained.run} --length 500" == lines[-2]


def test_the_second_command_that_it_tells_works(trained: Finished) -> None:
    words = trained.stdout.splitlines()[-1].split()
    assert words[:2] == ["charrnn-sample", str(trained.run)]
    result = subprocess.run(
        command_line("-m", "charrnn.cli.sample", *words[1:], "--length", 20),
        capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True,
    )  # fmt: skip
    assert len(result.stdout) == len("abcdefghijkl") + 20 + 1


def test_the_script_trains_a_text_from_standard_input(tmp_path: Path) -> None:
    """And `python -m charrnn.cli.train` is how the `trained` run was made."""
    flags = [*QUICK, "--max-steps", "3", "--batch.size", "4", "--batch.length", "16", "--model.hidden-size", "8"]
    result = subprocess.run(
        command_line("train.py", "-", "--run-dir", tmp_path / "run", *flags),
        cwd=ROOT, input=b"Ein Text, der von selbst kommt.\r\n" * 40, capture_output=True, timeout=TIMEOUT_SECONDS,
        check=False,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.decode().startswith("text      standard input: 1,320 characters, ")
    assert OnnxModel.load(tmp_path / "run").training["step"] == 3
    assert "\r" in OnnxModel.load(tmp_path / "run").vocabulary.characters


# What is told is no reason to end

TINY = ["--threads", 1, "--log.wandb", "disabled", "--max-steps", 1, "--evaluate-every", 1, "--log.sample-length", 9]


@pytest.mark.parametrize("place", ["/dev/full", "a broken pipe", "nowhere"])
def test_a_run_ends_as_ever_where_nobody_can_be_told(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = None if place == "nowhere" else open(writer if place == "a broken pipe" else place, "w")  # noqa: PTH123, SIM115
    monkeypatch.setattr(sys, "stdout", stream)
    status, _, stderr = command("alphabet", *TINY, "--run-dir", "run")
    if stream is not None:
        stream.close()
    told = "standard output cannot be written (No space left on device): the work goes on without it\n"
    assert (status, stderr) == (0, told if place == "/dev/full" else "")
    assert OnnxModel.load(tmp_path / "run").training["step"] == 1


def test_what_stdout_cannot_encode_is_escaped(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "größe").write_text("ÄÖÜß" * 400, encoding="utf-8")
    with (tmp_path / "told").open("w", encoding="ascii") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert command("größe", "--batch.size", 4, "--batch.length", 9, *TINY, "--run-dir", "rün")[0] == 0
    told = (tmp_path / "told").read_text(encoding="ascii")
    assert "text      gr\\xf6\\xdfe: 1,600 characters" in told
    assert re.search(r"\n    '(\\xc4|\\xd6|\\xdc|\\xdf){9}'\n", told), "the sample"
    assert "\n  charrnn-sample $'r\\303\\274n' --length 500\n" in told


def test_paths_that_are_not_utf8(command: Command, tmp_path: Path) -> None:
    """Nothing is left half made, and the same command goes on."""
    text, run = (os.fsdecode(name) for name in (b"caf\xe9.txt", b"run-\xe9"))
    (tmp_path / text).write_text("ÄÖÜß" * 400, encoding="utf-8")
    words = [text, "--batch.size", 4, "--batch.length", 9, *TINY, "--log.wandb", "auto", "--run-dir", run]
    for steps in (1, 2):
        status, stdout, stderr = command(*words, "--max-steps", steps)
        assert status == 0
        assert re.fullmatch(
            r"charrnn-train: W&B did not start \(.*\): training goes on without it; metrics.jsonl has every record\n",
            stderr,
        )
        assert "\n  charrnn-sample $'run-\\351' --length 500\n" in stdout
    description = json.loads((tmp_path / run / "config.json").read_bytes())
    assert description["config"]["text"]["corpus"] == [text]
    assert OnnxModel.load(tmp_path / run).training["corpus"] == r"caf\xe9.txt"


def test_a_terminal_is_not_commanded(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By no path and no error; the samples are shown as Python writes them."""
    master, slave = pty.openpty()
    name = "\x1b]0;title\x07run"
    (tmp_path / "text").write_text("a\x1b[2Jb" * 400)
    with open(slave, "w") as terminal:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setattr(sys, "stderr", terminal)
        assert command("./text", *TINY, "--batch.size", 4, "--batch.length", 9, "--run-dir", name)[0] == 0
        assert command("./text", "--run-dir", name, "--resume", "never")[0] == 2
    written = b""
    with suppress(OSError):  # the terminal's last user has gone
        while True:
            written += os.read(master, 65536)
    os.close(master)
    told = written.decode()
    assert "␛]0;title␇run/loss.png" in told
    assert "␛]0;title␇run: holds a run already" in told
    assert not {"\x1b]", "\x1b[2J", "\x07"} & {told[at : at + n] for at in range(len(told)) for n in (1, 2, 4)}


def test_a_file_called_as_a_preset_is_offered(command: Command, tmp_path: Path) -> None:
    (tmp_path / "alphabet").touch()
    status, _, stderr = command("alphabet", *TINY, "--log.sample-length", 0, "--run-dir", "run")
    assert (status, stderr) == (
        0, "charrnn-train: alphabet is the preset; what is called so here is ./alphabet\n",
    )  # fmt: skip


# Mistakes, before anything is made


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("alfabet", "'alfabet' is neither a preset nor a file: did you mean alphabet?"),
        ("war-and-piece --epochs 1", "'war-and-piece' is neither a preset nor a file: did you mean war-and-peace?"),
        ("novle.txt", "'novle.txt' is neither a preset nor a file: did you mean novel.txt?"),
        ("./novle.txt", "'./novle.txt' is neither a preset nor a file: did you mean novel.txt?"),
        ("xyzzy", "'xyzzy' is neither a preset nor a file: the presets are text, alphabet, "),
        ("--epochs 3 alphabet", "'--epochs' comes before a preset or a text: begin with one of text, alphabet, "),
        ("alphabet --epoch 3", "Unrecognized options: --epoch, 3; did you mean --epochs?"),
        ("alphabet --batchsize 3", "Unrecognized options: --batchsize, 3; did you mean --batch.size?"),
        (
            "alphabet --epochs 3 stray",
            "'stray' comes after a flag: texts come first, as in `charrnn-train novel.txt --",
        ),
        ("alphabet --epochs three", "Error parsing --epochs: invalid literal for int() with base 10: 'three'"),
        ("alphabet --epochs", "Missing value for argument '--epochs'"),
        ("alphabet --batch.mode strem", "invalid choice 'strem' for argument '--batch.mode'"),
        ("alphabet --epochs 0", "epochs is 0: it must be at least 1"),
        ("alphabet --epochs -1", "epochs is -1: it must be at least 1"),
        ("alphabet --batch.size -5", "batch.size is -5: it must be at least 1"),
        ("alphabet --optimiser.learning-rate -1e-3", "optimiser.learning_rate is -0.001: it must be a positive number"),
        ("alphabet --model.hidden-size 0", "model.hidden_size is 0: it must be at least 1"),
        ("alphabet --log.sample-temperature inf", "log.sample_temperature is inf: it must be a finite number"),
        ("alphabet --seed 99999999999999999999", "seed is 99999999999999999999: it must be below"),
        ("alphabet --checkpoint-every -1", "checkpoint_every is -1: it must be at least 0"),
        ("alphabet --checkpoint-minutes nan", "checkpoint_minutes is nan: it must be at least 0"),
        ("alphabet --process-timeout 0", "process_timeout is 0.0: it must be from 1 to 1000000 seconds"),
        ("alphabet --stop-signal KILL", "stop_signal is 'KILL': it must be one of ALRM, HUP, QUIT, USR1, USR2"),
        ("alphabet --resume", "Missing value for argument '--resume'"),
        ("alphabet --resume must", "--resume must needs --run-dir: name the directory of the run that is to go on"),
        ("alphabet --resume must --run-dir gone", "gone: holds no run (no config.json): start one with --resume auto"),
        ("alphabet --resume gone", "resume is 'gone': it must be auto, never, must, a run directory or one of its "),
        ("alphabet --resume nothing", "resume is 'nothing': it must be auto, never, must, a run directory or one of "),
        ("alphabet --init-from gone", "init_from is 'gone': it must be a run directory or one of its checkpoints"),
        ("alphabet gone.txt", "gone.txt: no such file or directory; "),
        ("empty.txt", "empty.txt: this text is empty"),
        ("latin.txt", "latin.txt"),
        ("nothing", "nothing: no text in this directory"),
        ("alphabet --batch.size 500", "the largest batch size that fits is 46"),
        ("alphabet --batch.length 5000", "the largest sequence length that fits is 2339, with batch size 1"),
        ("alphabet --batch.mode windows --batch.size 500", "the largest batch size that fits is 229"),
        ("alphabet --batch.accumulation 9", "batch.size is 8: it must be at least processes x accumulation, 1 x 9"),
        ("alphabet --log.sample-prompt aXb", "--log.sample-prompt 'aXb': the vocabulary lacks 'X' (U+0058), first at "),
        ("alphabet --log.project a/b", "log.project is 'a/b': W&B refuses it (Invalid project name 'a/b': "),
        ("--epochs 3 novel.txt", ", or with a text, as in `charrnn-train novel.txt --epochs`"),
        (
            "alphabet --epochs 3 novel.txt",
            "'novel.txt' comes after a flag: texts come first, as in `charrnn-train nove",
        ),
        ("novel.txt --text.normaliser lf latin.txt", "'latin.txt' comes after a flag: texts come first, as in "),
        ("text", "`charrnn-train novel.txt`; what is called text here is ./text"),
        # A text that is given for its name is not repeated whole.
        (f"{TOO_LONG}", f"{TOO_LONG[:100]}"),
        (f"alphabet {TOO_LONG}", ": cannot be read: File name too long"),
        (f"alphabet --run-dir {TOO_LONG}", f"{TOO_LONG}: cannot be looked at (File name too long): name another path"),
        (f"alphabet --resume {TOO_LONG}", f"{TOO_LONG}: cannot be looked at (File name too long): name another path"),
        (f"alphabet --init-from {TOO_LONG}", f"{TOO_LONG}: cannot be looked at (File name too long): name another"),
        ("alphabet --text.normaliser notebok", "unknown normaliser 'notebok'; did you mean 'notebook'?"),
        ("alphabet --text.encoding utf-9", "'utf-9' is no text encoding that Python knows"),
        ("alphabet --log.wandb online", "log.wandb is online, but there is no W&B login here"),
        ("alphabet --run-dir novel.txt", "novel.txt: exists and is not a run: name another --run-dir"),
        ("alphabet --run-dir .", ".: exists and is not a run: name another --run-dir"),
        ("alphabet --run-dir novel.txt/run", "novel.txt: is a file, so novel.txt/run cannot be made: name another"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    command: Command, tmp_path: Path, arguments: str, message: str
) -> None:
    (tmp_path / "novel.txt").write_text("It was a dark and stormy night. " * 100)
    (tmp_path / "empty.txt").touch()
    (tmp_path / "latin.txt").write_bytes("Käse ".encode("latin-1") * 1000)
    (tmp_path / "nothing").mkdir()
    (tmp_path / "text").mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert message in one_line(command(*arguments.split()))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="not here: a GPU has fp16")
def test_fp16_on_a_cpu(command: Command) -> None:
    assert "use --mixed-precision bf16 or no" in one_line(command("alphabet", "--mixed-precision", "fp16"))


def test_the_largest_batch_that_is_named_fits(tmp_path: Path, command: Command) -> None:
    """The run that shows it has the default directory, named after the preset."""
    message = one_line(command("alphabet", *QUICK, "--batch.size", 500))
    fits = re.search(r"the largest batch size that fits is (\d+)", message)
    assert fits
    too_many = int(fits[1]) + 1
    assert f"fits is {fits[1]}" in one_line(command("alphabet", *QUICK, "--batch.size", too_many))
    status, stdout, stderr = command("alphabet", *QUICK, "--batch.size", fits[1], "--max-steps", 1)
    assert (status, stderr) == (0, "")
    (run,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"alphabet-\d{8}-\d{6}", run.name)
    assert f"run       runs/{run.name}\n" in stdout


# Mistakes about a run that is there


@pytest.fixture
def copy(trained: Finished, tmp_path: Path) -> Path:
    """The trained run, to be spoilt."""
    import shutil

    return shutil.copytree(trained.run, tmp_path / "copy", ignore=shutil.ignore_patterns("wandb"))


def contents(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--resume never", ": holds a run already: give --resume auto to continue it, or name another --run-dir"),
        ("--seed 5", ": holds another run (seed 0 -> 5): give the same settings, or another --run-dir"),
        ("--resume must --model.hidden-size 31", ": holds another run (model.hidden_size 30 -> 31)"),
    ],
)
def test_another_run_s_directory(command: Command, copy: Path, flags: str, message: str) -> None:
    before = contents(copy)
    assert f"{copy}{message}" in one_line(command("alphabet", "--run-dir", copy, *flags.split()))
    assert contents(copy) == before


def test_another_text_is_no_resumption(command: Command, copy: Path, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("zyxwvutsrqponmlkjihgfedcba" * 100)
    before = contents(copy)
    message = one_line(command("alphabet", "other.txt", "--run-dir", copy, "--text.encoding", "utf-8"))
    assert f"other.txt: is not the text that {copy} was trained on" in message
    assert contents(copy) == before


SAME = [*QUICK, "--max-steps", "60", "--evaluate-every", "30", "--log.every", "7"]


def spoil(checkpoint: Path) -> Path:
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    return path


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_serves(command: Command, copy: Path) -> None:
    spoilt = spoil(copy / "checkpoints" / "step-00000060")
    status, stdout, stderr = command("alphabet", "--run-dir", copy, *SAME)
    assert status == 0
    assert re.fullmatch(rf"charrnn-train: {spoilt}: [^\n]*use another checkpoint \(it is passed over\)\n", stderr)
    assert (
        f"run       {copy}, resumed at step 30; log.sample_length 20 -> 0, log.wandb 'offline' -> 'disabled'\n"
        in stdout
    )
    assert read_checkpoint(copy / "checkpoints" / "step-00000060").progress.step == 60, "it was made anew"


def test_where_no_checkpoint_is_whole_nothing_is_begun_anew(command: Command, copy: Path) -> None:
    paths = newest_first(copy / "checkpoints")
    spoilt = [spoil(path) for path in paths]
    before = contents(copy)
    status, _, stderr = command("alphabet", "--run-dir", copy, *SAME)
    *passed_over, error = stderr.splitlines()
    assert status == 2
    assert [line.split(": ")[1] for line in passed_over] == [str(path) for path in spoilt]
    assert error.startswith(f"charrnn-train: error: {spoilt[-1]}: ")
    assert error.endswith("but there is no other: restore one from a copy, or start another run")
    assert contents(copy) == before


@pytest.mark.parametrize("how", [["--run-dir", "{}"], ["--run-dir", "{}", "--resume", "must"], ["--resume", "{}"]])
def test_resuming_a_finished_run_ends_it_again(command: Command, copy: Path, how: list[str]) -> None:
    """Nothing is left to train; the results are the same."""
    before = contents(copy)
    status, stdout, stderr = command("alphabet", *(word.format(copy) for word in how), *SAME)
    assert (status, stderr) == (0, "")
    assert f"run       {copy}, resumed at step 60" in stdout
    after = contents(copy)
    for name in ("model.onnx", "metrics.jsonl", "vocabulary.json"):
        assert after[name] == before[name]
    assert json.loads(after["config.json"])["id"] == json.loads(before["config.json"])["id"]


def test_a_checkpoint_that_is_named_must_be_whole(command: Command, copy: Path) -> None:
    path = copy / "checkpoints" / "step-00000030"
    spoil(path)
    before = contents(copy)
    status, _, stderr = command("alphabet", "--resume", path, *SAME)
    assert status == 2
    assert stderr.splitlines()[-1].startswith(f"charrnn-train: error: {path}/model.safetensors: ")
    assert contents(copy) == before, "the other one is still there"


# From another run's weights


def test_a_run_from_another_s_weights(command: Command, trained: Finished, tmp_path: Path) -> None:
    """What is copied is tested in test_origin.py; a run that has begun so goes on like any other."""
    (tmp_path / "new.txt").write_text("abcxyz!" * 400)
    words = ["alphabet", "new.txt", *QUICK, "--run-dir", "run", "--init-from", trained.run]
    status, stdout, stderr = command(*words, "--max-steps", 2)
    assert (status, stderr) == (0, "")
    known = f"{trained.run}, step 60: 6 of 7 characters known, 85.71% of the text; new: '!' 400"
    assert f"\nweights   {known}\ntraining  2 steps" in stdout
    status, stdout, stderr = command(*words, "--max-steps", 3)
    assert (status, stderr) == (0, "")
    assert "weights" not in stdout
    assert "run       run, resumed at step 2; max_steps 2 -> 3\n" in stdout


def test_a_run_from_weights_of_other_sizes_is_not_begun(command: Command, trained: Finished, tmp_path: Path) -> None:
    flags = ["--init-from", trained.run, "--model.hidden-size", 31]
    message = one_line(command("alphabet", *QUICK, "--run-dir", "run", *flags))
    assert message == (
        f"{trained.run}: is a model of other sizes: "
        "give --model.embedding-size 30 --model.hidden-size 30 --model.num-layers 1"
    )
    assert not (tmp_path / "run").exists()


# Training that goes wrong


@pytest.mark.parametrize(
    ("rate", "more", "what", "kept"),
    [
        # Nearly the largest float32, and a tenth of it in the first step of the warm-up: the second's loss is infinite.
        (
            "3e38",
            "--optimiser.warmup-steps 10 --text.validation-fraction 0 --evaluate-every 1",
            "the loss is nan at step 2",
            1,
        ),
        # Beyond float32: the first step spoils the parameters, before any loss shows it.
        (
            "1e39",
            "--text.validation-fraction 0 --evaluate-every 1",
            "a parameter is no longer a number after step 1",
            None,
        ),
        ("1e39", "--evaluate-every 1", "the loss is nan at step 1", None),
        ("1e39", "--log.every 3", "the loss is nan at step 3", None),
    ],
)
def test_a_loss_that_is_no_number_stops_training(
    command: Command, tmp_path: Path, rate: str, more: str, what: str, kept: int | None
) -> None:
    settings = ["--optimiser.learning-rate", rate, "--optimiser.clip-norm", 0, "--optimiser.warmup-steps", 0]
    message = one_line(command("alphabet", *QUICK, "--run-dir", "run", *settings, *more.split()))
    good = next(iter(newest_first(tmp_path / "run" / "checkpoints")), None)
    assert good == (tmp_path / "run" / "checkpoints" / f"step-{kept:08d}" if kept else None)
    where = (
        f"the last good checkpoint is {good and good.relative_to(tmp_path)}" if kept else "there is no checkpoint yet"
    )
    assert message == (
        f"{what}, so training stopped; {where}: start another run with a lower "
        f"--optimiser.learning-rate (it was {float(rate)}) or --optimiser.clip-norm"
    )
    if good:
        assert all(bool(value.isfinite().all()) for value in read_checkpoint(good).model.values())


def test_parse_raises_instead_of_exiting() -> None:
    with pytest.raises(ConfigError, match="Unrecognized options: --nonsense"):
        parse(["alphabet", "--nonsense"])
