"""What cuDNN's backend says of where it cannot run. That it is the reference's function: test_recurrence.py."""

import warnings

import pytest
import torch

from charrnn.errors import ConfigError
from charrnn.model import CharRNN, ModelConfig
from charrnn.model.backends import BACKENDS
from charrnn.model.cudnn import why_not
from tests.model.agreement import of_tanh


def test_a_cpu_has_no_cudnn() -> None:
    model = CharRNN(ModelConfig(vocabulary_size=11, embedding_size=3, hidden_size=7, recurrence="cudnn"))
    with pytest.raises(ConfigError, match=r"model\.recurrence is cudnn: it runs on cuda, not on cpu: give "):
        model(torch.zeros(5, 2, dtype=torch.long))


def test_the_parameter_keeps_its_memory_and_warnings_their_filters() -> None:
    W_h = torch.eye(4).requires_grad_()
    before, filters = W_h.data_ptr(), list(warnings.filters)
    of_tanh(BACKENDS["cudnn"].run)(torch.zeros(2, 3, 4), torch.zeros(3, 4), W_h).sum().backward()
    assert (W_h.data_ptr(), W_h.untyped_storage().nbytes()) == (before, 4 * 4 * 4)
    assert list(warnings.filters) == filters


@pytest.mark.parametrize(
    ("version", "capability", "runs"),
    [(91300, (8, 0), True), (91900, (9, 0), True), (91299, (9, 0), False), (91900, (7, 5), False)],
)
def test_bfloat16_needs_a_version_and_a_device(
    monkeypatch: pytest.MonkeyPatch, version: int, capability: tuple[int, int], runs: bool
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: version)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    device = torch.device("cuda", 0)
    assert why_not(device, torch.float32) == ""
    assert (why_not(device, torch.bfloat16) == "") == runs
