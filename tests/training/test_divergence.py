"""What is no longer a number ends training, and the message names what there is to go on from."""

import math
import re
from pathlib import Path

import pytest
import torch

from charrnn.errors import TrainingError
from charrnn.training.divergence import DivergenceCheck


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number(loss: float, tmp_path: Path) -> None:
    check = DivergenceCheck(tmp_path, 0.25)
    check.loss(1e30, 6)
    with pytest.raises(TrainingError, match=rf"the loss is {loss} at step 7, .*no checkpoint yet.*\(it was 0.25\)"):
        check.loss(loss, 7)


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_a_parameter_that_is_no_number(value: float, tmp_path: Path) -> None:
    check = DivergenceCheck(tmp_path, 0.25)
    for step in (5, 6):
        (tmp_path / f"step-{step:08d}").mkdir()
        (tmp_path / f"step-{step:08d}" / "manifest.json").touch()
    parameters = {"W_h": torch.zeros(2, 3), "b_h": torch.zeros(3)}
    check.parameters(parameters, 7)
    parameters["b_h"][1] = value
    last = re.escape(f"the last good checkpoint is {tmp_path / 'step-00000006'}:")
    with pytest.raises(TrainingError, match=f"a parameter is no longer a number after step 7, .*{last}"):
        check.parameters(parameters, 7)
