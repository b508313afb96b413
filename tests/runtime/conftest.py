from pathlib import Path

import pytest

from charrnn import OnnxModel
from tests.runtime.handmade import HandMade


@pytest.fixture
def model(tmp_path: Path) -> OnnxModel:
    return OnnxModel.load(HandMade().save(tmp_path / "model.onnx"))
