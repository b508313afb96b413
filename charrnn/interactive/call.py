"""`charrnn.train`: what `charrnn-train` does, in the process that calls it."""

import os
import signal
from typing import Unpack

from charrnn.interactive.finished import Run
from charrnn.interactive.given import TrainSettings, config_of
from charrnn.training.run import train as train_run

__all__ = ["Interrupted", "train"]


class Interrupted(KeyboardInterrupt):
    """A run was interrupted; what it has learnt is in a checkpoint."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows."""
        return [f"Interrupted: {self}"]


def train(*texts: str | os.PathLike[str], **settings: Unpack[TrainSettings]) -> Run:
    """Train a model in this process, and return the run.

        run = charrnn.train("novel.txt", minutes=10)
        run = charrnn.train("war-and-peace", epochs=3, model={"cell": "lstm"}, run_dir="runs/lstm")

    texts: as charrnn-train takes them: a preset, or files, directories, globs, addresses, or a preset and texts.
    settings: charrnn-train's flags by their names, those of a group (text, batch, model, optimiser, log) in a dict.

    Interrupted (Ctrl-C, the notebook's stop button) it saves a checkpoint and raises KeyboardInterrupt; the same call
    goes on from there, as it does where the process was killed. Where accelerate has started several processes, all of
    them call this. One process has one run at a time; torch's settings are as before when it is over.
    Raises CharRNNError, whose message is one line, for what you can mend.
    """
    try:
        ended = train_run(config_of(texts, settings))
    except KeyboardInterrupt:  # while it prepared the text, or scored
        raise Interrupted("what is saved stays: the same call goes on from there") from None
    if ended.signal == signal.SIGINT:
        raise Interrupted(f"{ended.run} has a checkpoint: the same call goes on")
    if ended.signal:
        raise SystemExit(128 + ended.signal)
    return Run(ended.run)
