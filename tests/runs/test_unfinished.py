"""Without --run-dir the same command goes on with the run that it left unfinished, and with no other."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from charrnn.runs.checkpoint import newest_first
from charrnn.runs.directory import RunDirectory

WORDS = "text.txt --max-steps 12 --evaluate-every 6 --batch.size 2 --batch.length 9 --model.hidden-size 8 --threads 1"
WORDS += " --model.cell tanh --mixed-precision no --log.wandb disabled --log.sample-length 5 --model.recurrence fused"
Starts = Callable[..., str]


@pytest.fixture
def starts(
    trains: Callable[..., int],
    ends_at: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Starts:
    """`starts(*flags, stop=7)` trains, is told to stop after 7 steps, and returns what it says of its directory."""
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("what was begun is to be done. " * 40)

    def call(*flags: object, stop: int = 0) -> str:
        if stop:
            ends_at(stop, signal.SIGTERM, *WORDS.split(), *flags)
        else:
            assert trains(*WORDS.split(), *flags) == 0
        return capsys.readouterr().out.split("\nrun       ")[1].partition("\n")[0]

    return call


def newest_parameters(run: Path) -> bytes:
    return (newest_first(run / "checkpoints")[0] / "model.safetensors").read_bytes()


def test_the_same_command_goes_on_until_the_run_is_done(starts: Starts) -> None:
    first = starts(stop=4)
    assert starts(stop=9) == f"{first}, resumed at step 4"
    assert starts() == f"{first}, resumed at step 9"
    another = starts()
    assert another != first, "the first is at its end"
    assert "resumed" not in another
    assert newest_parameters(Path(first)) == newest_parameters(Path(another))


@pytest.mark.parametrize(
    "flags", [["--seed", 1], ["--max-steps", 13], ["--resume", "never"], ["--run-dir", "runs/mine"], ["--threads", 2]]
)
def test_another_command_begins_anew(starts: Starts, flags: list[object]) -> None:
    first, second = starts(stop=4), starts(*flags, stop=5)
    assert "resumed" not in second
    assert second != first
    expected = f"{second}, resumed at step 5" if flags[0] == "--resume" else f"{first}, resumed at step 4"
    assert starts() == expected


def test_another_text_begins_anew(starts: Starts) -> None:
    """By its content, not by its name."""
    first, text = starts(stop=4), Path("text.txt").read_text()
    Path("text.txt").write_text(text.replace("done", "made"))
    assert "resumed" not in starts(stop=3)
    Path("text.txt").write_text(text)
    assert starts(stop=5) == f"{first}, resumed at step 4"


def test_what_another_process_trains_is_left_to_it(starts: Starts) -> None:
    first = starts(stop=4)
    directory = RunDirectory(Path(first))
    directory.lock()
    second = starts(stop=5)
    assert "resumed" not in second
    directory.unlock()
    assert starts(stop=6) == f"{second}, resumed at step 5", "of two the newest"


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", None])
def test_what_is_damaged_is_passed_over(starts: Starts, content: bytes | None) -> None:
    """None: a directory that was made, and nothing else."""
    first, second = Path(starts(stop=4)), Path("runs/text-99991231-235959")
    shutil.copytree(first, second)
    if content is None:
        (second / "config.json").unlink()
    else:
        (second / "config.json").write_bytes(content)
    assert starts(stop=6) == f"{first}, resumed at step 4"
