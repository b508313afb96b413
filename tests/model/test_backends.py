"""The table of backends and the rule that chooses: a name runs or raises, `auto` takes the first that pays."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from charrnn.errors import ConfigError
from charrnn.model import CharRNN, ModelConfig
from charrnn.model import backends as table
from charrnn.model.backends import BACKENDS, Backend, Setting, chosen
from charrnn.model.recurrence import reference

HERE = Setting(device=torch.device("cpu"), dtype=torch.float32, batch_size=5, hidden_size=7)
CONFIG = ModelConfig(vocabulary_size=11, embedding_size=3, hidden_size=7)


def test_every_backend_that_can_run_here_is_what_its_name_means() -> None:
    for name, entry in BACKENDS.items():
        if not entry.why_not(HERE):
            assert chosen(name, HERE) == name
    assert chosen("auto", HERE) == next(iter(name for name, entry in BACKENDS.items() if not entry.why_not(HERE)))


def test_the_reference_is_always_there() -> None:
    for device, dtype in (("cpu", torch.float64), ("cuda", torch.bfloat16), ("meta", torch.float16)):
        assert chosen("reference", replace(HERE, device=torch.device(device), dtype=dtype)) == "reference"


def test_on_a_gpu_auto_takes_what_has_run_there() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        assert chosen("auto", replace(HERE, device=torch.device("cuda"), dtype=dtype)) == "fused"


@pytest.fixture
def large_only(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A backend `large` before all others, which runs from H = 7 and pays from H = 9; the sizes it was called with."""
    calls: list[int] = []

    def run(inputs: Tensor, state: Tensor, W_h: Tensor) -> Tensor:
        calls.append(inputs.shape[1])
        return reference(inputs, state, W_h)

    def why_not(setting: Setting) -> str:
        return "" if setting.hidden_size >= 7 else f"H is {setting.hidden_size}, it needs at least 7"

    entry = Backend(run, why_not, better=lambda setting: setting.hidden_size >= 9)
    monkeypatch.setattr(
        table, "BACKENDS", {"large": entry, "fused": BACKENDS["fused"], "reference": Backend(reference)}
    )
    return calls


def test_auto_takes_the_first_that_can_run_and_pays(large_only: list[int]) -> None:
    assert [chosen("auto", replace(HERE, hidden_size=H)) for H in (6, 7, 8, 9)] == ["fused"] * 3 + ["large"]


def test_a_backend_by_name_runs_or_raises(large_only: list[int]) -> None:
    tokens = torch.zeros(5, 2, dtype=torch.long)
    CharRNN(replace(CONFIG, recurrence="large"))(tokens)
    assert large_only == [5]
    CharRNN(replace(CONFIG, recurrence="auto"))(tokens)
    assert large_only == [5], "H = 7 does not pay"
    small = CharRNN(replace(CONFIG, recurrence="large", hidden_size=6))
    message = "model.recurrence is large: H is 6, it needs at least 7: give --model.recurrence auto"
    for act in (lambda: small(tokens), lambda: small.backend(5, torch.float32)):
        with pytest.raises(ConfigError, match=message):
            act()


def test_what_a_model_says_is_what_it_runs(large_only: list[int]) -> None:
    model = CharRNN(replace(CONFIG, recurrence="auto", hidden_size=9))
    assert model.backend(4, torch.float32) == "large"
    model(torch.zeros(4, 2, dtype=torch.long))
    assert large_only == [4]


def test_under_autocast_the_dtype_is_autocasts() -> None:
    inputs = torch.zeros(3, 5, 7)
    assert Setting.of(inputs) == HERE
    with torch.autocast("cpu", torch.bfloat16):
        assert Setting.of(inputs) == replace(HERE, dtype=torch.bfloat16)
