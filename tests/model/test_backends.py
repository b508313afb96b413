"""The table of backends: a name runs or raises, `auto` takes what was measured, else the first that can run."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from charrnn.errors import ConfigError
from charrnn.model import CharRNN, ModelConfig
from charrnn.model import backends as table
from charrnn.model.backends import BACKENDS, Backend, choose
from charrnn.model.cells import CELLS, Cell, States
from charrnn.model.recurrence import reference

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
TANH = CELLS["tanh"]
CONFIG = ModelConfig(vocabulary_size=11, embedding_size=3, hidden_size=7)
TOKENS = torch.zeros(5, 2, dtype=torch.long)


def test_every_backend_that_can_run_here_is_what_its_name_means() -> None:
    for name, entry in BACKENDS.items():
        if not entry.refusal(TANH, CPU, torch.float32):
            assert choose(name, TANH, CPU, torch.float32) == name


def test_the_reference_is_always_there() -> None:
    for device, dtype in (("cpu", torch.float64), ("cuda", torch.bfloat16), ("meta", torch.float16)):
        assert choose("reference", TANH, torch.device(device), dtype) == "reference"


def test_on_a_gpu_auto_takes_what_is_made_for_it() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        assert choose("auto", TANH, CUDA, dtype) == "graphed"


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A backend `narrow` before all others, for CPUs and float32 alone; the batch sizes it was called with."""
    calls: list[int] = []

    def run(cell: Cell, inputs: Tensor, states: States, W_h: Tensor, b_u: Tensor | None) -> tuple[Tensor, States]:
        calls.append(inputs.shape[1])
        return reference(cell, inputs, states, W_h, b_u)

    def why_not(device: torch.device, dtype: torch.dtype) -> str:
        return "" if dtype == torch.float32 else f"it has no {dtype}"

    entries = {
        "narrow": Backend(run=run, device="cpu", why_not=why_not),
        "fused": BACKENDS["fused"],
        "reference": Backend(run=reference),
    }
    monkeypatch.setattr(table, "BACKENDS", entries)
    monkeypatch.setattr("charrnn.model.char_rnn.BACKENDS", entries)
    return calls


def test_auto_takes_what_was_measured_or_the_first_that_can_run(narrow: list[int]) -> None:
    assert choose("auto", TANH, CPU, torch.float32) == "narrow"
    assert choose("auto", TANH, CPU, torch.float32, measured="fused") == "fused"
    assert choose("auto", TANH, CPU, torch.float64, measured="narrow") == "fused"
    assert choose("auto", TANH, CPU, torch.float32, measured="of another version") == "narrow"
    assert choose("auto", TANH, CUDA, torch.float32) == "fused"


def test_a_backend_by_name_runs_or_raises(narrow: list[int]) -> None:
    CharRNN(replace(CONFIG, recurrence="narrow"))(TOKENS)
    assert narrow == [5]
    double = CharRNN(replace(CONFIG, recurrence="narrow")).double()
    message = r"model\.recurrence is narrow: it has no torch\.float64: give --model\.recurrence auto"
    for act in (lambda: double(TOKENS), lambda: double.backend(torch.float64)):
        with pytest.raises(ConfigError, match=message):
            act()
    with pytest.raises(ConfigError, match="is narrow: it runs on cpu, not on cuda: give "):
        choose("narrow", TANH, CUDA, torch.float32)


def test_a_backend_by_name_is_not_another_that_was_measured(narrow: list[int]) -> None:
    model = CharRNN(replace(CONFIG, recurrence="fused"))
    model.measured = "narrow"
    assert model.backend(torch.float32) == "fused"


def test_a_name_that_is_none_is_said() -> None:
    """As of a run that an older charrnn trained by a backend that is no more."""
    with pytest.raises(
        ConfigError, match=r"is triton: there is none, only auto, native, graphed, cudnn, fused, reference: give "
    ):
        choose("triton", TANH, CPU, torch.float32)


def test_what_a_model_says_is_what_it_runs_under_autocast_too(narrow: list[int]) -> None:
    model = CharRNN(replace(CONFIG, recurrence="auto"))
    assert model.backend(torch.float32) == "narrow"
    assert model.backend(torch.bfloat16) == "fused"
    with torch.autocast("cpu", torch.bfloat16):
        model(TOKENS)
    assert narrow == []
    model(TOKENS)
    assert narrow == [5]
