"""The backends on a CUDA device: each is the reference's function there too."""

import pytest
import torch

from charrnn.model.backends import BACKENDS, Setting
from tests.model.agreement import SIZES, assert_agrees, problem

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


@pytest.mark.parametrize("name", ["fused", "cudnn", "triton"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("T", "B", "H"), SIZES)
def test_values_and_gradients_are_the_reference_s(name: str, dtype: torch.dtype, T: int, B: int, H: int) -> None:
    arguments = problem(T, B, H, dtype, "cuda")
    assert not BACKENDS[name].why_not(Setting.of(arguments[0]))
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        assert_agrees(BACKENDS[name].run, *arguments)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_cudnn_is_cudnn(dtype: torch.dtype) -> None:
    outputs = BACKENDS["cudnn"].run(*problem(6, 3, 5, dtype, "cuda"))
    assert outputs.grad_fn is not None
    assert outputs.grad_fn.name() == "CudnnRnnBackward0"


def test_what_does_not_fit_on_the_chip_is_refused() -> None:
    setting = Setting(device=torch.device("cuda"), dtype=torch.float32, batch_size=1, hidden_size=2000)
    assert "W_h [2000, 2000] in torch.float32 does not fit" in BACKENDS["triton"].why_not(setting)
