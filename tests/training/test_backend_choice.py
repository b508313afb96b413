"""A run measures which backend is the fastest, records it, and takes the same when it goes on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charrnn.errors import ConfigError
from charrnn.training import backend_choice

FLAGS = ["alphabet", "--log.wandb", "disabled", "--log.sample-length", "0", "--resume"]
Said = Callable[..., str]


@pytest.fixture
def said(trains: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    """What a training command's summary says of the recurrence."""

    def run(*words: object) -> str:
        assert trains(*FLAGS, *words, "--run-dir", tmp_path / "run") == 0
        return capsys.readouterr().out.partition("recurrence ")[2].partition("\n")[0]

    return run


def description(path: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((path / "run" / "config.json").read_text())
    return result


def test_what_is_measured_is_recorded_and_kept(said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = said("never", "--max-steps", 2)
    taken = first.partition(",")[0].partition(" ")[0]
    assert description(tmp_path)["recurrence"] == taken
    assert description(tmp_path)["config"]["model"]["recurrence"] == "auto"

    def measure(*_: object, **__: object) -> None:
        pytest.fail("a run that goes on measures nothing")

    monkeypatch.setattr(backend_choice, "measure", measure)
    assert said("must", "--max-steps", 3) == f"{taken}, as before"
    assert said("must", "--max-steps", 4, "--model.recurrence", "fused") == "fused"
    assert said("must", "--max-steps", 5, "--model.recurrence", "auto") == "fused, as before"


@pytest.mark.parametrize(
    ("was", "why"), [("cudnn", "it runs on cuda, not on cpu"), ("of tomorrow", "there is none of that name")]
)
def test_on_another_machine_it_is_measured_anew(said: Said, tmp_path: Path, was: str, why: str) -> None:
    said("never", "--max-steps", 2)
    path = tmp_path / "run" / "config.json"
    path.write_text(json.dumps(description(tmp_path) | {"recurrence": was}))
    now = said("must", "--max-steps", 3)
    assert now.endswith(f"; it was {was}: {why}")
    assert description(tmp_path)["recurrence"] in ("native", "fused")


def test_a_run_of_an_earlier_version_has_no_record(said: Said, tmp_path: Path) -> None:
    said("never", "--max-steps", 2)
    before = description(tmp_path)
    del before["recurrence"]
    (tmp_path / "run" / "config.json").write_text(json.dumps(before))
    assert "it was" not in said("must", "--max-steps", 3)
    assert description(tmp_path)["recurrence"] in ("native", "fused")


def test_one_that_was_asked_for_by_name_runs_or_the_run_ends(said: Said, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.recurrence is cudnn: it runs on cuda, not on cpu: give "):
        said("never", "--max-steps", 2, "--model.recurrence", "cudnn")
    assert not (tmp_path / "run").exists()
