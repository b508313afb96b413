"""One training run, from the text to model.onnx."""

import gc
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator
from torch import Tensor

from charrnn.config import TrainConfig
from charrnn.errors import ConfigError, RunError
from charrnn.processes.collectives import (
    broadcast_parameters_collective,
    made_on_main_collective,
    on_all_collective,
    on_main_collective,
)
from charrnn.processes.failures import lost_process, out_of_memory
from charrnn.processes.start import start
from charrnn.processes.surroundings import left_as_found
from charrnn.runs import checkpoint as checkpoints
from charrnn.runs.checkpoint import Checkpoint
from charrnn.runs.directory import precision_of
from charrnn.runs.export_run import export_run
from charrnn.runs.messages import warn
from charrnn.runs.wandb_run import wandb_mode
from charrnn.scores import Scores
from charrnn.text.batches import Split
from charrnn.training import summary
from charrnn.training.build import Run, build_collective, claim_collective, claim_unfinished_collective
from charrnn.training.data import RunText
from charrnn.training.evaluation import evaluate_collective
from charrnn.training.pace import Pace

__all__ = ["Ended", "train"]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a run came to an end, for now or for good."""

    run: Path
    """Its directory, which the main process sees."""
    signal: int
    """What told it to stop before it was done; 0: nothing did."""


def train(config: TrainConfig, *, began: float | None = None) -> Ended:
    """Run `config` to its end, or until a signal stops it, a checkpoint saved.

    The config's minutes count from `began`, a time of `time.monotonic`; None: from now.
    Every process of the launch calls this. Raises CharRNNError for what the user can mend, on every process. What it
    sets in this process, of torch and of accelerate, is as before afterwards.
    """
    began = time.monotonic() if began is None else began
    config = config.changed({"mixed_precision": precision_of(config)})
    with left_as_found():
        accelerator = start(
            mixed_precision=config.mixed_precision, threads=config.threads, timeout_seconds=config.process_timeout
        )
        try:
            return _train_collective(config, accelerator, began)
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
            # The model goes before its process group. DDP's reducer, if it is the last to hold the group, waits for
            # the group's thread while it keeps Python's lock, which that thread may be waiting for: a process that
            # never ends.
            accelerator.free_memory()
            gc.collect()
            accelerator.end_training()


def _train_collective(config: TrainConfig, accelerator: Accelerator, began: float) -> Ended:
    wandb_mode(config.log.wandb, config.log.project)  # an impossible choice is said before the work, not after
    place = claim_collective(config, accelerator)
    try:
        text = RunText.open_collective(config.changed(place.settled).text, accelerator)
        place = claim_unfinished_collective(config, accelerator, text) or place
        settled = config.changed(place.settled)
        on_all_collective(accelerator, lambda: _check_precision(config, settled))
        run = build_collective(settled, accelerator, place, text, began=began)
        try:
            signal = _run_collective(run)
        finally:
            run.recorder.close()
    finally:
        place.directory.unlock()
    return Ended(run=place.directory.path, signal=signal)


def _check_precision(config: TrainConfig, settled: TrainConfig) -> None:
    """Raise ConfigError where a process has begun in another precision than the run, which it does not see."""
    if settled.mixed_precision != config.mixed_precision:
        raise ConfigError(
            f"the run's mixed_precision is {settled.mixed_precision}, and not every process sees its directory: "
            f"give --mixed-precision {settled.mixed_precision}"
        )


def _run_collective(run: Run) -> int:
    """Train to the end; then score, export and say what there is. Returns the signal that stopped it before, or 0."""
    with run.interruptions:
        signal = _fit_collective(run)
    if signal:
        run.recorder.say(f"stopped by signal {signal} at step {run.learner.step}; the same command continues")
    else:
        _finish_collective(run)
    return signal


def _fit_collective(run: Run) -> int:
    """Train until `total_steps`; returns the signal that ended it before, a checkpoint saved, or 0."""
    learner, due = run.learner, run.due
    pace = Pace(learner.step, learner.config.batch.characters)
    learner.model.train()
    if 0 < learner.step < learner.total_steps:
        _set_end_collective(run)  # its last evaluation may have been the last one that --patience allows
    while True:
        if due.evaluation(learner.step):  # also where the run was stopped between a checkpoint and its evaluation
            _evaluate_collective(run)
            if learner.step < learner.total_steps:
                _set_end_collective(run)
            pace.restart(learner.step)
        if learner.step >= learner.total_steps:
            return 0
        gradient_norm = learner.train_step_collective()
        run.recorder.advance()
        if due.record(learner.step):
            speed = pace.lap(learner.step)
            _record_training_collective(run, gradient_norm, speed)
            if run.deadline is not None:
                run.deadline.trained(learner.config.batch.characters / speed)
                _set_end_collective(run)
        signal, minutes_are_over = run.interruptions.agreed_collective(learner.step)
        if signal or due.checkpoint(learner.step, minutes_are_over):
            _save_collective(run)
        if signal:
            return signal


def _set_end_collective(run: Run) -> None:
    """Set the end of the run anew: where its time is over, and where training has long led to nothing better."""
    learner = run.learner

    def decide() -> int:
        since_best = run.recorder.evaluations_since_best()
        if 0 < run.patience <= since_best:
            run.recorder.say(f"enough: the last {since_best} evaluations found nothing better (--patience)")
            return learner.step
        if run.deadline is None:
            return learner.total_steps
        fit = run.deadline.total_steps(learner.step, learner.total_steps, evaluate_every=run.due.evaluate_every)
        return min(fit, run.most_steps)

    total = on_main_collective(run.accelerator, decide)
    if total != learner.total_steps:
        learner.end_at(total)
        run.due.total_steps = learner.total_steps
        run.recorder.end_at(learner.total_steps)


def _record_training_collective(run: Run, gradient_norm: Tensor, characters_per_second: float) -> None:
    loss, hits, count = run.learner.training_sums_collective()
    run.check.loss(loss / count, run.learner.step)
    training = {
        "train_loss_nats": loss / count,
        "train_accuracy": hits / count,
        "learning_rate": run.learner.last_learning_rate,
        "gradient_norm": float(gradient_norm),
        "characters_per_second": characters_per_second,
    }
    on_main_collective(run.accelerator, lambda: run.recorder.record(_position(run) | training))


def _evaluate_collective(run: Run) -> None:
    """Score the validation split, write a sample, save a checkpoint."""
    begin = time.perf_counter()
    scores = _score_collective(run, run.text.validation)
    if scores is not None:
        run.check.loss(scores.loss_nats, run.learner.step)
    run.due.evaluated_step = run.learner.step
    sample = on_main_collective(run.accelerator, run.write_sample)
    record = _position(run) | _named("validation", scores) | ({"sample": sample} if sample else {})
    # Recorded before the checkpoint is there: where the run goes on from that, nothing is missing.
    on_main_collective(run.accelerator, lambda: run.recorder.record(record))
    _save_collective(run, scores)
    on_main_collective(run.accelerator, run.recorder.draw)
    run.recorder.say(summary.evaluation(run.learner, scores, sample))
    if run.deadline is not None:
        run.deadline.evaluated(time.perf_counter() - begin, test_share=run.text.test_share)


def _score_collective(run: Run, split: Split) -> Scores | None:
    if len(split) == 0:
        return None
    run.recorder.stage(f"scoring {split.name}")
    scores = evaluate_collective(run.learner.model, run.text.prepared.stream, split, run.accelerator)
    run.recorder.stage("")
    return scores


def _save_collective(run: Run, validation: Scores | None = None) -> None:
    """Save a checkpoint, unless the model is spoilt."""
    state = run.learner.checkpoint_collective(
        evaluated=run.due.evaluated_step == run.learner.step,
        validation_loss_nats=None if validation is None else validation.loss_nats,
        seconds=0.0 if run.deadline is None else run.deadline.spent,
    )
    run.check.parameters(state.model, run.learner.step)
    on_main_collective(run.accelerator, lambda: _write(run, state))
    run.interruptions.saved()


def _write(run: Run, state: Checkpoint) -> None:
    run.recorder.flush()
    checkpoints.write_checkpoint(run.directory.checkpoints, state)
    checkpoints.prune(run.directory.checkpoints, run.keep_checkpoints)


def _finish_collective(run: Run) -> None:
    """Score the test split with the best checkpoint's weights, export them, and say where everything is."""
    best = made_on_main_collective(run.accelerator, lambda: _best(run.directory.checkpoints))
    if best is not None:
        run.learner.model.load_state_dict(best.model)
    broadcast_parameters_collective(run.learner.model)  # the other processes may not see this disk
    test = _score_collective(run, run.text.test)
    on_main_collective(run.accelerator, lambda: _conclude(run, best, test))


def _best(directory: Path) -> Checkpoint:
    best = checkpoints.first_whole(checkpoints.best_first(directory), warn)
    if best is None:
        raise RunError(f"{directory}: its checkpoints have been deleted: start the same command again")
    return best


def _conclude(run: Run, best: Checkpoint | None, test: Scores | None) -> None:
    assert best is not None  # on the main process
    best_step = best.progress.step
    run.recorder.record(_position(run) | _named("test", test) | {"best_step": best_step})
    results = export_run(run.directory, best, run.directory.model).summary
    run.recorder.draw()
    run.recorder.finish(results, run.directory.model)
    closing = summary.closing(run.directory, best_step, test, run.prompt or run.text.beginning(), run.deadline)
    run.recorder.say(closing)


def _position(run: Run) -> dict[str, float]:
    step = run.learner.step
    return {"step": step, "characters_seen": step * run.learner.config.batch.characters}


def _named(split: str, scores: Scores | None) -> dict[str, float]:
    if scores is None:
        return {}
    return {f"{split}_loss_nats": scores.loss_nats, f"{split}_accuracy": scores.accuracy}
