"""CharRNN as others keep theirs: saved into a folder and read from it, from a run, and from a Hub on loopback."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

import charrnn
from charrnn.errors import CharRNNError, HubError, RunError
from charrnn.hub import listing
from charrnn.model import ModelConfig
from charrnn.runs.checkpoint import read_checkpoint
from charrnn.text.normaliser import Normaliser
from charrnn.text.vocabulary import Vocabulary
from tests.anything import one_line
from tests.conftest import Finished
from tests.hub_server import LoopbackHub

V, E, H, L = 5, 3, 7, 2
CONFIG = ModelConfig(
    vocabulary_size=V, embedding_size=E, hidden_size=H, num_layers=L, cell="lstm", dropout=0.25, recurrence="fused"
)
TOKENS = torch.tensor([[0, 4, 2, 2, 1, 3], [3, 3, 0, 1, 2, 4]])


@pytest.fixture
def model() -> charrnn.CharRNN:
    torch.manual_seed(3)
    model = charrnn.CharRNN(CONFIG).eval()
    model.vocabulary, model.normaliser = Vocabulary("abcdé"), Normaliser.from_list([{"step": "lowercase"}])
    return model


@pytest.fixture
def folder(model: charrnn.CharRNN, tmp_path: Path) -> Path:
    model.save_pretrained(tmp_path / "a" / "folder")
    return tmp_path / "a" / "folder"


def test_a_folder_gives_the_model_back(model: charrnn.CharRNN, folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors", "vocabulary.json"}
    for source in (folder, str(folder)):
        again = charrnn.CharRNN.from_pretrained(source)
        assert again.config == replace(CONFIG, recurrence="auto"), "how it is run is this machine's choice"
        assert (again.vocabulary, again.normaliser) == (model.vocabulary, model.normaliser)
        assert not again.training
        assert isinstance(again, charrnn.CharRNN)
        parameters = dict(again.named_parameters())
        assert all(value.equal(parameters[name]) for name, value in model.named_parameters())
        assert again(TOKENS)[0].allclose(model(TOKENS)[0], atol=1e-6)


def test_others_can_read_it(model: charrnn.CharRNN, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    assert (config["model_type"], config["architectures"]) == ("charrnn", ["CharRNN"])
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert set(file.keys()) == set(model.state_dict())


def test_without_a_vocabulary(tmp_path: Path) -> None:
    charrnn.CharRNN(CONFIG).save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
    assert charrnn.CharRNN.from_pretrained(tmp_path).vocabulary is None


def test_a_subclass_stays_one(folder: Path) -> None:
    class Own(charrnn.CharRNN):
        pass

    assert type(Own.from_pretrained(folder)) is Own


@pytest.mark.parametrize(("named", "step"), [(".", 60), ("checkpoints/step-00000030", 30)])
def test_a_run_gives_its_model_too(trained: Finished, named: str, step: int) -> None:
    model = charrnn.CharRNN.from_pretrained(trained.run / named)
    tensors = read_checkpoint(trained.run / "checkpoints" / f"step-{step:08d}").model
    assert all(value.equal(tensors[name]) for name, value in model.named_parameters())
    assert model.vocabulary is not None
    assert len(model.vocabulary) == model.config.vocabulary_size == 26


def put(hub: LoopbackHub, folder: Path, name: str = "owner/novel") -> str:
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return hub.add(name, files)


@pytest.mark.parametrize("source", ["hf://owner/novel", "owner/novel"])
def test_a_repository_without_weights(hub: LoopbackHub, offline: Callable[[], None], folder: Path, source: str) -> None:
    first = put(hub, folder)
    hub.add("owner/novel", {"config.json": b"{}"})
    with pytest.raises(HubError, match=r"^hf://owner/novel: has no model.safetensors: name a model that"):
        charrnn.CharRNN.from_pretrained(source)
    offline()
    with pytest.raises(HubError, match="is not in the cache, and the Hub is not asked while offline"):
        charrnn.CharRNN.from_pretrained(source, revision=first)


def test_from_the_hub_at_a_revision(
    hub: LoopbackHub, offline: Callable[[], None], model: charrnn.CharRNN, folder: Path
) -> None:
    first = put(hub, folder)
    hub.add("owner/novel", {"config.json": b"{}"})
    for _ in range(2):
        for words, more in (
            ("owner/novel", {"revision": first}),
            ("hf://owner/novel", {"revision": first}),
            (f"hf://owner/novel@{first}", {}),
        ):
            again = charrnn.CharRNN.from_pretrained(words, **more)
            assert again(TOKENS)[0].allclose(model(TOKENS)[0], atol=1e-6)
        offline()
    for words, more in ((f"hf://owner/novel@{first}", {"revision": first}), ("hf://owner/novel/model.onnx", {})):
        with pytest.raises(HubError, match="name the repository, and its revision once: hf://OWNER/NAME@REVISION"):
            charrnn.CharRNN.from_pretrained(words, **more)


def changed(folder: Path, **change: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["model"] |= change
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "config.json").write_text("{"), "its config.json is damaged: try again"),
        (lambda f: (f / "config.json").write_text("[]"), "its config.json is damaged: try again"),
        (
            lambda f: (f / "config.json").write_text('{"model_type": "bert"}'),
            "its config.json describes no charrnn model",
        ),
        (
            lambda f: (f / "config.json").write_text('{"format_version": 2}'),
            "is of format 2, and this charrnn reads 1: ",
        ),
        (lambda f: changed(f, hidden_size="x"), "its config.json describes no charrnn model: name another one"),
        (lambda f: changed(f, hidden_size=0), "its config.json describes no charrnn model: name another one"),
        (lambda f: changed(f, wings=2), "its config.json describes no charrnn model: name another one"),
        (lambda f: changed(f, hidden_size=2**20), "config.json and model.safetensors are of different models"),
        (lambda f: changed(f, num_layers=2**20), "config.json and model.safetensors are of different models"),
        (lambda f: changed(f, cell="gru"), "config.json and model.safetensors are of different models"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\x80\x04pickle"), "its model.safetensors cannot be read ("),
        (lambda f: (f / "vocabulary.json").write_text("{}"), "vocabulary.json: cannot be read ("),
        (lambda f: shrink(f), "its vocabulary.json has 4 characters, the model 5: get both again"),
    ],
)
def test_what_is_no_such_folder(folder: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(folder)
    with pytest.raises(CharRNNError) as caught:
        charrnn.CharRNN.from_pretrained(folder)
    assert message in one_line(caught.value)
    assert one_line(caught.value).startswith(str(folder))


def shrink(folder: Path) -> None:
    both = json.loads((folder / "vocabulary.json").read_text())
    both["vocabulary"]["characters"] = both["vocabulary"]["characters"][1:]
    (folder / "vocabulary.json").write_text(json.dumps(both))


def test_weights_that_are_not_those_of_the_list(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["files"] = listing({"model.safetensors": b"others"})
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(HubError, match=r"its model.safetensors does not match its checksum in config.json"):
        charrnn.CharRNN.from_pretrained(folder)


def test_nothing_of_that_name(tmp_path: Path, trained: Finished) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        RunError, match="it must be a pretrained folder, hf://OWNER/NAME, a run directory or one of its"
    ):
        charrnn.CharRNN.from_pretrained(tmp_path / "empty")
    with pytest.raises(HubError, match="gone' is no repository of the Hub: write OWNER/NAME"):
        charrnn.CharRNN.from_pretrained(tmp_path / "gone")
    run = shutil.copytree(trained.run, tmp_path / "run", ignore=shutil.ignore_patterns("wandb", "step-*"))
    with pytest.raises(RunError, match="run: has no checkpoint yet: name a run that has one"):
        charrnn.CharRNN.from_pretrained(run)


def test_a_folder_that_cannot_be_written(model: charrnn.CharRNN, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"file/model.safetensors: cannot be written"):
        model.save_pretrained(tmp_path / "file")
