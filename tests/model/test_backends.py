"""The table of backends and the rule that chooses: a name runs or raises, `auto` takes the first that can run."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from charrnn.errors import ConfigError
from charrnn.model import CharRNN, ModelConfig
from charrnn.model import backends as table
from charrnn.model.backends import BACKENDS, Backend, choose
from charrnn.model.recurrence import reference

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
CONFIG = ModelConfig(vocabulary_size=11, embedding_size=3, hidden_size=7)
TOKENS = torch.zeros(5, 2, dtype=torch.long)


def test_every_backend_that_can_run_here_is_what_its_name_means() -> None:
    for name, entry in BACKENDS.items():
        if not entry.refusal(CPU, torch.float32):
            assert str(choose(name, CPU, torch.float32)) == name


def test_the_reference_is_always_there() -> None:
    for device, dtype in (("cpu", torch.float64), ("cuda", torch.bfloat16), ("meta", torch.float16)):
        assert choose("reference", torch.device(device), dtype).name == "reference"


def test_on_a_gpu_auto_takes_what_has_run_there_and_says_nothing_of_cpus() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        assert str(choose("auto", CUDA, dtype)) == "graphed"


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A backend `narrow` before all others, for CPUs and float32 alone; the batch sizes it was called with."""
    calls: list[int] = []

    def run(inputs: Tensor, state: Tensor, W_h: Tensor) -> Tensor:
        calls.append(inputs.shape[1])
        return reference(inputs, state, W_h)

    def why_not(device: torch.device, dtype: torch.dtype) -> str:
        return "" if dtype == torch.float32 else f"it has no {dtype}"

    entries = {
        "by name": Backend(run=run, auto=False),
        "narrow": Backend(run=run, device="cpu", why_not=why_not),
        "fused": BACKENDS["fused"],
        "reference": Backend(run=reference, auto=False),
    }
    monkeypatch.setattr(table, "BACKENDS", entries)
    return calls


def test_auto_takes_the_first_that_can_run_and_says_what_it_passed_over(narrow: list[int]) -> None:
    assert str(choose("auto", CPU, torch.float32)) == "narrow"
    assert str(choose("auto", CPU, torch.float64)) == "fused (narrow: it has no torch.float64)"
    assert str(choose("auto", CUDA, torch.float32)) == "fused"


def test_a_backend_by_name_runs_or_raises(narrow: list[int]) -> None:
    CharRNN(replace(CONFIG, recurrence="narrow"))(TOKENS)
    assert narrow == [5]
    double = CharRNN(replace(CONFIG, recurrence="narrow")).double()
    message = r"model\.recurrence is narrow: it has no torch\.float64: give --model\.recurrence auto"
    for act in (lambda: double(TOKENS), lambda: double.backend(torch.float64)):
        with pytest.raises(ConfigError, match=message):
            act()
    with pytest.raises(ConfigError, match="is narrow: it runs on cpu, not on cuda: give "):
        choose("narrow", CUDA, torch.float32)


def test_a_name_that_is_none_is_said() -> None:
    """As of a run that an older charrnn trained by a backend that is no more."""
    with pytest.raises(
        ConfigError, match=r"is triton: there is none, only auto, native, graphed, cudnn, fused, reference: give "
    ):
        choose("triton", CPU, torch.float32)


def test_what_a_model_says_is_what_it_runs_under_autocast_too(narrow: list[int]) -> None:
    model = CharRNN(replace(CONFIG, recurrence="auto"))
    assert model.backend(torch.float32).name == "narrow"
    assert model.backend(torch.bfloat16).name == "fused"
    with torch.autocast("cpu", torch.bfloat16):
        model(TOKENS)
    assert narrow == []
    model(TOKENS)
    assert narrow == [5]
