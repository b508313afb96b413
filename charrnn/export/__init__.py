"""CharRNN -> model.onnx, the file of export/README.md, checked against torch before it takes its name."""

from charrnn.export.file import export_onnx
from charrnn.export.graph import OPSET, OPSETS, SingleStep
from charrnn.export.parity import PARITY_TOLERANCE, QUANTISED_TOLERANCE, parity
from charrnn.export.weights import Weights

__all__ = [
    "OPSET",
    "OPSETS",
    "PARITY_TOLERANCE",
    "QUANTISED_TOLERANCE",
    "SingleStep",
    "Weights",
    "export_onnx",
    "parity",
]
