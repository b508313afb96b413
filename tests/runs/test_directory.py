"""The run directory belongs to one run: it is claimed once, resumed with the same settings, and never mixed up."""

import json
import os
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example as such_as
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config import TrainConfig
from charrnn.errors import CharRNNError, ConfigError, RunError, VocabularyError
from charrnn.presets import PRESETS
from charrnn.runs.directory import Claim, RunDirectory, claim, precision_of
from charrnn.text.normaliser import Normaliser
from charrnn.text.vocabulary import Vocabulary
from tests.anything import JSON, one_line

CONFIG = PRESETS["alphabet"]()
VOCABULARY, NORMALISER = Vocabulary('\n "\\aé日😀'), Normaliser.named("notebook-spaced", "nfc")
TEXT = {"sha256": "0123", "description": "alphabet"}


def given_as(resume: str = "auto", **changes: Any) -> TrainConfig:
    return replace(CONFIG, resume=resume, **changes)


def make(path: Path) -> RunDirectory:
    directory = RunDirectory(path)
    directory.claim_new()
    directory.describe(CONFIG, TEXT, VOCABULARY, NORMALISER, recurrence="fused")
    directory.unlock()
    return directory


@pytest.fixture
def made(tmp_path: Path) -> RunDirectory:
    return make(tmp_path / "runs" / "one")


def test_what_was_written_is_read(made: RunDirectory) -> None:
    assert made.read_vocabulary() == (VOCABULARY, NORMALISER)
    description = made.read_description()
    assert description["config"]["optimiser"]["learning_rate"] == 2e-2
    assert description["text"] == TEXT
    assert description["environment"].keys() >= {"python", "torch", "numpy"}
    assert {path.name for path in made.path.iterdir()} - {".lock"} == {"config.json", "vocabulary.json"}


def test_a_run_keeps_its_name_through_all_resumptions(made: RunDirectory, tmp_path: Path) -> None:
    name = made.identity()
    assert re.fullmatch(r"[0-9a-f]{8}", name)
    made.describe(given_as(epochs=7), TEXT, VOCABULARY, NORMALISER, recurrence="fused")
    made.path.rename(tmp_path / "moved")
    assert RunDirectory(tmp_path / "moved").identity() == name
    assert make(tmp_path / "two").identity() != name


# A new run


@pytest.mark.parametrize("resume", ["auto", "never"])
@pytest.mark.parametrize("kind", ["missing", "empty", "locked once"])
def test_a_new_run_wants_a_directory_of_its_own(tmp_path: Path, kind: str, resume: str) -> None:
    path = tmp_path / "runs" / "run"
    if kind != "missing":
        path.mkdir(parents=True)
    if kind == "locked once":
        directory = RunDirectory(path)
        directory.lock()
        directory.unlock()
    chosen = claim(given_as(resume, run_dir=str(path)))
    assert (chosen.directory.path, chosen.resumes, chosen.checkpoint) == (path, False, None)
    assert kind != "missing" or not path.parent.exists(), "claiming makes nothing"
    chosen.directory.claim_new()


def test_a_process_that_was_killed_while_it_made_a_run_is_in_nobody_s_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each of the two files has its name: what is left is a free directory, or a run that goes on."""
    rename, resumes = Path.replace, []
    for renames in range(3):
        run, renamed = tmp_path / f"run-{renames}", 0

        def until_killed(path: Path, target: Path, most: int = renames) -> Path:
            nonlocal renamed
            if renamed == most:
                raise KeyboardInterrupt
            renamed += 1
            return rename(path, target)

        with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
            patch.setattr(Path, "replace", until_killed)
            patch.setattr(Path, "unlink", lambda path, missing_ok: None)  # nor does a killed one clean up
            make(run)
        assert any(path.name.startswith(".") and path.name != ".lock" for path in run.iterdir()) == (renames < 2)
        resumes.append(RunDirectory(run).resumes(CONFIG))
        made = RunDirectory(run)
        made.lock()
        made.describe(CONFIG, TEXT, VOCABULARY, NORMALISER, recurrence="fused")
        assert made.read_vocabulary() == (VOCABULARY, NORMALISER)
        made.unlock()
    assert resumes == [False, True, True]


def test_a_directory_that_holds_a_run_is_not_overwritten(made: RunDirectory) -> None:
    with pytest.raises(RunError, match=re.escape(f"{made.path}: holds a run already: give --resume auto to continue")):
        claim(given_as("never", run_dir=str(made.path)))


@pytest.mark.parametrize("kind", ["file", "something inside"])
def test_what_is_no_run_is_not_touched(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "thesis"
    if kind == "file":
        path.write_text("chapter 1")
    else:
        path.mkdir()
        (path / "chapter1.txt").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RunError, match=r"thesis: exists and is not a run: name another --run-dir"):
        claim(given_as(run_dir=str(path)))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_path_below_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"file: is a file, so .*/file/a/run cannot be made: name another --run-dir"):
        claim(given_as(run_dir=str(tmp_path / "file" / "a" / "run")))


def test_the_directory_has_a_name_if_none_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert re.fullmatch(r"runs/alphabet-\d{8}-\d{6}", str(claim(CONFIG).directory.path))
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "2")
    with pytest.raises(ConfigError, match="--max_restarts needs --run-dir"):
        claim(CONFIG)
    assert not list(tmp_path.iterdir())


# One process at a time


def test_a_run_that_goes_on_is_locked_until_it_ends(made: RunDirectory) -> None:
    first = claim(given_as(run_dir=str(made.path)))
    with pytest.raises(RunError, match=re.escape(f"{made.path}: another process is training there: wait for its end")):
        claim(given_as(run_dir=str(made.path)))
    first.directory.unlock()
    second = claim(given_as(run_dir=str(made.path)))
    second.directory.unlock()


def test_of_two_that_begin_the_same_run_one_is_faster(tmp_path: Path) -> None:
    """Both have found the directory free; the text took the second one longer."""
    config = given_as(run_dir=str(tmp_path / "run"))
    first, second = claim(config), claim(config)
    first.directory.claim_new()
    with pytest.raises(RunError, match="run: another process is training there"):
        second.directory.claim_new()
    first.directory.describe(CONFIG, TEXT, VOCABULARY, NORMALISER, recurrence="fused")
    first.directory.unlock()
    with pytest.raises(RunError, match="run: another process has just made a run there: name another --run-dir"):
        second.directory.claim_new()


def test_a_claim_goes_to_another_process_as_words(tmp_path: Path) -> None:
    for resumes, checkpoint in [(True, tmp_path / "step-1"), (True, None), (False, None)]:
        mine = Claim(RunDirectory(tmp_path / "a b"), resumes, checkpoint, {"behaviour": 7})
        other = Claim.of(json.loads(json.dumps(mine.words())))
        assert (other.directory.path, other.resumes, other.checkpoint) == (tmp_path / "a b", resumes, checkpoint)
        assert other.settled == {"behaviour": 7}


# The run that is here


def checkpoint_of(run: RunDirectory) -> Path:
    path = run.checkpoints / "step-00000030"
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.mark.parametrize("resume", ["auto", "must"])
def test_the_same_settings_go_on(made: RunDirectory, resume: str) -> None:
    chosen = claim(given_as(resume, run_dir=str(made.path)))
    assert (chosen.directory.path, chosen.resumes, chosen.checkpoint) == (made.path, True, None)
    chosen.directory.unlock()


@pytest.mark.parametrize("place", [".", "..", "checkpoints"])
def test_a_run_or_its_checkpoint_may_be_named_from_anywhere(
    made: RunDirectory, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    checkpoint = checkpoint_of(made)
    monkeypatch.chdir(made.path / place)
    for named in (made.path, Path(os.path.relpath(made.path))):
        chosen = claim(given_as(str(named)))
        chosen.directory.unlock()
        assert (chosen.directory.path.resolve(), chosen.resumes, chosen.checkpoint) == (made.path, True, None)
    for named in (checkpoint, Path(os.path.relpath(checkpoint))):
        chosen = claim(given_as(str(named)))
        chosen.directory.unlock()
        assert chosen.directory.path.resolve() == made.path
        assert chosen.checkpoint is not None
        assert chosen.checkpoint.resolve() == checkpoint
        assert chosen.resumes


def test_a_run_that_is_named_twice_must_be_the_same(made: RunDirectory, tmp_path: Path) -> None:
    chosen = claim(given_as(str(checkpoint_of(made)), run_dir=f"{made.path}/"))
    chosen.directory.unlock()
    with pytest.raises(ConfigError, match=r"resume is .*/one, run_dir .*/two: leave --run-dir out, or name the same"):
        claim(given_as(str(made.path), run_dir=str(tmp_path / "two")))


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 999},
        {"max_steps": 5},
        {"evaluate_every": 7},
        {"keep_checkpoints": 9},
        {"threads": 3},
        {"checkpoint_every": 3, "checkpoint_minutes": 0.5, "process_timeout": 9.0, "stop_signal": ""},
        {"run_dir": "elsewhere"},
        {"preset": "text"},
        {"log": replace(CONFIG.log, every=1, wandb="disabled")},
        {"text": replace(CONFIG.text, corpus=("the-same-text.txt",))},
    ],
)
def test_what_may_change(made: RunDirectory, changes: dict[str, Any]) -> None:
    assert made.resumes(given_as(**changes))


def test_what_has_changed_is_told(made: RunDirectory) -> None:
    assert made.changes(given_as("must", run_dir="elsewhere", preset="text")) == ""
    changed = given_as(epochs=7, log=replace(CONFIG.log, every=1))
    assert made.changes(changed) == "epochs 400 -> 7, log.every 10 -> 1"


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"seed": 1}, "seed 0 -> 1"),
        ({"mixed_precision": "bf16"}, "mixed_precision 'no' -> 'bf16'"),
        ({"model": replace(CONFIG.model, hidden_size=31)}, "model.hidden_size 30 -> 31"),
        ({"text": replace(CONFIG.text, normaliser=("lf",))}, "text.normaliser [] -> ['lf']"),
        ({"optimiser": replace(CONFIG.optimiser, clip_norm=2.0)}, "optimiser.clip_norm 1.0 -> 2.0"),
        ({"seed": 1, "batch": replace(CONFIG.batch, size=9)}, "batch.size 8 -> 9, seed 0 -> 1"),
    ],
)
def test_another_run_is_named_by_what_differs(made: RunDirectory, changes: dict[str, Any], difference: str) -> None:
    with pytest.raises(RunError, match=re.escape(f"holds another run ({difference}): give the same settings")):
        made.resumes(given_as(**changes))


def test_what_no_flag_says_is_the_run_s(made: RunDirectory) -> None:
    """A later release may have other presets: the same command goes on."""
    preset = replace(CONFIG, seed=3, mixed_precision="bf16", model=replace(CONFIG.model, cell="gru"))
    assert precision_of(replace(preset, run_dir=str(made.path), given=())) == "no"
    assert precision_of(replace(preset, run_dir=str(made.path / "none"), given=())) == "bf16"
    assert made.resumes(replace(preset, given=("epochs",)))
    assert preset.changed(made.settled(replace(preset, given=()))) == replace(CONFIG, given=None)
    for name, difference in {"seed": "seed 0 -> 3", "model.cell": "model.cell 'tanh' -> 'gru'"}.items():
        with pytest.raises(RunError, match=rf"holds another run \({difference}\)"):
            made.resumes(replace(preset, given=(name,)))
    with pytest.raises(RunError, match=r"holds another run \(mixed_precision"):
        made.resumes(replace(preset, given=(), preset="text"))


@pytest.mark.parametrize("kind", ["missing", "empty", "a file"])
def test_resuming_nothing(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "run"
    if kind == "empty":
        path.mkdir()
    elif kind == "a file":
        path.touch()
    with pytest.raises(RunError, match=r"run: holds no run \(no config.json\): start one with --resume auto"):
        claim(given_as("must", run_dir=str(path)))
    with pytest.raises(
        RunError, match=r"must be auto, never, must, a run directory or one of its checkpoints"
    ) as caught:
        claim(given_as(str(path)))
    assert str(caught.value).startswith(f"resume is '{path}'")


def test_going_on_with_what_has_no_name() -> None:
    with pytest.raises(ConfigError, match="--resume must needs --run-dir"):
        claim(given_as("must"))


# Files that are not ours


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run of which every test replaces one file."""
    return make(tmp_path_factory.mktemp("spoilt") / "run")


DESCRIPTIONS = JSON | st.fixed_dictionaries(
    {
        "charrnn": JSON,
        "id": JSON,
        "config": JSON | st.fixed_dictionaries({"preset": JSON, "model": JSON, "a\nb": JSON}),
        "text": st.just(TEXT) | JSON,
    }
)


@given(content=DESCRIPTIONS.map(lambda value: json.dumps(value).encode()) | st.binary())
@such_as(content=b"")
@such_as(content=b"{")
@such_as(content=b"\xff")
@such_as(content=b"[" * 100_000)
@such_as(content=b'{"charrnn": "1", "id": "x", "config": [], "text": {"sha256": "0123", "description": "a"}}')
@such_as(content=b'{"charrnn": "1", "id": "x", "config": {}, "text": []}')
def test_a_config_that_is_not_ours(spoilt: RunDirectory, content: bytes) -> None:
    spoilt.config.write_bytes(content)
    with pytest.raises(RunError) as caught:
        spoilt.resumes(CONFIG)
    assert one_line(caught.value).startswith(str(spoilt.path))


SETTINGS = ("seed", "minutes", "left_open", "given", "mixed_precision", "model", "batch", "log", "no setting")


@given(settings=st.dictionaries(st.sampled_from(SETTINGS), JSON))
def test_settings_of_no_run(spoilt: RunDirectory, settings: dict[str, Any]) -> None:
    """What no flag gives is taken from the file, whatever is there."""
    spoilt.config.unlink()
    spoilt.describe(CONFIG, TEXT, VOCABULARY, NORMALISER, recurrence="fused")
    description = spoilt.read_description()
    spoilt.config.write_text(json.dumps(description | {"config": description["config"] | settings}))
    said = str(spoilt.path)
    try:
        assert spoilt.resumes(replace(CONFIG, given=(), minutes=1.0))
    except RunError as error:
        said = one_line(error)
    assert said.startswith(str(spoilt.path))


SOME_VOCABULARIES = JSON | st.fixed_dictionaries(
    {"format": st.just("charrnn.vocabulary"), "version": st.just(1) | JSON, "characters": JSON}
)
STEPS = JSON | st.fixed_dictionaries(
    {"step": st.sampled_from(["keep", "lf", "nfc"]) | JSON}, optional={"characters": JSON}
)


def is_vocabulary(value: object) -> bool:
    try:
        Vocabulary.from_dict(value)
    except VocabularyError as error:
        return not one_line(error)
    return True


@given(value=SOME_VOCABULARIES)
@such_as(value=Vocabulary("ab").to_dict() | {"characters": "\ud800"})
@such_as(value=Vocabulary("ab").to_dict() | {"version": 2})
@such_as(value=Vocabulary("ab").to_dict() | {"version": float("nan")})
def test_a_vocabulary_is_read_or_that_is_one_line(value: object) -> None:
    if is_vocabulary(value):
        assert Vocabulary.from_dict(value).to_dict() == value


@given(
    content=st.binary()
    | (JSON | st.fixed_dictionaries({"vocabulary": SOME_VOCABULARIES, "normaliser": JSON | st.lists(STEPS)})).map(
        lambda value: json.dumps(value).encode()
    )
)
@such_as(content=b"")
@such_as(content=b"[]")
@such_as(content=b"[" * 100_000)
@such_as(content=json.dumps({"vocabulary": {}, "normaliser": []}).encode())
@such_as(content=json.dumps({"vocabulary": VOCABULARY.to_dict()}).encode())
@such_as(content=json.dumps({"vocabulary": VOCABULARY.to_dict(), "normaliser": [{"step": "\n"}]}).encode())
def test_a_file_of_characters_is_read_or_that_is_one_line(spoilt: RunDirectory, content: bytes) -> None:
    spoilt.vocabulary.write_bytes(content)
    try:
        vocabulary, normaliser = spoilt.read_vocabulary()
    except CharRNNError as error:
        line = one_line(error)
    else:
        assert json.loads(content)["vocabulary"] == vocabulary.to_dict()
        assert Normaliser.from_list(normaliser.to_list()) == normaliser
        return
    assert line.startswith(f"{spoilt.vocabulary}: cannot be read")
    assert line.endswith(": restore it from a copy")
