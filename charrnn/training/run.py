"""One training run, from the text to model.onnx."""

import gc
import math
import time
import traceback
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor

from charrnn.errors import ConfigError, CorpusError, TrainingError
from charrnn.model import CharRNN, ModelConfig
from charrnn.text.batches import Split
from charrnn.training import checkpoint as checkpoints
from charrnn.training import summary
from charrnn.training.config import TrainConfig
from charrnn.training.data import RunText
from charrnn.training.devices import describe, main_decides, start
from charrnn.training.evaluation import Scores, evaluate
from charrnn.training.export_run import export_run
from charrnn.training.learner import Learner
from charrnn.training.recorder import Recorder, say
from charrnn.training.run_directory import RunDirectory
from charrnn.training.sample import write_sample
from charrnn.training.stopping import StopSignal
from charrnn.training.tracking import WandB, wandb_mode

__all__ = ["train"]

STOP_CHECK_STEPS = 10
"""Steps between two moments at which several processes agree on whether one of them was told to stop."""


def train(config: TrainConfig) -> int:
    """Run `config` to its end and return the exit status: 0, or 128 + the signal that stopped it.

    Every process of the launch calls this. Raises CharRNNError for what the user can mend, on every process.
    """
    accelerator = start(mixed_precision=config.mixed_precision, threads=config.threads)
    try:
        return _train(config, accelerator)
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)  # they hold the model, too
        raise
    finally:
        # The model goes before its process group. DDP's reducer, if it is the last to hold the group, waits for the
        # group's thread while it keeps Python's lock, which that thread may be waiting for: a process that never ends.
        accelerator.free_memory()
        gc.collect()
        accelerator.end_training()


def _train(config: TrainConfig, accelerator: Accelerator) -> int:
    run = _Run(config, accelerator)
    try:
        return run.run()
    finally:
        run.close()


class _Run:
    """The pieces of a run, put together; `run` is the story."""

    def __init__(self, config: TrainConfig, accelerator: Accelerator) -> None:
        self.config = config
        self.accelerator = accelerator
        wandb_mode(config.log.wandb)  # an impossible choice is said before the work, not after
        self.directory = RunDirectory(Path(main_decides(accelerator, lambda: _choose_directory(config))))
        self.text = RunText.open(config.text, accelerator)
        batches = self.text.batches(config.batch, config.seed)
        vocabulary, normaliser = self.text.prepared.vocabulary, self.text.prepared.normaliser
        self.prompt = normaliser(config.log.sample_prompt)
        vocabulary.encode(self.prompt)  # raises now rather than at the first evaluation
        torch.manual_seed(config.seed)
        model = CharRNN(ModelConfig(vocabulary_size=len(vocabulary), **asdict(config.model)))
        self.learner = Learner(model, batches, config, accelerator)
        if config.resume:
            self._restore()
        main_decides(accelerator, lambda: self.directory.create(config, self.text.describe(), vocabulary, normaliser))
        self.recorder = self._open_recorder() if accelerator.is_main_process else None

    def run(self) -> int:
        """Train to the end or to a signal; then score, export and say what there is."""
        with StopSignal(self.accelerator) as stop:
            signal = self._fit(stop)
        if signal:
            if self.recorder:
                say(f"stopped by signal {signal} at step {self.learner.step}; continue with --resume")
            return 128 + signal
        self._finish()
        return 0

    def close(self) -> None:
        """End the progress bar and the W&B run, however the run ended."""
        if self.recorder:
            self.recorder.close()

    def _restore(self) -> None:
        before = self.directory.read_description()["text"]["sha256"]
        if before != self.text.prepared.sha256:
            raise CorpusError(
                f"{self.text.prepared.description}: is not the text that {self.directory.path} was trained on: "
                "give that text, or start another run"
            )
        newest = checkpoints.latest(self.directory.checkpoints)
        if newest is not None:
            self.learner.restore(checkpoints.read_checkpoint(newest))

    def _open_recorder(self) -> Recorder:
        print(summary.opening(self.text, self.learner, describe(self.accelerator), self.directory), flush=True)
        wandb = WandB(
            asked=self.config.log.wandb,
            project=self.config.log.project,
            run_dir=self.directory.path,
            config=asdict(self.config)
            | {"text": asdict(self.config.text) | self.text.describe(), "parameters": self.learner.num_parameters},
        )
        return Recorder(self.directory, wandb, first_step=self.learner.step, total_steps=self.learner.total_steps)

    def _fit(self, stop: StopSignal) -> int:
        """Train until `total_steps`; returns the signal that ended it before, a checkpoint saved, or 0."""
        learner, log_every = self.learner, self.config.log.every
        evaluate_every = self.config.evaluate_every or learner.batches.steps_per_epoch
        sums = torch.zeros(3, dtype=torch.float64, device=self.accelerator.device)
        since, seconds = learner.step, time.perf_counter()
        learner.model.train()
        while learner.step < learner.total_steps:
            step_sums, norm = learner.train_step()
            sums += step_sums
            if self.recorder:
                self.recorder.advance()
            signal = self._agreed_signal(stop)
            evaluating = learner.step == learner.total_steps or learner.step % evaluate_every == 0
            if not (signal or evaluating or learner.step % log_every == 0):
                continue
            speed = (learner.step - since) * learner.characters_per_step / (time.perf_counter() - seconds)
            self._record_training(sums, norm, speed)
            if signal:
                self._save(validation_loss_nats=None)
                return signal
            if evaluating:
                self._evaluate()
            sums.zero_()
            since, seconds = learner.step, time.perf_counter()
        return 0

    def _agreed_signal(self, stop: StopSignal) -> int:
        alone = self.accelerator.num_processes == 1
        return stop.agreed() if alone or self.learner.step % STOP_CHECK_STEPS == 0 else 0

    def _record_training(self, sums: Tensor, norm: Tensor, characters_per_second: float) -> None:
        loss, hits, count = self.accelerator.reduce(sums, reduction="sum").tolist()
        self._stop_if_diverged(loss / count)
        if self.recorder:
            training = {
                "train_loss_nats": loss / count,
                "train_accuracy": hits / count,
                "learning_rate": self.learner.last_learning_rate,
                "gradient_norm": float(norm),
                "characters_per_second": characters_per_second,
            }
            self.recorder.record(self._position() | training)

    def _evaluate(self) -> None:
        """Score the validation split, write a sample, save a checkpoint."""
        scores = self._score(self.text.validation)
        if scores is not None:
            self._stop_if_diverged(scores.loss_nats)
        self._save(None if scores is None else scores.loss_nats)
        if self.recorder:
            record = self._position() | _named("validation", scores)
            sample = self._sample()
            self.recorder.record(record | ({"sample": sample} if sample else {}))
            self.recorder.refresh_views()
            say(summary.evaluation(self.learner, scores, sample))

    def _score(self, split: Split) -> Scores | None:
        if len(split) == 0:
            return None
        if self.recorder:
            self.recorder.stage(f"scoring {split.name}")
        scores = evaluate(self.learner.model, self.text.prepared.stream, split, self.accelerator)
        if self.recorder:
            self.recorder.stage("")
        return scores

    def _save(self, validation_loss_nats: float | None) -> None:
        state = self.learner.checkpoint(validation_loss_nats)
        if not all(bool(value.isfinite().all()) for value in state.model.values()):
            raise self._diverged(f"a parameter is no longer a number after step {self.learner.step}")
        if self.accelerator.is_main_process:
            checkpoints.write_checkpoint(self.directory.checkpoints, state)
            checkpoints.prune(self.directory.checkpoints, self.config.keep_checkpoints)

    def _sample(self) -> str:
        log = self.config.log
        if not log.sample_length:
            return ""
        return write_sample(
            self.learner.model,
            self.text.prepared.vocabulary,
            self.prompt,
            length=log.sample_length,
            temperature=log.sample_temperature,
            seed=self.config.seed,
        )

    def _stop_if_diverged(self, loss: float) -> None:
        """Raise TrainingError, on all processes alike, before a spoilt model can be saved."""
        if not math.isfinite(loss):
            raise self._diverged(f"the loss is {loss} at step {self.learner.step}")

    def _diverged(self, what: str) -> TrainingError:
        good = checkpoints.latest(self.directory.checkpoints)
        kept = f"the last good checkpoint is {good}" if good else "there is no checkpoint yet"
        return TrainingError(
            f"{what}, so training stopped; {kept}: start another run with a "
            f"lower --optimiser.learning-rate (it was {self.config.optimiser.learning_rate}) or --optimiser.clip-norm"
        )

    def _finish(self) -> None:
        """Score the test split with the best checkpoint's weights, export them, and say where everything is."""
        best = checkpoints.best(self.directory.checkpoints) if self.recorder else None
        if best is not None:
            self.learner.model.load_state_dict(checkpoints.read_checkpoint(best).model)
        for parameter in self.learner.model.parameters():  # the other processes may not see this disk
            parameter.data.copy_(broadcast(parameter.data))
        test = self._score(self.text.test)
        if self.recorder is None:
            return
        assert best is not None, "the last step saves a checkpoint"
        best_step = checkpoints.read_progress(best).step
        self.recorder.record(self._position() | _named("test", test) | {"best_step": best_step})
        results = export_run(self.directory, best, self.directory.model)
        self.recorder.refresh_views()
        self.recorder.finish(results, self.directory.model)
        print(summary.closing(self.directory, best_step, test, self._example_prompt()), flush=True)

    def _example_prompt(self) -> str:
        """A prompt that this model can read: the user's, or how the text begins."""
        prepared = self.text.prepared
        beginning = prepared.vocabulary.decode(prepared.stream.read(0, min(12, len(prepared.stream))))
        return self.prompt or beginning.splitlines()[0]

    def _position(self) -> dict[str, float]:
        step = self.learner.step
        return {"step": step, "characters_seen": step * self.learner.characters_per_step}


def _choose_directory(config: TrainConfig) -> str:
    """The run directory, checked but not made yet: a mistake found later leaves nothing behind."""
    if config.resume and not config.run_dir:
        raise ConfigError("--resume needs --run-dir: name the directory of the run that is to go on")
    path = Path(config.run_dir or f"runs/{config.preset}-{time.strftime('%Y%m%d-%H%M%S')}")
    RunDirectory(path).check(config)
    return str(path)


def _named(split: str, scores: Scores | None) -> dict[str, float]:
    if scores is None:
        return {}
    return {f"{split}_loss_nats": scores.loss_nats, f"{split}_accuracy": scores.accuracy}
