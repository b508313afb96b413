"""From a model.onnx to text, with numpy and onnxruntime alone."""

from charrnn.runtime.generation import encode_prompt, generate, generate_many, stream_ids
from charrnn.runtime.metadata import FORMAT_VERSION, ModelMetadata
from charrnn.runtime.model import OnnxModel
from charrnn.runtime.sampling import Sampler, SamplingConfig, fresh_seed
from charrnn.runtime.step import State, StepModel

__all__ = [
    "FORMAT_VERSION",
    "ModelMetadata",
    "OnnxModel",
    "Sampler",
    "SamplingConfig",
    "State",
    "StepModel",
    "encode_prompt",
    "fresh_seed",
    "generate",
    "generate_many",
    "stream_ids",
]
