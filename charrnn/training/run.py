"""One training run, from the text to model.onnx."""

import gc
import math
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, replace

from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, manual_seed

from charrnn.config import TrainConfig
from charrnn.errors import ConfigError, CorpusError, RunError, TrainingError, VocabularyError
from charrnn.model import CharRNN, ModelConfig
from charrnn.processes.collectives import broadcast_bytes_collective, on_main_collective
from charrnn.processes.failures import lost_process, out_of_memory
from charrnn.processes.interruptions import Interruptions
from charrnn.processes.start import describe, start
from charrnn.runs import checkpoint as checkpoints
from charrnn.runs.checkpoint import Checkpoint
from charrnn.runs.directory import Claim, claim
from charrnn.runs.export_run import export_run
from charrnn.runs.messages import say, warn
from charrnn.runs.recorder import Recorder
from charrnn.runs.wandb_run import WandB, wandb_mode
from charrnn.scores import Scores
from charrnn.text.batches import Split
from charrnn.training import summary
from charrnn.training.data import RunText
from charrnn.training.evaluation import evaluate_collective
from charrnn.training.learner import Learner
from charrnn.training.origin import start_from
from charrnn.training.sample_writer import write_sample

__all__ = ["train"]


def train(config: TrainConfig) -> int:
    """Run `config` to its end and return the exit status: 0, or 128 + the signal that stopped it.

    Every process of the launch calls this. Raises CharRNNError for what the user can mend, on every process.
    """
    accelerator = start(
        mixed_precision=config.mixed_precision, threads=config.threads, timeout_seconds=config.process_timeout
    )
    try:
        return _train(config, accelerator)
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)  # they hold the model, too
        memory = out_of_memory(error, config)
        if memory is not None and not accelerator.is_main_process:  # which may meet another error, or none
            warn(f"process {accelerator.process_index}: {memory}")
        known = memory or lost_process(error)
        if known is not None:
            raise known from error
        raise
    finally:
        # The model goes before its process group. DDP's reducer, if it is the last to hold the group, waits for the
        # group's thread while it keeps Python's lock, which that thread may be waiting for: a process that never ends.
        accelerator.free_memory()
        gc.collect()
        accelerator.end_training()


def _train(config: TrainConfig, accelerator: Accelerator) -> int:
    wandb_mode(config.log.wandb, config.log.project)  # an impossible choice is said before the work, not after
    mine: list[Claim] = []

    def on_main() -> list[str]:
        mine.append(claim(config))
        return mine[0].words()

    words = on_main_collective(accelerator, on_main)
    place = mine[0] if mine else Claim.of(words)
    try:
        run = _Run(replace(config, behaviour=place.behaviour), accelerator, place)
        try:
            return run.run()
        finally:
            run.close()
    finally:
        place.directory.unlock()


class _Run:
    """The pieces of a run, put together; `run` is the story."""

    def __init__(self, config: TrainConfig, accelerator: Accelerator, place: Claim) -> None:
        self.config = config
        self.accelerator = accelerator
        self.directory = place.directory
        self.text = RunText.open_collective(config.text, accelerator)
        batches = self.text.batches(config.batch, config.seed, config.behaviour)
        vocabulary, normaliser = self.text.prepared.vocabulary, self.text.prepared.normaliser
        self.prompt = normaliser(config.log.sample_prompt)
        try:
            vocabulary.encode(self.prompt)  # now rather than at the first evaluation
        except VocabularyError as error:
            raise ConfigError(f"--log.sample-prompt {self.prompt!r}: {error}") from error
        checkpoint = self._read_checkpoint(place) if place.resumes else None
        manual_seed(config.seed)
        model = CharRNN(ModelConfig(vocabulary_size=len(vocabulary), **asdict(config.model)))
        weights = ""
        if config.init_from and checkpoint is None:  # the others get the main process's weights from DDP
            weights = on_main_collective(accelerator, lambda: start_from(config.init_from, model, self.text))
        self.learner = Learner(model, batches, config, accelerator)
        self.evaluated_step = 0
        if checkpoint is not None:
            self.learner.restore(checkpoint)
            self.evaluated_step = self.learner.step if checkpoint.progress.evaluated else 0
        notes = on_main_collective(accelerator, lambda: self._create(place.resumes))
        self.recorder: Recorder | None = None
        on_main_collective(accelerator, lambda: self._open_recorder(notes, weights))

    def run(self) -> int:
        """Train to the end or to a signal; then score, export and say what there is."""
        with Interruptions(
            self.accelerator,
            stop_signal=self.config.stop_signal_number,
            checkpoint_minutes=self.config.checkpoint_minutes,
        ) as interruptions:
            signal = self._fit(interruptions)
        if signal:
            if self.recorder:
                say(f"stopped by signal {signal} at step {self.learner.step}; the same command continues")
            return 128 + signal
        self._finish()
        return 0

    def close(self) -> None:
        """End the progress bar and the W&B run, however the run ended."""
        if self.recorder:
            self.recorder.close()

    def _read_checkpoint(self, place: Claim) -> Checkpoint | None:
        """What the main process reads, on every process: only that one need see the disk."""
        read: list[Checkpoint | None] = []

        def on_main() -> bool:
            before = self.directory.read_description()["text"]["sha256"]
            if before != self.text.prepared.sha256:
                raise CorpusError(
                    f"{self.text.prepared.description}: is not the text that {self.directory.path} was trained on: "
                    "give that text, or start another run"
                )
            newest = checkpoints.newest_first(self.directory.checkpoints)
            if place.checkpoint is not None:
                newest = [place.checkpoint]
            read.append(checkpoints.first_whole(newest, warn))
            return read[0] is not None

        if not on_main_collective(self.accelerator, on_main):
            return None
        if self.accelerator.num_processes == 1:
            return read[0]
        files = read[0].to_files() if read and read[0] else dict.fromkeys(checkpoints.FILES, b"")
        sent = {name: broadcast_bytes_collective(self.accelerator, content) for name, content in files.items()}
        return Checkpoint.from_files(self.directory.checkpoints, sent)

    def _create(self, resumes: bool) -> str:
        """Write what describes the run; returns what the user should know of how it starts. Main process only."""
        step, notes = self.learner.step, []
        if resumes:
            notes.append(f"resumed at step {step:,}" if step else "resumed at its beginning: it has no checkpoint yet")
            notes.append(self.directory.changes(self.config))
            checkpoints.forget_after(self.directory.checkpoints, step)
        else:
            self.directory.claim_new()
        prepared = self.text.prepared
        self.directory.describe(self.config, self.text.describe(), prepared.vocabulary, prepared.normaliser)
        return "; ".join(filter(None, notes))

    def _open_recorder(self, notes: str, weights: str) -> None:
        run = str(self.directory.path) + (f", {notes}" if notes else "")
        say(summary.opening(self.text, self.learner, describe(self.accelerator), run, weights))
        wandb = WandB(
            asked=self.config.log.wandb,
            project=self.config.log.project,
            run_dir=self.directory.path,
            run_id=self.directory.identity(),
            config=asdict(self.config)
            | {"text": asdict(self.config.text) | self.text.describe(), "parameters": self.learner.num_parameters},
        )
        self.recorder = Recorder(
            self.directory,
            wandb,
            first_step=self.learner.step,
            evaluated=self.evaluated_step == self.learner.step,
            total_steps=self.learner.total_steps,
        )

    def _fit(self, interruptions: Interruptions) -> int:
        """Train until `total_steps`; returns the signal that ended it before, a checkpoint saved, or 0."""
        learner, config = self.learner, self.config
        since, seconds = learner.step, time.perf_counter()
        learner.model.train()
        while True:
            if self._evaluation_is_due():
                self._evaluate()
                interruptions.saved()
                since, seconds = learner.step, time.perf_counter()
            if learner.step >= learner.total_steps:
                return 0
            norm = learner.train_step_collective()
            if self.recorder:
                self.recorder.advance()
            if self._evaluation_is_due() or learner.step % config.log.every == 0:
                now = time.perf_counter()
                self._record_training(norm, (learner.step - since) * learner.characters_per_step / (now - seconds))
                since, seconds = learner.step, now
            signal, minutes_are_over = interruptions.agreed_collective(learner.step)
            step_is_due = config.checkpoint_every and learner.step % config.checkpoint_every == 0
            if signal or ((minutes_are_over or step_is_due) and not self._evaluation_is_due()):
                self._save()
                interruptions.saved()
            if signal:
                return signal

    def _evaluation_is_due(self) -> bool:
        step, every = self.learner.step, self.config.evaluate_every or self.learner.batches.steps_per_epoch
        return step not in (0, self.evaluated_step) and (step % every == 0 or step == self.learner.total_steps)

    def _record_training(self, norm: Tensor, characters_per_second: float) -> None:
        loss, hits, count = self.learner.training_sums_collective()
        self._stop_if_diverged(loss / count)
        training = {
            "train_loss_nats": loss / count,
            "train_accuracy": hits / count,
            "learning_rate": self.learner.last_learning_rate,
            "gradient_norm": float(norm),
            "characters_per_second": characters_per_second,
        }
        self._on_main(lambda recorder: recorder.record(self._position() | training))

    def _on_main(self, act: Callable[[Recorder], None]) -> None:
        """Do on the main process what only that one does; where it fails, all processes learn it at once."""
        on_main_collective(self.accelerator, lambda: act(self.recorder) if self.recorder else None)

    def _evaluate(self) -> None:
        """Score the validation split, write a sample, save a checkpoint."""
        scores = self._score(self.text.validation)
        if scores is not None:
            self._stop_if_diverged(scores.loss_nats)
        self.evaluated_step = self.learner.step
        # Recorded before the checkpoint is there: where the run goes on from that, nothing is missing.
        sample = on_main_collective(self.accelerator, lambda: self._record_evaluation(scores))
        self._save(None if scores is None else scores.loss_nats)
        self._on_main(lambda recorder: recorder.draw())
        if self.recorder:
            say(summary.evaluation(self.learner, scores, sample))

    def _record_evaluation(self, scores: Scores | None) -> str:
        """Record the scores and a sample, which is returned. Main process only."""
        assert self.recorder is not None
        sample = self._sample()
        record = self._position() | _named("validation", scores)
        self.recorder.record(record | ({"sample": sample} if sample else {}))
        return sample

    def _score(self, split: Split) -> Scores | None:
        if len(split) == 0:
            return None
        if self.recorder:
            self.recorder.stage(f"scoring {split.name}")
        scores = evaluate_collective(self.learner.model, self.text.prepared.stream, split, self.accelerator)
        if self.recorder:
            self.recorder.stage("")
        return scores

    def _save(self, validation_loss_nats: float | None = None) -> None:
        evaluated = self.evaluated_step == self.learner.step
        state = self.learner.checkpoint_collective(evaluated=evaluated, validation_loss_nats=validation_loss_nats)
        if not all(bool(value.isfinite().all()) for value in state.model.values()):
            raise self._diverged(f"a parameter is no longer a number after step {self.learner.step}")
        self._on_main(lambda recorder: self._write(recorder, state))

    def _write(self, recorder: Recorder, state: Checkpoint) -> None:
        recorder.flush()
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
        good = checkpoints.newest_first(self.directory.checkpoints)
        kept = f"the last good checkpoint is {good[0]}" if good else "there is no checkpoint yet"
        return TrainingError(
            f"{what}, so training stopped; {kept}: start another run with a "
            f"lower --optimiser.learning-rate (it was {self.config.optimiser.learning_rate}) or --optimiser.clip-norm"
        )

    def _finish(self) -> None:
        """Score the test split with the best checkpoint's weights, export them, and say where everything is."""
        read: list[Checkpoint] = []
        self._on_main(lambda recorder: read.append(self._best()))
        for best in read:
            self.learner.model.load_state_dict(best.model)
        for parameter in self.learner.model.parameters():  # the other processes may not see this disk
            parameter.data.copy_(broadcast(parameter.data))
        test = self._score(self.text.test)
        self._on_main(lambda recorder: self._conclude(recorder, read[0], test))

    def _best(self) -> Checkpoint:
        directory = self.directory.checkpoints
        best = checkpoints.first_whole(checkpoints.best_first(directory), warn)
        if best is None:
            raise RunError(f"{directory}: its checkpoints have been deleted: start the same command again")
        return best

    def _conclude(self, recorder: Recorder, best: Checkpoint, test: Scores | None) -> None:
        best_step = best.progress.step
        recorder.record(self._position() | _named("test", test) | {"best_step": best_step})
        results = export_run(self.directory, best, self.directory.model).summary
        recorder.draw()
        recorder.finish(results, self.directory.model)
        say(summary.closing(self.directory, best_step, test, self._example_prompt()))

    def _example_prompt(self) -> str:
        """A prompt that this model can read: the user's, or how the text begins."""
        prepared = self.text.prepared
        beginning = prepared.vocabulary.decode(prepared.stream.read(0, min(12, len(prepared.stream))))
        return self.prompt or beginning.splitlines()[0]

    def _position(self) -> dict[str, float]:
        step = self.learner.step
        return {"step": step, "characters_seen": step * self.learner.characters_per_step}


def _named(split: str, scores: Scores | None) -> dict[str, float]:
    if scores is None:
        return {}
    return {f"{split}_loss_nats": scores.loss_nats, f"{split}_accuracy": scores.accuracy}
