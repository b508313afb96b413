"""Fine-tuning: a new run takes another's weights, and with them what it knows of the characters that both have."""

import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

import charrnn
from charrnn.cli.train import parse
from charrnn.errors import HubError, RunError
from charrnn.model import CharRNN, ModelConfig
from charrnn.presets import PRESETS
from charrnn.runs.checkpoint import read_checkpoint
from charrnn.runs.directory import RunDirectory
from charrnn.training.data import RunText
from charrnn.training.origin import start_from
from tests.anything import one_line
from tests.conftest import Finished
from tests.hub_server import LoopbackHub

PER_CHARACTER = ("embedding.weight", "fc.weight", "fc.bias")


def model_for(text: RunText, **changes: Any) -> CharRNN:
    """A new model of the sizes that the trained run has, but for `changes`."""
    sizes = asdict(PRESETS["alphabet"]().model) | changes
    return CharRNN(ModelConfig(vocabulary_size=len(text.prepared.vocabulary), **sizes))


@pytest.mark.parametrize(("named", "step"), [(".", 60), ("checkpoints/step-00000030", 30)])
def test_what_both_have_is_copied_and_the_rest_stays_new(
    trained: Finished, text_of: Callable[[str], RunText], named: str, step: int
) -> None:
    """From the best checkpoint, where none is named."""
    text = text_of("züge? nay!" * 300)
    model, source = model_for(text), trained.run / named
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    assert start_from(str(source), model, text).startswith(f"{source}, step {step}: ")
    theirs = read_checkpoint(trained.run / "checkpoints" / f"step-{step:08d}").model
    other, own = RunDirectory(trained.run).read_vocabulary()[0], text.prepared.vocabulary
    known = set(own.characters) & set(other.characters)
    assert known == set("zgenay")
    for name, value in model.named_parameters():
        if name not in PER_CHARACTER:
            assert value.equal(theirs[name]), name
            continue
        for index, character in enumerate(own.characters):
            row = theirs[name][other.characters.index(character)] if character in known else before[name][index]
            assert value[index].equal(row), (name, character)
        assert not value.equal(before[name])
    assert all(value.requires_grad for value in model.parameters())


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("abc" * 100, "3 of 3 characters known, 100.00% of the text"),
        ("ab?" * 99 + "!ab", "2 of 4 characters known, 66.67% of the text; new: '?' 99, '!' 1"),
        (
            "a" * 200 + "\n0123456789" * 10,
            "1 of 12 characters known, 64.52% of the text; "
            "new: '\\n' 10, '0' 10, '1' 10, '2' 10, '3' 10, '4' 10, '5' 10, '6' 10 and 3 others",
        ),
    ],
)
def test_how_much_is_known(trained: Finished, text_of: Callable[[str], RunText], content: str, line: str) -> None:
    text = text_of(content)
    assert start_from(str(trained.run), model_for(text), text) == f"{trained.run}, step 60: {line}"


@pytest.mark.parametrize("changes", [{"hidden_size": 31}, {"embedding_size": 7}, {"num_layers": 2}, {"cell": "gru"}])
def test_other_sizes_are_told_with_the_flags_that_help(
    trained: Finished, text_of: Callable[[str], RunText], changes: dict[str, Any]
) -> None:
    text = text_of("abc" * 100)
    with pytest.raises(RunError, match="is a model of other sizes: give --model") as caught:
        start_from(str(trained.run), model_for(text, **changes), text)
    flags = one_line(caught.value).split(": give ")[1].split()
    assert replace(parse(["alphabet", *flags]), given=None) == PRESETS["alphabet"]()
    assert len(flags) == (8 if "cell" in changes else 6)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_every_gate_goes_along(
    trains: Callable[..., int], text_of: Callable[[str], RunText], tmp_path: Path, cell: str
) -> None:
    run = tmp_path / "run"
    sizes = ["--model.hidden-size", 6, "--model.cell", cell, "--model.recurrence", "fused"]
    flags = [*sizes, "--max-steps", 3, "--log.wandb", "disabled", "--log.sample-length", 0]
    assert trains("alphabet", *flags, "--run-dir", run) == 0
    model = model_for(text_of("abc" * 100), hidden_size=6, cell=cell)
    assert "3 of 3 characters known" in start_from(str(run), model, text_of("abc" * 100))
    theirs = read_checkpoint(run / "checkpoints" / "step-00000003").model
    assert all(value.equal(theirs[name]) for name, value in model.named_parameters() if name not in PER_CHARACTER)
    assert model.embedding.weight.equal(theirs["embedding.weight"][:3])
    assert trains("alphabet", *flags, "--init-from", run, "--run-dir", tmp_path / "tuned") == 0


def test_nothing_in_common(trained: Finished, text_of: Callable[[str], RunText]) -> None:
    text = text_of("0123" * 100)
    with pytest.raises(RunError, match=r"has no character in common with .*text.txt: start without it"):
        start_from(str(trained.run), model_for(text), text)


def test_a_source_that_is_none(trained: Finished, text_of: Callable[[str], RunText], tmp_path: Path) -> None:
    text = text_of("abc" * 100)
    run = shutil.copytree(trained.run, tmp_path / "run", ignore=shutil.ignore_patterns("wandb", "step-*"))
    with pytest.raises(RunError, match="run: has no checkpoint yet: name a run that has one"):
        start_from(str(run), model_for(text), text)
    for nothing in (tmp_path / "gone", run / "checkpoints", run / "checkpoints" / "step-00000060", run / "config.json"):
        with pytest.raises(RunError, match=f"is '{nothing}': it must be a run directory or one of its checkpoints"):
            start_from(str(nothing), model_for(text), text)


def test_a_damaged_best_checkpoint_is_passed_over(
    trained: Finished, text_of: Callable[[str], RunText], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(trained.run, tmp_path / "run", ignore=shutil.ignore_patterns("wandb"))
    spoilt = run / "checkpoints" / "step-00000060" / "model.safetensors"
    spoilt.write_bytes(spoilt.read_bytes()[:-1])
    text = text_of("abc" * 100)
    assert start_from(str(run), model_for(text), text).startswith(f"{run}, step 30: ")
    assert f"{spoilt}: " in capsys.readouterr().err
    with pytest.raises(RunError, match=f"^{spoilt}: "):
        start_from(str(spoilt.parent), model_for(text), text)


@pytest.fixture
def folder(trained: Finished, tmp_path: Path) -> Path:
    """The trained run's model, as `save_pretrained` writes it."""
    charrnn.CharRNN.from_pretrained(trained.run).save_pretrained(tmp_path / "folder")
    return tmp_path / "folder"


@pytest.mark.parametrize("place", ["folder", "hub"])
def test_from_a_pretrained_folder_or_the_hub(
    trained: Finished, text_of: Callable[[str], RunText], hub: LoopbackHub, folder: Path, place: str
) -> None:
    """The same as from the run itself."""
    commit = hub.add("owner/novel", {path.name: path.read_bytes() for path in folder.iterdir()})
    hub.add("owner/novel", {"README.md": b"a later one has nothing"})
    source = str(folder) if place == "folder" else f"hf://owner/novel@{commit}"
    text = text_of("ab?" * 99 + "!ab")
    model, expected = model_for(text), model_for(text)
    expected.load_state_dict(model.state_dict())
    line = "2 of 4 characters known, 66.67% of the text; new: '?' 99, '!' 1"
    assert start_from(source, model, text) == f"{source}: {line}"
    start_from(str(trained.run), expected, text)
    assert all(value.equal(expected.get_parameter(name)) for name, value in model.named_parameters())


def test_a_pretrained_folder_that_does_not_fit(
    text_of: Callable[[str], RunText], hub: LoopbackHub, folder: Path
) -> None:
    text = text_of("abc" * 100)
    with pytest.raises(
        RunError, match=r"folder: is a model of other sizes: give --model.embedding-size 30 --model.hid"
    ):
        start_from(str(folder), model_for(text, hidden_size=31), text)
    (folder / "vocabulary.json").unlink()
    with pytest.raises(RunError, match=r"folder: has no vocabulary.json, which says whose rows its weights are"):
        start_from(str(folder), model_for(text), text)
    with pytest.raises(HubError, match=r"^hf://owner/novel: there is no such repository, or it is private"):
        start_from("hf://owner/novel", model_for(text), text)
