"""One optimiser step after another: what it trains on, what it carries, and that it can be continued."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor

from charrnn.config import TrainConfig
from charrnn.errors import ConfigError, RunError
from charrnn.processes import start as start_module
from charrnn.processes.start import describe, start
from charrnn.runs.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from charrnn.training.learner import Learner
from charrnn.training.schedule import Course, learning_rate
from tests.anything import one_line
from tests.training.small import CONFIG, H, L, batches_of, learner_of, model_of, stream_of

WINDOWS = replace(CONFIG, batch=replace(CONFIG.batch, mode="windows"))
MODES = pytest.mark.parametrize("config", [CONFIG, WINDOWS], ids=["stream", "windows"])


def changed(config: TrainConfig, group: str, **changes: Any) -> TrainConfig:
    return replace(config, **{group: replace(getattr(config, group), **changes)})


def parameters(learner: Learner) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in learner.model.state_dict().items()}


def train_step(learner: Learner) -> tuple[float, float, float]:
    """One step; its sums of the loss, of right guesses and of characters."""
    learner.train_step_collective()
    return learner.training_sums_collective()


def assert_same_bits(ours: Checkpoint, theirs: Checkpoint) -> None:
    assert (ours.progress, ours.config) == (theirs.progress, theirs.config)
    for kind in ("model", "optimiser", "state"):
        left, right = getattr(ours, kind), getattr(theirs, kind)
        assert left.keys() == right.keys()
        assert all(torch.equal(left[name], right[name]) for name in left), kind


def standing(config: TrainConfig) -> TrainConfig:
    """A learning rate below the last bit of every parameter: all steps see the same model."""
    return changed(config, "optimiser", learning_rate=1e-30, weight_decay=0.0)


# What it trains on


@pytest.mark.parametrize("accumulation", [1, 3])
def test_a_row_that_is_reset_begins_with_zeros_and_the_others_go_on(
    accelerator: Accelerator, accumulation: int
) -> None:
    config = changed(standing(CONFIG), "batch", reset=0.4, accumulation=accumulation)
    learner, resets = learner_of(accelerator, config), []
    learner.train_step_collective()
    for step in range(1, learner.batches.steps_per_epoch):
        before = learner.states
        tokens = torch.from_numpy(learner.batches.batch(0, step, slice(None))).long()[:, :-1]
        with torch.no_grad():
            (carried,), (anew,) = learner.model(tokens, before)[1], learner.model(tokens)[1]
        learner.train_step_collective()
        assert learner.states is not None
        (after,) = learner.states
        for row in range(config.batch.size):
            goes_on, begins = (torch.allclose(after[:, row], other[:, row], atol=1e-6) for other in (carried, anew))
            assert goes_on != begins, (step, row)
            resets.append((step, row) if begins else None)
    share = 1 - resets.count(None) / len(resets)
    assert share == pytest.approx(0.4, abs=0.2), "of 35, which the seed alone draws: 0.4 within two deviations"
    assert len({row for _, row in filter(None, resets)}) > 3, "not always the same rows"


def test_stream_batches_carry_the_state_through_an_epoch_and_reset_it_at_the_next(accelerator: Accelerator) -> None:
    """The losses of an epoch are those of reading each stream once from its beginning to its end; so are the next's."""
    learner = learner_of(accelerator, standing(CONFIG))
    steps, T = learner.batches.steps_per_epoch, CONFIG.batch.length
    assert steps == 6
    whole = torch.cat(
        [torch.from_numpy(learner.batches.batch(0, s, slice(None)))[:, : T + (s == steps - 1)] for s in range(steps)], 1
    ).long()
    with torch.no_grad():
        logits, states = learner.model(whole[:, :-1])
    for epoch in range(2):
        for _ in range(steps):
            learner.train_step_collective()
        loss, *counts = learner.training_sums_collective()
        expected = F.cross_entropy(logits.flatten(0, 1), whole[:, 1:].flatten(), reduction="sum")
        hits = int((logits.argmax(-1) == whole[:, 1:]).sum())
        # Float32 sums of 63 losses: relative rounding of some 1e-7.
        assert loss == pytest.approx(float(expected), rel=1e-5), epoch
        assert counts == [hits, whole[:, 1:].numel()]
        assert learner.states is not None
        assert learner.states[0].shape == (L, CONFIG.batch.size, H)
        torch.testing.assert_close(learner.states, states)


def test_carrying_matters(accelerator: Accelerator) -> None:
    """Otherwise the test above could not tell: the second batch's loss from a zero state is another."""
    learner = learner_of(accelerator, standing(CONFIG))
    train_step(learner)
    carried, *_ = train_step(learner)
    learner.step, learner.states = 1, None
    assert train_step(learner)[0] != pytest.approx(carried, rel=1e-3)


def test_windows_start_from_zero_and_carry_nothing(accelerator: Accelerator) -> None:
    learner = learner_of(accelerator, standing(WINDOWS))
    for step in range(3):
        windows = torch.from_numpy(learner.batches.batch(0, step, slice(None))).long()
        with torch.no_grad():
            logits, _ = learner.model(windows[:, :-1])
        expected = F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten(), reduction="sum")
        assert train_step(learner)[0] == pytest.approx(float(expected), rel=1e-5)  # as above
        assert learner.states is None


@pytest.mark.parametrize(("behaviour", "steps"), [(2, 1), (1, 100)])
def test_a_short_run_has_a_short_warm_up_if_it_began_so(accelerator: Accelerator, behaviour: int, steps: int) -> None:
    """18 steps, all within the 100 that were asked for."""
    config = replace(changed(CONFIG, "optimiser", warmup_steps=100), behaviour=behaviour)
    learner = learner_of(accelerator, config)
    assert (learner.total_steps, learner.warmup_steps) == (18, steps)
    learner.train_step_collective()
    assert learner.last_learning_rate == pytest.approx(3e-3 / steps)


@MODES
def test_the_first_step_is_adamw_on_the_mean_loss(accelerator: Accelerator, config: TrainConfig) -> None:
    """By hand: gradient of the mean over the whole batch, clipped, biases without decay, the schedule's first rate."""
    config = replace(changed(config, "optimiser", clip_norm=0.05, weight_decay=0.3), behaviour=1)
    learner, model = learner_of(accelerator, config), model_of(config)
    windows = torch.from_numpy(learner.batches.batch(0, 0, slice(None))).long()
    logits, _ = model(windows[:, :-1])
    loss = F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
    names, leaves = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, leaves)
    norm = float(torch.stack([g.norm() for g in gradients]).norm())
    assert norm > 0.05
    assert float(learner.train_step_collective()) == pytest.approx(norm, rel=1e-5), "the norm before clipping"
    lr = 3e-3 / 5
    assert learner.last_learning_rate == pytest.approx(lr)
    for name, leaf, gradient in zip(names, leaves, gradients, strict=True):
        g = gradient * 0.05 / norm
        decayed = leaf * (1 - lr * 0.3) if leaf.ndim > 1 else leaf
        expected = decayed - lr * g / (g.abs() + 1e-8)
        # Where |g| is near Adam's epsilon of 1e-8 the rounding of g (1e-7 of the largest) shows in the quotient.
        torch.testing.assert_close(learner.model.get_parameter(name), expected, atol=0.02 * lr, rtol=0, msg=name)


@pytest.mark.parametrize("clip_norm", [0.0, 1e-3])
def test_a_clip_norm_of_zero_clips_nothing(accelerator: Accelerator, clip_norm: float) -> None:
    learner = learner_of(accelerator, changed(CONFIG, "optimiser", clip_norm=clip_norm))
    norm = float(learner.train_step_collective())
    moments = learner.checkpoint_collective().optimiser
    mean = torch.stack([value.norm() for name, value in moments.items() if name.startswith("exp_avg.")]).norm()
    # After one step the running mean is (1 - beta1) of the gradient; float32 norms agree to 1e-6.
    assert float(mean) == pytest.approx(0.1 * (clip_norm or norm), rel=1e-4)
    assert norm > 0.01


def test_the_rate_is_the_schedule_s_at_every_step(accelerator: Accelerator) -> None:
    learner = learner_of(accelerator, replace(CONFIG, max_steps=11, behaviour=1))
    rates = []
    while learner.step < learner.total_steps:
        learner.train_step_collective()
        rates.append(learner.last_learning_rate)
    course = Course(total_steps=11, since_step=5)
    settings = {"course": course, "highest": 3e-3, "warmup_steps": 5, "schedule": "cosine", "final_share": 0.02}
    assert rates == [learning_rate(step, **settings) for step in range(11)]


@pytest.mark.parametrize(("max_steps", "total"), [(0, 18), (7, 7), (18, 18), (100, 18)])
def test_total_steps(accelerator: Accelerator, max_steps: int, total: int) -> None:
    learner = learner_of(accelerator, replace(CONFIG, max_steps=max_steps))
    assert (learner.batches.steps_per_epoch, learner.total_steps) == (6, total)
    assert learner.config.batch.characters == 63
    assert learner.num_parameters == sum(p.numel() for p in model_of().parameters())


def test_it_learns(accelerator: Accelerator) -> None:
    """The text's characters are independent draws: the best loss is their distribution's entropy, 2.04 nats."""
    learner = learner_of(accelerator, replace(CONFIG, epochs=20))
    losses = []
    for _ in range(learner.total_steps):
        loss, _, count = train_step(learner)
        losses.append(loss / count)
    assert losses[0] > 2.25
    assert sum(losses[-6:]) / 6 < 2.1


# Accumulation


@MODES
@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("parts", [3, 7])
def test_accumulation_changes_nothing(
    accelerator: Accelerator, config: TrainConfig, parts: int, dropout: float
) -> None:
    """Seven rows in three parts are uneven. In float64, but the loss and the carried state, which are float32."""
    config = changed(config, "model", dropout=dropout)
    results = []
    for accumulation in (1, parts):
        config = changed(config, "batch", accumulation=accumulation)
        model = model_of(config).double()
        learner = Learner(model, batches_of(stream_of(400), config), config, accelerator)
        sums = torch.tensor([train_step(learner) for _ in range(10)])
        results.append((parameters(learner), sums, learner.states))
    (one, one_sums, one_state), (many, many_sums, many_state) = results
    # Per-character gradients are the same float32 numbers, added up in float64: what differs is below Adam's epsilon
    # of 1e-8 a step. The sums of losses are float32: 1e-7 of about 100.
    for name in one:
        torch.testing.assert_close(many[name], one[name], atol=1e-7, rtol=0, msg=name)
    torch.testing.assert_close(many_sums, one_sums, atol=1e-4, rtol=0)
    torch.testing.assert_close(many_state, one_state, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("size", "parts"), [(2, 3), (1, 7)])
def test_fewer_rows_than_parts(accelerator: Accelerator, size: int, parts: int) -> None:
    config = changed(CONFIG, "batch", size=size, accumulation=parts)
    with pytest.raises(ConfigError, match=rf"batch.size is {size}: .* processes x accumulation, 1 x {parts}"):
        learner_of(accelerator, config)


# The sums of the training loss


def test_sums_are_over_all_steps_since_they_were_taken(accelerator: Accelerator) -> None:
    """Exactly: a step's sum is a float32, and float64 holds some more of them without rounding."""
    one, many = learner_of(accelerator), learner_of(accelerator)
    singly = torch.tensor([train_step(one) for _ in range(11)], dtype=torch.float64)
    for _ in range(4):
        many.train_step_collective()
    first = many.training_sums_collective()
    assert first == (*singly[:4].sum(0).tolist(),)
    for _ in range(7):
        many.train_step_collective()
    assert many.training_sums_collective() == (*singly[4:].sum(0).tolist(),)
    assert many.training_sums_collective() == (0, 0, 0)


def test_the_sums_of_another_number_of_processes_are_all_taken_along(accelerator: Accelerator) -> None:
    """How more than one process shares them is in test_distributed.py."""
    learner, other = learner_of(accelerator), learner_of(accelerator)
    learner.train_step_collective()
    checkpoint = learner.checkpoint_collective()
    sums = torch.tensor([[0.5, 1, 63], [0.25, 2, 126], [8.0, 3, 189]], dtype=torch.float64)
    other.restore(replace(checkpoint, state=checkpoint.state | {"training_sums": sums}))
    assert other.training_sums_collective() == (8.75, 6, 378)


# Continuing


@MODES
@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_restoring_a_checkpoint_continues_bit_for_bit(
    accelerators: Callable[[str], Accelerator],
    tmp_path: Path,
    config: TrainConfig,
    accumulation: int,
    dropout: float,
    precision: str,
) -> None:
    """Steps 1 and 4 are within the first epoch, 6 is its end, 11 is in the second; sums are taken every fourth step."""
    config = changed(changed(config, "model", dropout=dropout), "batch", accumulation=accumulation)
    accelerator = accelerators(precision)
    undisturbed, saved, sums = learner_of(accelerator, config), {}, {}
    for step in range(1, 16):
        undisturbed.train_step_collective()
        if step in (1, 4, 6, 11):
            saved[step] = write_checkpoint(tmp_path, undisturbed.checkpoint_collective(validation_loss_nats=1.25))
        if step % 4 == 0:
            sums[step] = undisturbed.training_sums_collective()
    final = undisturbed.checkpoint_collective(evaluated=True)
    assert final.progress.characters_seen == 15 * 7 * 9
    assert final.progress.epoch == 15 // undisturbed.batches.steps_per_epoch
    assert ("state" in final.state) == (config.batch.mode == "stream")

    for stop, path in saved.items():
        torch.manual_seed(12345)
        torch.rand(17)  # whatever else has been drawn meanwhile
        first = learner_of(accelerator, config, seed=99)
        first.restore(read_checkpoint(path))
        assert first.step == stop
        # Stopped again before it has made a step.
        again = write_checkpoint(tmp_path / "again", first.checkpoint_collective(validation_loss_nats=1.25))
        assert_same_bits(read_checkpoint(again), read_checkpoint(path))
        second = learner_of(accelerator, config, seed=98)
        second.restore(read_checkpoint(again))
        if stop == 4:
            second.training_sums_collective()
        for step in range(stop + 1, 16):
            second.train_step_collective()
            if step % 4 == 0:
                assert second.training_sums_collective() == sums[step], (stop, step)
        assert_same_bits(second.checkpoint_collective(evaluated=True), final)


@MODES
def test_the_state_of_loss_scaling_goes_along(accelerator: Accelerator, tmp_path: Path, config: TrainConfig) -> None:
    """fp16 needs a GPU, its scaler does not: it doubles the scale every third step here."""

    def learner(seed: int) -> Learner:
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=3)
        return learner_of(accelerator, config, seed=seed)

    undisturbed = learner(0)
    for step in range(1, 10):
        undisturbed.train_step_collective()
        if step == 4:
            path = write_checkpoint(tmp_path, undisturbed.checkpoint_collective())
    final = undisturbed.checkpoint_collective()
    assert final.progress.gradient_scaler is not None
    assert final.progress.gradient_scaler["scale"] == 64

    resumed = learner(1)
    resumed.restore(read_checkpoint(path))
    assert accelerator.scaler.state_dict() == read_checkpoint(path).progress.gradient_scaler
    for _ in range(5):
        resumed.train_step_collective()
    assert_same_bits(resumed.checkpoint_collective(), final)


@pytest.mark.parametrize("lost", ["model W_h", "model *", "optimiser exp_avg.W_h", "state training_sums"])
def test_a_checkpoint_that_lacks_something_is_one_line(accelerator: Accelerator, lost: str) -> None:
    learner, (kind, name) = learner_of(accelerator), lost.split()
    learner.train_step_collective()
    whole = learner.checkpoint_collective()
    left = {key: value for key, value in getattr(whole, kind).items() if key != name and name != "*"}
    with pytest.raises(RunError, match="the checkpoint of step 1 is not this model's") as caught:
        learner_of(accelerator).restore(replace(whole, **{kind: left}))
    assert one_line(caught.value)


def test_dropout_depends_on_the_step_and_the_seed_alone(accelerator: Accelerator) -> None:
    config = changed(standing(WINDOWS), "model", dropout=0.5)
    first, second = learner_of(accelerator, config), learner_of(accelerator, config)
    torch.manual_seed(1)
    mine = [train_step(first)[0] for _ in range(3)]
    torch.manual_seed(2)
    assert [train_step(second)[0] for _ in range(3)] == mine
    # Another step, the same batch: another mask.
    epoch = first.batches.steps_per_epoch
    third = learner_of(accelerator, replace(config, batch=replace(config.batch, mode="stream")))
    by_epoch = []
    for step in range(epoch + 1):
        loss, *_ = train_step(third)
        if step % third.batches.steps_per_epoch == 0:
            by_epoch.append(loss)
    assert len(set(by_epoch)) == len(by_epoch) > 1


# Precision


def test_bf16_computes_nearly_the_same_and_keeps_float32_parameters(
    accelerators: Callable[[str], Accelerator],
) -> None:
    losses = {}
    for precision in ("no", "bf16"):
        accelerator = accelerators(precision)
        learner = learner_of(accelerator, CONFIG)
        losses[precision] = torch.tensor([train_step(learner)[0] for _ in range(12)])
        assert {p.dtype for p in learner.model.parameters()} == {torch.float32}
        assert learner.states is not None
        assert learner.states[0].dtype == torch.float32
        accelerator.free_memory()
        type(accelerator.state)._reset_state(reset_partial_state=True)
    # bf16 has 8 bits: 0.4 % a product, averaged over 63 characters.
    torch.testing.assert_close(losses["bf16"], losses["no"], rtol=0.02, atol=0)
    assert not torch.equal(losses["bf16"], losses["no"]), "it was bf16"


@pytest.mark.skipif(torch.cuda.is_available(), reason="not here: a GPU has fp16")
def test_fp16_on_a_cpu_is_refused() -> None:
    with pytest.raises(ConfigError, match="mixed_precision is fp16: the CPU has none"):
        start(mixed_precision="fp16", threads=1)


def test_a_launcher_that_asks_for_another_precision_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    with pytest.raises(ConfigError, match="accelerate launch asks for bf16, the run for no"):
        start(mixed_precision="no", threads=1)


@pytest.mark.parametrize(
    ("flags", "precision"), [({"avx2", "avx512_bf16"}, "bf16"), ({"amx_bf16"}, "bf16"), ({"avx2", "avx512f"}, "no")]
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="not here: a GPU decides for itself")
def test_auto_is_bf16_where_the_cpu_has_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch, accelerators: Callable[[str], Accelerator], flags: set[str], precision: str
) -> None:
    monkeypatch.setattr(start_module, "cpu_flags", lambda: flags)
    accelerator = accelerators("auto")
    assert accelerator.mixed_precision == precision
    assert describe(accelerator).endswith({"no": "fp32", "bf16": "bf16"}[precision])


def test_auto_is_what_the_launcher_chose(
    monkeypatch: pytest.MonkeyPatch, accelerators: Callable[[str], Accelerator]
) -> None:
    monkeypatch.setattr(start_module, "cpu_flags", set)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert accelerators("auto").mixed_precision == "bf16"


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
def test_the_rows_of_the_processes_tile_the_global_batch(
    accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    monkeypatch.setattr(Accelerator, "num_processes", processes)
    shares = []
    for process in range(processes):
        monkeypatch.setattr(Accelerator, "process_index", process)
        rows = learner_of(accelerator).rows
        shares.append(range(rows.start, rows.stop))
    assert [row for share in shares for row in share] == list(range(CONFIG.batch.size))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
