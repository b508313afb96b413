"""The pieces of a run, made and put together as its settings say: what `run.py` trains with."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

from accelerate import Accelerator
from torch import manual_seed

from charrnn.config import TrainConfig
from charrnn.errors import ConfigError, CorpusError, VocabularyError
from charrnn.model import CharRNN
from charrnn.processes.collectives import broadcast_bytes_collective, made_on_main_collective, on_main_collective
from charrnn.processes.interruptions import Interruptions
from charrnn.processes.start import describe
from charrnn.runs import checkpoint as checkpoints
from charrnn.runs.checkpoint import Checkpoint
from charrnn.runs.directory import Claim, RunDirectory, claim
from charrnn.runs.messages import say, warn
from charrnn.runs.recorder import NoRecorder, Recorder
from charrnn.runs.unfinished import claim_unfinished
from charrnn.runs.wandb_run import WandB
from charrnn.training import budget, summary
from charrnn.training.backend_choice import choose_backend_collective
from charrnn.training.data import RunText
from charrnn.training.deadline import Deadline
from charrnn.training.divergence import DivergenceCheck
from charrnn.training.due import Due
from charrnn.training.learner import Learner
from charrnn.training.origin import start_from
from charrnn.training.sample_writer import write_sample

__all__ = ["Run", "build_collective", "claim_collective", "claim_unfinished_collective"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """The pieces of a run, on one process."""

    accelerator: Accelerator
    directory: RunDirectory
    text: RunText
    learner: Learner
    due: Due
    recorder: Recorder | NoRecorder
    interruptions: Interruptions
    check: DivergenceCheck
    deadline: Deadline | None
    """Where the settings promise one."""
    most_steps: int
    """That the run's settings allow, whatever its deadline."""
    patience: int
    """See TrainConfig."""
    keep_checkpoints: int
    """Newest checkpoints that are kept, beside the best."""
    prompt: str
    """What samples continue, normalised."""
    write_sample: Callable[[], str]
    """A sample of the model as it is, '' where none is wanted."""


def claim_collective(config: TrainConfig, accelerator: Accelerator) -> Claim:
    """The run directory, which the main process chooses and holds locked where it has a run: see `claim`."""
    claimed = _claimed_collective(accelerator, lambda: claim(config))
    assert claimed is not None
    return claimed


def claim_unfinished_collective(config: TrainConfig, accelerator: Accelerator, text: RunText) -> Claim | None:
    """The run on `text` that the same command left unfinished, where it names no directory: see `claim_unfinished`."""
    if config.run_dir or config.resume != "auto":
        return None
    return _claimed_collective(accelerator, lambda: claim_unfinished(config, text.prepared.sha256))


def _claimed_collective(accelerator: Accelerator, make: Callable[[], Claim | None]) -> Claim | None:
    """What `make` claims on the main process, on every process."""
    claimed = made_on_main_collective(accelerator, make)
    words = on_main_collective(accelerator, lambda: claimed.words() if claimed else [])
    return claimed or (Claim.of(words) if words else None)


def build_collective(
    config: TrainConfig, accelerator: Accelerator, place: Claim, text: RunText, *, began: float
) -> Run:
    """Put a run together at `place`, new or as its checkpoint left it. Its recorder is open: the caller closes it.

    `began`: see `train`.

    Raises CharRNNError, on all processes, for what the user can mend.
    """
    text = text.divided(config.text)
    deadline = Deadline(config.minutes, began=began) if config.minutes else None
    if deadline is not None and not place.resumes:
        config = budget.chosen_collective(config, text, accelerator, deadline)
        text = text.divided(config.text)
    batches = text.batches(config.batch, config.seed, config.behaviour)
    prompt = _prompt(config.log.sample_prompt, text)
    checkpoint = _read_checkpoint_collective(place, text, accelerator) if place.resumes else None
    model, origin = _model_collective(config, accelerator, text, new=checkpoint is None)
    recurrence = choose_backend_collective(model, config, accelerator, before=place.recurrence)
    learner = Learner(model, batches, config, accelerator)  # collective: accelerate puts DDP around the model
    most_steps = learner.total_steps
    if checkpoint is not None:
        learner.restore(checkpoint)
    if deadline is not None:
        deadline.resume(0.0 if checkpoint is None else checkpoint.progress.seconds)
        fit = deadline.total_steps(learner.step, learner.total_steps, evaluate_every=config.evaluate_every)
        if (end := on_main_collective(accelerator, lambda: min(most_steps, fit))) != learner.total_steps:
            learner.end_at(end)
    due = _due(config, learner, evaluated=checkpoint is not None and checkpoint.progress.evaluated)
    recorder = made_on_main_collective(
        accelerator, lambda: _open_record(config, place, text, learner, due, recurrence, origin, deadline)
    )
    return Run(
        accelerator=accelerator,
        directory=place.directory,
        text=text,
        learner=learner,
        due=due,
        recorder=recorder or NoRecorder(),
        interruptions=Interruptions(
            accelerator, stop_signal=config.stop_signal_number, checkpoint_minutes=config.checkpoint_minutes
        ),
        check=DivergenceCheck(place.directory.checkpoints, config.optimiser.learning_rate),
        deadline=deadline,
        most_steps=most_steps,
        patience=config.patience,
        keep_checkpoints=config.keep_checkpoints,
        prompt=prompt,
        write_sample=lambda: _sample(config, learner.model, text, prompt),
    )


def _prompt(asked: str, text: RunText) -> str:
    """The sample's prompt, normalised. Raises ConfigError for a character that the text has not."""
    prompt = text.prepared.normaliser(asked)
    try:
        text.prepared.vocabulary.encode(prompt)  # now rather than at the first evaluation
    except VocabularyError as error:
        raise ConfigError(f"--log.sample-prompt {prompt!r}: {error}") from error
    return prompt


def _read_checkpoint_collective(place: Claim, text: RunText, accelerator: Accelerator) -> Checkpoint | None:
    """What the main process reads, on every process: only that one need see the disk."""
    read = made_on_main_collective(accelerator, lambda: _read_checkpoint(place, text))
    if accelerator.num_processes == 1 or not on_main_collective(accelerator, lambda: read is not None):
        return read
    files = read.to_files() if read else dict.fromkeys(checkpoints.FILES, b"")
    sent = {name: broadcast_bytes_collective(accelerator, content) for name, content in files.items()}
    return Checkpoint.from_files(place.directory.checkpoints, sent)


def _read_checkpoint(place: Claim, text: RunText) -> Checkpoint | None:
    """The checkpoint that the run goes on from; None where it has none yet. Main process only."""
    before = place.directory.read_description()["text"]["sha256"]
    if before != text.prepared.sha256:
        raise CorpusError(
            f"{text.prepared.description}: is not the text that {place.directory.path} was trained on: "
            "give that text, or start another run"
        )
    newest = checkpoints.newest_first(place.directory.checkpoints)
    return checkpoints.first_whole(newest if place.checkpoint is None else [place.checkpoint], warn)


def _model_collective(
    config: TrainConfig, accelerator: Accelerator, text: RunText, *, new: bool
) -> tuple[CharRNN, str]:
    """The model, and a line on where its first weights come from, if from another run."""
    manual_seed(config.seed)
    model = text.model(config.model)
    origin = ""
    if config.init_from and new:  # the others get the main process's weights from DDP
        origin = on_main_collective(accelerator, lambda: start_from(config.init_from, model, text))
    return model, origin


def _due(config: TrainConfig, learner: Learner, *, evaluated: bool) -> Due:
    return Due(
        evaluate_every=config.evaluate_every or learner.batches.steps_per_epoch,
        record_every=config.log.every,
        checkpoint_every=config.checkpoint_every,
        total_steps=learner.total_steps,
        evaluated_step=learner.step if evaluated else 0,
    )


def _open_record(
    config: TrainConfig,
    place: Claim,
    text: RunText,
    learner: Learner,
    due: Due,
    recurrence: str,
    origin: str,
    deadline: Deadline | None,
) -> Recorder:
    """Write what describes the run, say what is about to happen, and open the record. Main process only."""
    directory, notes = place.directory, _describe(config, place, text, learner)
    run = str(directory.path) + (f", {notes}" if notes else "")
    say(summary.opening(text, learner, recurrence, describe(learner.accelerator), run, origin, deadline))
    wandb = WandB(
        asked=config.log.wandb,
        project=config.log.project,
        run_dir=directory.path,
        run_id=directory.identity(),
        config=asdict(config) | {"text": asdict(config.text) | text.describe(), "parameters": learner.num_parameters},
    )
    evaluated = due.evaluated_step == learner.step
    return Recorder(directory, wandb, first_step=learner.step, evaluated=evaluated, total_steps=learner.total_steps)


def _describe(config: TrainConfig, place: Claim, text: RunText, learner: Learner) -> str:
    """Write what describes the run; returns what the user should know of how it starts."""
    directory, step, notes = place.directory, learner.step, list[str]()
    if place.resumes:
        notes.append(f"resumed at step {step:,}" if step else "resumed at its beginning: it has no checkpoint yet")
        notes.append(directory.changes(config))
        checkpoints.forget_after(directory.checkpoints, step)
    else:
        directory.claim_new()
    prepared = text.prepared
    directory.describe(config, text.describe(), prepared.vocabulary, prepared.normaliser, recurrence=learner.backend)
    return "; ".join(filter(None, notes))


def _sample(config: TrainConfig, model: CharRNN, text: RunText, prompt: str) -> str:
    log = config.log
    if not log.sample_length:
        return ""
    length, temperature = log.sample_length, log.sample_temperature
    vocabulary = text.prepared.vocabulary
    return write_sample(model, vocabulary, prompt, length=length, temperature=temperature, seed=config.seed)
