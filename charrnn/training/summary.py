"""What a run says on stdout: what is about to happen, what each evaluation found, where everything is."""

import os
import shlex
import subprocess
import sys

from charrnn.console import told_bytes
from charrnn.runs.directory import RunDirectory
from charrnn.scores import Scores
from charrnn.training.data import RunText
from charrnn.training.deadline import Deadline
from charrnn.training.learner import Learner

__all__ = ["closing", "evaluation", "opening"]

_DROPPED_SHOWN = 8
_NUL = "\0"
"""The one character that no argument can have."""


def opening(
    text: RunText, learner: Learner, recurrence: str, hardware: str, run: str, origin: str, deadline: Deadline | None
) -> str:
    """The text, the model, the work and the hardware, before training starts."""
    prepared = text.prepared
    sizes = ", ".join(f"{split.name} {len(split):,}" for split in (text.train, text.validation, text.test))
    how = "prepared" if prepared.fresh else "found prepared"
    model, batch, min_count = learner.config.model, learner.config.batch, learner.config.text.min_count
    lines = [
        f"text      {prepared.description}: {len(prepared.stream):,} characters, {len(prepared.vocabulary)} distinct"
        f" ({sizes}); {how} in {prepared.seconds:.1f} s",
        *_counted("dropped   {} characters, by the normaliser", prepared.dropped),
        *_counted(
            f"rare      {{}} characters of {len(prepared.rare):,} kinds became U+FFFD (--text.min-count {min_count})",
            prepared.rare,
        ),
        *_suspects(prepared.suspects),
        f"model     {learner.num_parameters:,} parameters, {model.num_layers} x {model.hidden_size} {model.cell}"
        f"{f', dropout {model.dropout:g}' if model.dropout else ''}, recurrence {recurrence}",
        *([f"weights   {origin}"] if origin else []),
        f"training  {learner.total_steps:,} steps of {batch.size} x {batch.length} characters ({batch.mode}),"
        f" {_epochs(learner.total_steps / learner.batches.steps_per_epoch)}{_warm_up(learner)}",
        *([] if deadline is None else [_promise(deadline, learner)]),
        f"hardware  {hardware}",
        f"run       {run}",
    ]
    return "\n".join(lines)


def evaluation(learner: Learner, scores: Scores | None, sample: str) -> str:
    """One line at each evaluation, and the sample under it."""
    epoch = learner.step / learner.batches.steps_per_epoch
    line = f"step {learner.step:,}/{learner.total_steps:,} (epoch {epoch:.2f})"
    if scores is not None:
        line += f"  validation {_scores(scores)}"
    return line + (f"\n    {sample!r}" if sample else "")


def closing(
    directory: RunDirectory, best_step: int, test: Scores | None, prompt: str, deadline: Deadline | None = None
) -> str:
    """The result, the paths, and the two commands a user wants next."""
    sample = f"charrnn-sample {_pasted(_no_flag(str(directory.path)))}"
    option = "--prompt=" if prompt.startswith("-") else "--prompt "
    lines = [f"done      the best checkpoint is that of step {best_step:,}"]
    if test is not None:
        lines.append(f"test      {_scores(test)}, {test.characters:,} characters")
    if deadline is not None:
        lines.append(f"time      {_duration(deadline.spent)} of {_duration(deadline.seconds)}")
    lines += [
        f"model     {directory.model} ({told_bytes(directory.model.stat().st_size)})",
        f"curve     {directory.plot}",
        *([f"samples   {directory.samples}"] if directory.samples.exists() else []),
        "next:",
        f"  {sample} --length 500",
        f"  {sample} {option}{_pasted(prompt.partition(_NUL)[0])} --temperature 0.5",
    ]
    return "\n".join(lines)


def _promise(deadline: Deadline, learner: Learner) -> str:
    if not deadline.left:
        return f"time      {_duration(deadline.seconds)} are too short here: after one more step there is an end"
    epochs = learner.config.epochs
    enough = learner.total_steps >= epochs * learner.batches.steps_per_epoch
    sooner = f", or sooner: {epochs} passes over this text are enough" * enough
    return f"time      done by {deadline.clock}, {_duration(deadline.seconds)} after the start{sooner}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes:,} min {rest:02} s" if minutes else f"{rest} s"


def _pasted(word: str) -> str:
    """`word` as a shell reads it, in characters that standard output has and no terminal obeys."""
    if os.name == "nt":
        return subprocess.list2cmdline([word])
    try:
        word.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        pass  # so is a name that is not UTF-8
    else:
        if word.isprintable():
            return shlex.quote(word)
    data = word.encode("utf-8", "surrogateescape")
    return "$'" + "".join(chr(b) if 32 <= b < 127 and b not in b"\\'" else f"\\{b:03o}" for b in data) + "'"


def _no_flag(path: str) -> str:
    return f"./{path}" if path.startswith("-") else path


def _scores(scores: Scores) -> str:
    return f"{_loss(scores.loss_nats)} nats, {_loss(scores.bpc)} bpc, accuracy {scores.accuracy:.2%}"


def _epochs(number: float) -> str:
    return f"{number:.3g} epoch{'' if number == 1 else 's'}"


def _warm_up(learner: Learner) -> str:
    asked = learner.config.optimiser.warmup_steps
    return f"; a short run: {learner.warmup_steps} steps of warm-up, not {asked}" * (learner.warmup_steps < asked)


def _loss(value: float) -> str:
    return f"{value:.4f}" if value >= 0.01 else f"{value:.1e}"


def _counted(what: str, counts: dict[str, int]) -> list[str]:
    """A line on characters that are no longer in the text, the most frequent named."""
    if not counts:
        return []
    most = ", ".join(f"{character!r} {count:,}" for character, count in list(counts.items())[:_DROPPED_SHOWN])
    rest = len(counts) - _DROPPED_SHOWN
    others = f", and {rest:,} other kinds" if rest > 0 else ""
    return [f"{what.format(f'{sum(counts.values()):,}')}: {most}{others}"]


def _suspects(counts: dict[str, int]) -> list[str]:
    """A line on each character of the text that is seldom meant to be there."""
    return [f"note      {_SUSPECTS[character].format(f'{count:,}')}" for character, count in counts.items()]


_SUSPECTS = {
    "\0": "the text has U+0000 (NUL) {} times: is it binary, an archive, or UTF-16 without a mark (--text.encoding)?",
    "\ufeff": "the text has U+FEFF (byte order mark) {} times: --text.encoding utf-8-sig or utf-16 leaves one out "
    "where a file begins with it",
}
