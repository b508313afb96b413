"""The model in training and what moves it: one optimiser step at a time, and the state that a checkpoint keeps."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from charrnn.config import TrainConfig
from charrnn.errors import ConfigError, RunError, first_line
from charrnn.model import CharRNN
from charrnn.model.cells import States
from charrnn.model.dropout import by_bernoulli
from charrnn.processes.failures import is_out_of_memory
from charrnn.runs.checkpoint import Checkpoint, Progress, load_optimiser_tensors, optimiser_tensors
from charrnn.runs.directory import as_json
from charrnn.text.batches import Batches
from charrnn.training.backend_choice import training_dtype
from charrnn.training.schedule import Course, learning_rate, warmup_steps

__all__ = ["Learner"]


class Learner:
    """A CharRNN, its optimiser and the state carried along the text, over all processes.

    `step` counts finished optimiser steps. Everything that happens in step s follows from the parameters, the
    optimiser, the carried state and (seed, s): that is what makes a resumed run the undisturbed one. `backend` names
    what executes the recurrence, `warmup_steps` are those of this run.
    """

    def __init__(self, model: CharRNN, batches: Batches, config: TrainConfig, accelerator: Accelerator) -> None:
        self.config = config
        self.accelerator = accelerator
        self.batches = batches
        self.step = 0
        total_steps = config.epochs * batches.steps_per_epoch
        if config.max_steps:
            total_steps = min(total_steps, config.max_steps)
        self.warmup_steps = config.optimiser.warmup_steps
        if config.behaviour >= 2:
            self.warmup_steps = warmup_steps(
                self.warmup_steps, total_steps=total_steps, steps_per_epoch=batches.steps_per_epoch
            )
        self.course = self._course_of_settings = Course(total_steps=total_steps, since_step=self.warmup_steps)
        self.rows = _rows(config, accelerator.process_index, accelerator.num_processes)
        optimiser = torch.optim.AdamW(
            _parameter_groups(model, config.optimiser.weight_decay),
            betas=(config.optimiser.beta1, config.optimiser.beta2),
            fused=True,
        )
        self.model = model
        if config.behaviour == 1:
            model.dropped = by_bernoulli
        self.parallel, self.optimiser = accelerator.prepare(_Loss(model), optimiser)
        self.backend = self.model.backend(training_dtype(accelerator))
        self.model.backend(torch.float32)  # in which it will be scored: what cannot do that is refused now
        self._names: dict[Tensor, str] = {parameter: name for name, parameter in self.model.named_parameters()}
        self.states: States | None = None
        """What is carried along the text, [L, this process's rows, H] each; None where a pass begins."""
        self._sums = torch.zeros(3, dtype=torch.float64, device=accelerator.device)
        self.last_learning_rate = 0.0

    @property
    def num_parameters(self) -> int:
        """Numbers that are trained."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.course.total_steps

    def end_at(self, total_steps: int) -> None:
        """Have the run end after `total_steps`, its learning rate going from where it is to its end."""
        self.course = self.course.ending_at(max(total_steps, self.step), self.step)

    def _learning_rate(self) -> float:
        settings = self.config.optimiser
        return learning_rate(
            self.step,
            course=self.course,
            highest=settings.learning_rate,
            warmup_steps=self.warmup_steps,
            schedule=settings.schedule,
            final_share=settings.final_learning_rate,
        )

    def train_step_collective(self) -> Tensor:
        """One optimiser step; returns the norm of the global gradient before clipping, a scalar.

        The batch is computed in `accumulation` parts. Each part's loss is its sum divided by the characters of the
        whole global batch, so gradients simply add up; DDP takes the mean over processes, hence their number.
        """
        epoch, index = divmod(self.step, self.batches.steps_per_epoch)
        if index == 0:
            self.states = None  # a new pass over the text begins
        windows = torch.from_numpy(self.batches.batch(epoch, index, self.rows)).to(self.accelerator.device)
        scale = self.accelerator.num_processes / self.config.batch.characters
        after = []
        for part, states, seeds, last in self._parts(windows.long()):
            with nullcontext() if last else self.accelerator.no_sync(self.parallel):
                loss, sums, next_states = self.parallel(part, states, seeds, scale)
                self.accelerator.backward(loss)
            self._sums[:2] += sums
            self._sums[2] += part[:, 1:].numel()
            after.append([state.detach() for state in next_states])
        norm = self._update()
        carried = tuple(torch.cat(parts, 1).float() for parts in zip(*after, strict=True))
        self.states = carried if self.batches.carries_state else None
        self.step += 1
        return norm

    def training_sums_collective(self) -> tuple[float, float, float]:
        """Sums over all steps since the last call and all processes: loss in nats, right guesses, characters.

        A collective call.
        """
        loss, hits, count = self.accelerator.reduce(self._sums, reduction="sum").tolist()
        self._sums.zero_()
        return loss, hits, count

    def _parts(self, windows: Tensor) -> Iterator[tuple[Tensor, States | None, list[int] | None, bool]]:
        """The parts of this process's rows: their windows, states and seeds of dropout, and whether it is the last."""
        parts = self.config.batch.accumulation
        states: Sequence[States | None] = [None] * parts
        if (carried := self._carried()) is not None:
            states = list(zip(*(state.tensor_split(parts, dim=1) for state in carried), strict=True))
        seeds = [None] * parts if not self.config.model.dropout else np.array_split(self._dropout_seeds(), parts)
        for index, (part, before, own) in enumerate(zip(windows.tensor_split(parts), states, seeds, strict=True)):
            yield part, before, None if own is None else own.tolist(), index == parts - 1

    def _carried(self) -> States | None:
        """The states that this step begins with: those after the step before, zeros in rows that are reset."""
        if self.states is None or not self.config.batch.reset:
            return self.states
        reset = self._drawn(np.uint32, 1) < self.config.batch.reset * 2**32
        if not reset.any():  # as in half of the steps, of 64 rows at 0.01: nothing is copied
            return self.states
        rows = torch.from_numpy(reset).to(self.accelerator.device)[:, None]
        return tuple(state.masked_fill(rows, 0) for state in self.states)

    def _dropout_seeds(self) -> NDArray[Any]:
        return self._drawn(np.uint64)

    def _drawn(self, dtype: type[np.unsignedinteger[Any]], *use: int) -> NDArray[Any]:
        """Random numbers, one for each of this process's rows.

        They depend on (seed, step, row of the global batch) alone, and on the use that is made of them.
        """
        sequence = np.random.SeedSequence([self.config.seed, self.step, *use])
        return sequence.generate_state(self.config.batch.size, dtype)[self.rows]

    def _update(self) -> Tensor:
        settings = self.config.optimiser
        self.last_learning_rate = self._learning_rate()
        for group in self.optimiser.param_groups:
            group["lr"] = self.last_learning_rate
        self.accelerator.unscale_gradients()
        # Not accelerate's function around it, which looks for installed packages in every step.
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip_norm or float("inf"))
        self.optimiser.step()
        self.optimiser.zero_grad()
        return norm

    def checkpoint_collective(
        self, *, evaluated: bool = False, validation_loss_nats: float | None = None, seconds: float = 0.0
    ) -> Checkpoint:
        """All that `restore` needs. A collective call: what every process carries is gathered."""
        scaler = self.accelerator.scaler
        carried = {} if self.states is None else self._gathered_collective(self.states)
        return Checkpoint(
            model=self.model.state_dict(),
            optimiser=optimiser_tensors(self.optimiser.optimizer, self._names),
            state=carried | {"training_sums": self.accelerator.gather(self._sums[None])},
            progress=Progress(
                step=self.step,
                epoch=self.step // self.batches.steps_per_epoch,
                characters_seen=self.step * self.config.batch.characters,
                evaluated=evaluated,
                validation_loss_nats=validation_loss_nats,
                gradient_scaler=None if scaler is None else scaler.state_dict(),
                course=None if self.course == self._course_of_settings else asdict(self.course),
                seconds=seconds,
            ),
            config=as_json(self.config),
        )

    def _gathered_collective(self, states: States) -> dict[str, Tensor]:
        """The carried states of all rows of the global batch, by name, [L, B, H], on every process."""
        return {
            name: self._gathered_rows_collective(state)
            for name, state in zip(self.model.cell.states, states, strict=True)
        }

    def _gathered_rows_collective(self, state: Tensor) -> Tensor:
        processes = self.accelerator.num_processes
        blocks = [_rows(self.config, process, processes) for process in range(processes)]
        most = max(block.stop - block.start for block in blocks)
        own = F.pad(state.transpose(0, 1), (0, 0, 0, 0, 0, most - state.shape[1]))
        padded = self.accelerator.gather(own.contiguous()).split(most)
        rows = [part[: block.stop - block.start] for part, block in zip(padded, blocks, strict=True)]
        return torch.cat(rows).transpose(0, 1)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from `checkpoint`, whatever the number of processes that wrote it.

        Raises RunError where it is another model's.
        """
        try:
            self.model.load_state_dict(checkpoint.model)
            load_optimiser_tensors(self.optimiser.optimizer, self._names, checkpoint.optimiser)
            names, device = self.model.cell.states, self.accelerator.device
            carries = names[0] in checkpoint.state
            states = [checkpoint.state[name][:, self.rows].to(device) for name in names] if carries else []
            self.states = tuple(states) or None
            self._sums = _own_sums(checkpoint.state["training_sums"], self.accelerator).to(device)
            if self.accelerator.scaler is not None and checkpoint.progress.gradient_scaler is not None:
                self.accelerator.scaler.load_state_dict(checkpoint.progress.gradient_scaler)
            if checkpoint.progress.course is not None:
                self.course = Course(**checkpoint.progress.course)  # type: ignore[arg-type]
        except (KeyError, IndexError, TypeError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise
            raise RunError(
                f"the checkpoint of step {checkpoint.progress.step} is not this model's ({first_line(error)}): "
                "restore the run from a copy, or start another"
            ) from error
        self.step = checkpoint.progress.step


class _Loss(nn.Module):
    """The model and its loss as one module: what autocast and DDP are put around."""

    def __init__(self, model: CharRNN) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, windows: Tensor, states: States | None, seeds: list[int] | None, scale: float
    ) -> tuple[Tensor, Tensor, States]:
        return self.model.loss(windows, states, seeds, scale=scale)


def _own_sums(sums: Tensor, accelerator: Accelerator) -> Tensor:
    """What this process had of `sums` [processes, 3]; where their number has changed, the first one takes it all."""
    if len(sums) == accelerator.num_processes:
        return sums[accelerator.process_index].clone()
    return sums.sum(0) if accelerator.is_main_process else torch.zeros_like(sums[0])


def _rows(config: TrainConfig, process: int, processes: int) -> slice:
    """The rows of the global batch that a process has: contiguous blocks in order of rank, equal to within one."""
    size, parts = config.batch.size, config.batch.accumulation
    if size < processes * parts:
        raise ConfigError(
            f"batch.size is {size}: it must be at least processes x accumulation, {processes} x {parts}: "
            "raise it, or start fewer processes"
        )
    return slice(process * size // processes, (process + 1) * size // processes)


def _parameter_groups(model: CharRNN, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices are decayed, biases are not."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
    ]
