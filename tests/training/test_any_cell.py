"""Every cell goes all the way, from the learner to the text; so does one that charrnn does not have."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from charrnn import OnnxModel, generate
from charrnn.autocomplete.completion import Completion, EditedText
from charrnn.config import TrainConfig
from charrnn.export import PARITY_TOLERANCE, export_onnx
from charrnn.model.cells import CELLS
from charrnn.runs.checkpoint import read_checkpoint, write_checkpoint
from charrnn.runtime.scoring import score
from charrnn.text.batches import Split
from charrnn.text.normaliser import Normaliser
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.evaluation import evaluate_collective
from charrnn.training.learner import Learner
from charrnn.training.sample_writer import write_sample
from tests.toy_cell import Toy
from tests.training.small import CONFIG, H, L, V, learner_of, model_of, stream_of

VOCABULARY = Vocabulary("\nabcdefghij")


@pytest.fixture(params=["gru", "lstm", "toy"])
def cell(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(CELLS, "toy", Toy())
    return str(request.param)


def config_with(cell: str, **batch: Any) -> TrainConfig:
    model = replace(CONFIG.model, cell=cell, dropout=0.1)  # type: ignore[arg-type]
    return replace(CONFIG, model=model, batch=replace(CONFIG.batch, **batch))


def train(learner: Learner, steps: int) -> None:
    for _ in range(steps):
        learner.train_step_collective()


@pytest.mark.parametrize("precision", ["no", "bf16"])
@pytest.mark.parametrize(("mode", "accumulation"), [("stream", 1), ("stream", 3), ("windows", 3)])
def test_a_resumed_run_is_the_undisturbed_one(
    cell: str,
    accelerators: Callable[[str], Accelerator],
    tmp_path: Path,
    mode: str,
    accumulation: int,
    precision: str,
) -> None:
    config, accelerator = config_with(cell, mode=mode, accumulation=accumulation), accelerators(precision)
    whole = learner_of(accelerator, config)
    train(whole, 5)
    write_checkpoint(tmp_path, whole.checkpoint_collective())
    kept = read_checkpoint(tmp_path / "step-00000005")
    names = CELLS[cell].states if mode == "stream" else ()
    assert kept.state.keys() == {*names, "training_sums"}
    assert all(kept.state[name].shape == (L, config.batch.size, H) for name in names)
    assert len(names) < 2 or not torch.equal(*(kept.state[name] for name in names))
    train(whole, 4)
    resumed = learner_of(accelerator, config)
    resumed.restore(kept)
    train(resumed, 4)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name
    if mode == "stream":
        assert whole.states is not None
        assert resumed.states is not None
        assert all(map(torch.equal, whole.states, resumed.states))


def test_a_batch_in_parts_is_the_same_batch(cell: str, accelerator: Accelerator) -> None:
    """With the states of its rows."""
    parameters, states = [], []
    for accumulation in (1, 3):
        learner = learner_of(accelerator, config_with(cell, accumulation=accumulation))
        train(learner, 10)
        parameters.append(learner.model.state_dict())
        states.append(learner.states)
    # Adam's steps are of 3e-3. What another order of sums makes of them was at most 4e-7.
    torch.testing.assert_close(*parameters, atol=3e-6, rtol=0)
    torch.testing.assert_close(*states, atol=3e-6, rtol=0)


def test_bf16_computes_nearly_the_same(cell: str, accelerators: Callable[[str], Accelerator]) -> None:
    losses = []
    for precision in ("no", "bf16"):
        accelerator = accelerators(precision)
        learner = learner_of(accelerator, config_with(cell))
        train(learner, 5)
        loss, _, characters = learner.training_sums_collective()
        losses.append(loss / characters)
        assert {parameter.dtype for parameter in learner.model.parameters()} == {torch.float32}
        accelerator.free_memory()
        type(accelerator.state)._reset_state(reset_partial_state=True)
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert losses[1] != losses[0], "it was bf16"


def test_it_learns_and_what_it_learnt_writes_the_same_text_from_the_file(
    cell: str, accelerator: Accelerator, tmp_path: Path
) -> None:
    learner = learner_of(accelerator, config_with(cell))
    stream = stream_of(3000)
    split = Split("validation", 0, len(stream))
    before = evaluate_collective(learner.model, stream, split, accelerator)
    train(learner, 18)
    after = evaluate_collective(learner.model, stream, split, accelerator)
    assert after.loss_nats < before.loss_nats - 0.05

    path = tmp_path / "model.onnx"
    written = {"vocabulary": VOCABULARY, "normaliser": Normaliser.named(), "training": {}}
    assert export_onnx(learner.model, path, **written) <= PARITY_TOLERANCE
    model = OnnxModel.load(path)
    assert [part.shape for part in model.initial_state(3)] == [(L, 3, H)] * len(CELLS[cell].states)
    assert model.config == asdict(learner.model.config)
    assert len(VOCABULARY) == V
    for temperature in (0.0, 1.0):
        here = write_sample(learner.model, VOCABULARY, "abc", length=200, temperature=temperature, seed=3)
        assert generate(path, "abc", 200, temperature=temperature, seed=3) == here
    text = VOCABULARY.decode(stream.read(0, len(stream)))
    assert score(model, text).loss_nats == pytest.approx(after.loss_nats, rel=1e-6)


def test_what_it_suggests_has_the_probability_that_it_gives(cell: str, tmp_path: Path) -> None:
    """Of a word's characters, and of the newline that ends it; also after a text was edited, from the states kept."""
    path = tmp_path / "model.onnx"
    model = model_of(config_with(cell)).eval()
    export_onnx(model, path, vocabulary=VOCABULARY, normaliser=Normaliser.named(), training={})
    loaded = OnnxModel.load(path)
    text, edited = VOCABULARY.encode("abcj\nfa").astype(np.int64), EditedText(loaded)
    for before in (text[:2], VOCABULARY.encode("abcjjjj").astype(np.int64), text):
        prediction = edited.read(before)
    for suggestion in Completion(loaded, longest=2).suggest(prediction):
        characters = suggestion.text + "\n" * (len(suggestion.text) < 2)
        ids = torch.tensor([*text, *VOCABULARY.encode(characters)])
        with torch.no_grad():
            log_probabilities = model(ids[None, :-1])[0][0].log_softmax(-1)
        expected = log_probabilities[torch.arange(len(ids) - 1), ids[1:]][len(text) - 1 :].sum().exp()
        assert suggestion.probability == pytest.approx(float(expected), rel=1e-4)
