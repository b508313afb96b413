"""Small pieces for the tests of this room: a text in memory, a model, a learner."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from charrnn.config import BatchConfig, OptimiserConfig, TrainConfig
from charrnn.model import Architecture, CharRNN, ModelConfig
from charrnn.text.batches import Batches, Split, StreamBatches, WindowBatches
from charrnn.text.encoded import EncodedStream
from charrnn.training.learner import Learner

V, E, H, L = 11, 5, 13, 2
CONFIG = TrainConfig(
    epochs=3,
    batch=BatchConfig(size=7, length=9, stride=4, reset=0.0),
    model=Architecture(embedding_size=E, hidden_size=H, num_layers=L),
    optimiser=OptimiserConfig(learning_rate=3e-3, warmup_steps=5),
)


def stream_of(characters: int, seed: int = 0) -> EncodedStream:
    """Random ids of V characters: each is likelier the smaller it is, so that there is something to learn."""
    ids = np.minimum(np.random.default_rng(seed).geometric(0.3, characters) - 1, V - 1)
    return EncodedStream.of(ids.astype(np.uint8))


def model_of(config: TrainConfig = CONFIG, seed: int = 0, **changes: Any) -> CharRNN:
    torch.manual_seed(seed)
    architecture = replace(config.model, **changes)
    return CharRNN(ModelConfig(vocabulary_size=V, **vars(architecture)))


def batches_of(stream: EncodedStream, config: TrainConfig) -> Batches:
    split = Split("train", 0, len(stream))
    sizes = {"batch_size": config.batch.size, "length": config.batch.length}
    if config.batch.mode == "stream":
        return StreamBatches(stream, split, **sizes)
    return WindowBatches(stream, split, **sizes, stride=config.batch.stride, seed=config.seed)


def learner_of(
    accelerator: Accelerator, config: TrainConfig = CONFIG, *, characters: int = 400, seed: int = 0
) -> Learner:
    """A learner on `characters` random characters, its model in training mode."""
    learner = Learner(model_of(config, seed), batches_of(stream_of(characters), config), config, accelerator)
    learner.model.train()
    return learner
