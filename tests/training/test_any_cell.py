"""Every cell goes all the way, from the learner to the text; so does one that charrnn does not have."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from charrnn import OnnxModel, generate
from charrnn.export import PARITY_TOLERANCE, export_onnx
from charrnn.model.cells import CELLS
from charrnn.runs.checkpoint import read_checkpoint, write_checkpoint
from charrnn.text.batches import Split
from charrnn.text.normaliser import Normaliser
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.evaluation import evaluate_collective
from charrnn.training.learner import Learner
from charrnn.training.sample_writer import write_sample
from tests.toy_cell import Toy
from tests.training.small import CONFIG, H, L, V, learner_of, stream_of

VOCABULARY = Vocabulary("\nabcdefghij")


@pytest.fixture(params=["gru", "lstm", "toy"])
def cell(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(CELLS, "toy", Toy())
    return str(request.param)


def learner_with(cell: str, accelerator: Accelerator) -> Learner:
    return learner_of(accelerator, replace(CONFIG, model=replace(CONFIG.model, cell=cell, dropout=0.1)))  # type: ignore[arg-type]


def train(learner: Learner, steps: int) -> None:
    for _ in range(steps):
        learner.train_step_collective()


def test_a_resumed_run_is_the_undisturbed_one(cell: str, accelerator: Accelerator, tmp_path: Path) -> None:
    whole = learner_with(cell, accelerator)
    train(whole, 5)
    write_checkpoint(tmp_path, whole.checkpoint_collective())
    kept = read_checkpoint(tmp_path / "step-00000005")
    names = CELLS[cell].states
    assert kept.state.keys() == {*names, "training_sums"}
    assert all(kept.state[name].shape == (L, CONFIG.batch.size, H) for name in names)
    assert len(names) == 1 or not torch.equal(*(kept.state[name] for name in names))
    train(whole, 4)
    resumed = learner_with(cell, accelerator)
    resumed.restore(kept)
    train(resumed, 4)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name
    assert whole.states is not None
    assert resumed.states is not None
    assert all(map(torch.equal, whole.states, resumed.states))


def test_it_learns_and_what_it_learnt_writes_the_same_text_from_the_file(
    cell: str, accelerator: Accelerator, tmp_path: Path
) -> None:
    learner = learner_with(cell, accelerator)
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
    model.step(torch.tensor([1, 2]).numpy(), model.initial_state(2))
