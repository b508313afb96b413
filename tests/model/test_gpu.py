"""The backends on a CUDA device: each is the reference's function there too."""

import pytest
import torch

from charrnn.model.backends import BACKENDS
from charrnn.model.cells import CELLS
from charrnn.model.measurement import measure
from tests.model.agreement import SIZES, assert_agrees, of_tanh, problem

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="not here: there is no CUDA device"),
]


@pytest.mark.parametrize("name", ["fused", "graphed", "cudnn"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("T", "B", "H"), SIZES)
def test_values_and_gradients_are_the_reference_s(name: str, dtype: torch.dtype, T: int, B: int, H: int) -> None:
    arguments = problem(T, B, H, dtype, "cuda")
    assert not BACKENDS[name].refusal(CELLS["tanh"], arguments[0].device, dtype)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        # cuDNN's own tanh: 44 to 143 units off on an H200 with cuDNN 9.19, also where T, B and H are 1.
        assert_agrees(of_tanh(BACKENDS[name].run), *arguments, float32_units=256 if name == "cudnn" else 16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_cudnn_is_cudnn(dtype: torch.dtype) -> None:
    outputs = of_tanh(BACKENDS["cudnn"].run)(*problem(6, 3, 5, dtype, "cuda"))
    assert outputs.grad_fn is not None
    assert outputs.grad_fn.name() == "CudnnRnnBackward0"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_all_that_can_run_agree_when_they_are_measured(dtype: torch.dtype) -> None:
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        found = measure(CELLS["tanh"], T=20, B=64, H=128, device=torch.device("cuda"), dtype=dtype)
    assert not found.passed_over
    assert found.seconds.keys() == {"graphed", "cudnn", "fused"}
