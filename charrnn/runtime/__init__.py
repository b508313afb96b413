"""From a model.onnx to text, with numpy and onnxruntime alone."""

from charrnn.arrays import State
from charrnn.runtime.generation import generate, generate_many, load
from charrnn.runtime.metadata import FORMAT_VERSION, ModelMetadata
from charrnn.runtime.model import OnnxModel
from charrnn.runtime.sampling import Sampler, fresh_seed
from charrnn.runtime.step_model import StepModel, TextState
from charrnn.runtime.stream import IdStream, TextStream, encode_prompt, stream_ids
from charrnn.sampling_config import SamplingConfig

__all__ = [
    "FORMAT_VERSION",
    "IdStream",
    "ModelMetadata",
    "OnnxModel",
    "Sampler",
    "SamplingConfig",
    "State",
    "StepModel",
    "TextState",
    "TextStream",
    "encode_prompt",
    "fresh_seed",
    "generate",
    "generate_many",
    "load",
    "stream_ids",
]
