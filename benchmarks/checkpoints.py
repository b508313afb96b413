"""How long training stands still for a checkpoint, as a share of its time at the default settings.

    python benchmarks/checkpoints.py

Writes real checkpoints of the `text` preset's model, and of larger ones, as training does: gathered, hashed, flushed to
the disk, renamed, the old ones deleted. The share is one checkpoint in every `evaluate_every` steps of the preset.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from charrnn.model import CharRNN, ModelConfig
from charrnn.presets import text
from charrnn.processes.start import start
from charrnn.text.batches import Split, StreamBatches
from charrnn.text.encoded import EncodedStream
from charrnn.training import checkpoint as checkpoints
from charrnn.training.learner import Learner

REPEATS = 9


def main() -> None:
    accelerator = start(mixed_precision="no", threads=os.cpu_count() or 1)
    print("| H | parameters | a step | a checkpoint | share of training |")
    print("| --- | --- | --- | --- | --- |")
    for hidden_size in (512, 1024, 2048):
        config = text()
        config = replace(config, model=replace(config.model, hidden_size=hidden_size))
        ids = np.random.default_rng(0).integers(0, 100, 2**21, np.uint8)
        sizes = {"batch_size": config.batch.size, "length": config.batch.length}
        batches = StreamBatches(EncodedStream.of(ids), Split("train", 0, len(ids)), **sizes)
        model = CharRNN(ModelConfig(vocabulary_size=100, **asdict(config.model)))
        learner = Learner(model, batches, config, accelerator)
        step = median(learner.train_step_collective)
        with tempfile.TemporaryDirectory(dir=".") as directory:
            saved = median(lambda: save(learner, Path(directory)))  # noqa: B023 - called at once
        row = {
            "hidden_size": hidden_size,
            "parameters": learner.num_parameters,
            "step_seconds": step,
            "checkpoint_seconds": saved,
            "share": saved / (saved + config.evaluate_every * step),
        }
        print(
            f"| {hidden_size} | {learner.num_parameters:,} | {step * 1e3:.0f} ms | {saved * 1e3:.0f} ms "
            f"| {row['share']:.2%} |\n{json.dumps(row)}"
        )


def save(learner: Learner, directory: Path) -> None:
    """What a run does; the step moves on, as it would."""
    learner.step += 1
    checkpoints.write_checkpoint(directory, learner.checkpoint_collective())
    checkpoints.prune(directory, learner.config.keep_checkpoints)


def median(act: Callable[[], object]) -> float:
    """Seconds; two calls to warm up."""
    times = []
    for _ in range(REPEATS + 2):
        begin = time.perf_counter()
        act()
        times.append(time.perf_counter() - begin)
    return statistics.median(times[2:])


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
