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

from charrnn.errors import ConfigError
from charrnn.training.checkpoint import read_checkpoint, write_checkpoint
from charrnn.training.config import TrainConfig
from charrnn.training.devices import start
from charrnn.training.learner import Learner
from charrnn.training.schedule import learning_rate
from tests.training.small import CONFIG, H, L, batches_of, learner_of, model_of, stream_of

WINDOWS = replace(CONFIG, batch=replace(CONFIG.batch, mode="windows"))
MODES = pytest.mark.parametrize("config", [CONFIG, WINDOWS], ids=["stream", "windows"])


def changed(config: TrainConfig, group: str, **changes: Any) -> TrainConfig:
    return replace(config, **{group: replace(getattr(config, group), **changes)})


def parameters(learner: Learner) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in learner.model.state_dict().items()}


def standing(config: TrainConfig) -> TrainConfig:
    """A learning rate below the last bit of every parameter: all steps see the same model."""
    return changed(config, "optimiser", learning_rate=1e-30, weight_decay=0.0)


# What it trains on


def test_stream_batches_carry_the_state_through_an_epoch_and_reset_it_at_the_next(accelerator: Accelerator) -> None:
    """The losses of an epoch are those of reading each stream once from its beginning to its end; so are the next's."""
    learner = learner_of(accelerator, standing(CONFIG))
    steps, T = learner.batches.steps_per_epoch, CONFIG.batch.length
    assert steps == 6
    whole = torch.cat(
        [torch.from_numpy(learner.batches.batch(0, s, slice(None)))[:, : T + (s == steps - 1)] for s in range(steps)], 1
    ).long()
    with torch.no_grad():
        logits, state = learner.model(whole[:, :-1])
    for epoch in range(2):
        sums = []
        for _ in range(steps):
            sums.append(learner.train_step()[0])
        expected = F.cross_entropy(logits.flatten(0, 1), whole[:, 1:].flatten(), reduction="sum")
        hits = int((logits.argmax(-1) == whole[:, 1:]).sum())
        total = torch.stack(sums).sum(0)
        # A float32 sum of 378 losses: relative rounding of some 1e-7.
        assert float(total[0]) == pytest.approx(float(expected), rel=1e-5), epoch
        assert total[1:].tolist() == [hits, whole[:, 1:].numel()]
        assert learner.state is not None
        assert learner.state.shape == (L, CONFIG.batch.size, H)
        torch.testing.assert_close(learner.state, state)


def test_carrying_matters(accelerator: Accelerator) -> None:
    """Otherwise the test above could not tell: the second batch's loss from a zero state is another."""
    learner = learner_of(accelerator, standing(CONFIG))
    learner.train_step()
    carried = float(learner.train_step()[0][0])
    learner.step, learner.state = 1, None
    assert float(learner.train_step()[0][0]) != pytest.approx(carried, rel=1e-3)


def test_windows_start_from_zero_and_carry_nothing(accelerator: Accelerator) -> None:
    learner = learner_of(accelerator, standing(WINDOWS))
    for step in range(3):
        windows = torch.from_numpy(learner.batches.batch(0, step, slice(None))).long()
        with torch.no_grad():
            logits, _ = learner.model(windows[:, :-1])
        expected = F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten(), reduction="sum")
        assert float(learner.train_step()[0][0]) == pytest.approx(float(expected), rel=1e-5)  # as above
        assert learner.state is None


@MODES
def test_the_first_step_is_adamw_on_the_mean_loss(accelerator: Accelerator, config: TrainConfig) -> None:
    """By hand: gradient of the mean over the whole batch, clipped, biases without decay, the schedule's first rate."""
    config = changed(config, "optimiser", clip_norm=0.05, weight_decay=0.3)
    learner, model = learner_of(accelerator, config), model_of(config)
    windows = torch.from_numpy(learner.batches.batch(0, 0, slice(None))).long()
    logits, _ = model(windows[:, :-1])
    loss = F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
    names, leaves = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, leaves)
    norm = float(torch.stack([g.norm() for g in gradients]).norm())
    assert norm > 0.05
    assert float(learner.train_step()[1]) == pytest.approx(norm, rel=1e-5), "the norm before clipping"
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
    norm = float(learner.train_step()[1])
    moments = learner.checkpoint(None).optimiser
    mean = torch.stack([value.norm() for name, value in moments.items() if name.startswith("exp_avg.")]).norm()
    # After one step the running mean is (1 - beta1) of the gradient; float32 norms agree to 1e-6.
    assert float(mean) == pytest.approx(0.1 * (clip_norm or norm), rel=1e-4)
    assert norm > 0.01


def test_the_rate_is_the_schedule_s_at_every_step(accelerator: Accelerator) -> None:
    learner = learner_of(accelerator, replace(CONFIG, max_steps=11))
    rates = []
    while learner.step < learner.total_steps:
        learner.train_step()
        rates.append(learner.last_learning_rate)
    settings = {"total_steps": 11, "highest": 3e-3, "warmup_steps": 5, "schedule": "cosine", "final_share": 0.02}
    assert rates == [learning_rate(step, **settings) for step in range(11)]


@pytest.mark.parametrize(("max_steps", "total"), [(0, 18), (7, 7), (18, 18), (100, 18)])
def test_total_steps(accelerator: Accelerator, max_steps: int, total: int) -> None:
    learner = learner_of(accelerator, replace(CONFIG, max_steps=max_steps))
    assert (learner.batches.steps_per_epoch, learner.total_steps) == (6, total)
    assert learner.characters_per_step == 63
    assert learner.num_parameters == sum(p.numel() for p in model_of().parameters())


def test_it_learns(accelerator: Accelerator) -> None:
    """The text's characters are independent draws: the best loss is their distribution's entropy, 2.04 nats."""
    learner = learner_of(accelerator, replace(CONFIG, epochs=20))
    losses = []
    for _ in range(learner.total_steps):
        sums, _ = learner.train_step()
        losses.append(float(sums[0] / sums[2]))
    assert losses[0] > 2.25
    assert sum(losses[-6:]) / 6 < 2.1


# Accumulation


@MODES
@pytest.mark.parametrize("parts", [3, 7])
def test_accumulation_changes_nothing(accelerator: Accelerator, config: TrainConfig, parts: int) -> None:
    """Seven rows in three parts are uneven. In float64, but the loss and the carried state, which are float32."""
    results = []
    for accumulation in (1, parts):
        config = changed(config, "batch", accumulation=accumulation)
        model = model_of(config).double()
        learner = Learner(model, batches_of(stream_of(400), config), config, accelerator)
        sums = torch.stack([learner.train_step()[0] for _ in range(10)])
        results.append((parameters(learner), sums, learner.state))
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


# Continuing


@MODES
@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("stop", [4, 6, 11])  # within an epoch, at its end, in the second
def test_restoring_a_checkpoint_continues_bit_for_bit(
    accelerator: Accelerator, tmp_path: Path, config: TrainConfig, accumulation: int, stop: int
) -> None:
    config = changed(changed(config, "model", dropout=0.3), "batch", accumulation=accumulation)
    undisturbed = learner_of(accelerator, config)
    losses = [undisturbed.train_step()[0] for _ in range(15)]

    first = learner_of(accelerator, config)
    for _ in range(stop):
        first.train_step()
    path = write_checkpoint(tmp_path, first.checkpoint(1.25))
    torch.manual_seed(12345)
    torch.rand(17)  # whatever else has been drawn meanwhile
    second = learner_of(accelerator, config, seed=99)
    second.restore(read_checkpoint(path))
    assert second.step == stop
    assert torch.equal(torch.stack([second.train_step()[0] for _ in range(15 - stop)]), torch.stack(losses[stop:]))

    ours, theirs = second.checkpoint(None), undisturbed.checkpoint(None)
    assert ours.progress == theirs.progress
    assert ours.progress.characters_seen == 15 * 7 * 9
    for kind in ("model", "optimiser", "state"):
        left, right = getattr(ours, kind), getattr(theirs, kind)
        assert left.keys() == right.keys()
        assert all(torch.equal(left[name], right[name]) for name in left), kind
    assert bool(ours.state) == (config.batch.mode == "stream")


def test_dropout_depends_on_the_step_and_the_seed_alone(accelerator: Accelerator) -> None:
    config = changed(standing(WINDOWS), "model", dropout=0.5)
    first, second = learner_of(accelerator, config), learner_of(accelerator, config)
    torch.manual_seed(1)
    mine = [float(first.train_step()[0][0]) for _ in range(3)]
    torch.manual_seed(2)
    assert [float(second.train_step()[0][0]) for _ in range(3)] == mine
    # Another step, the same batch: another mask.
    epoch = first.batches.steps_per_epoch
    third = learner_of(accelerator, replace(config, batch=replace(config.batch, mode="stream")))
    by_epoch = []
    for step in range(epoch + 1):
        sums, _ = third.train_step()
        if step % third.batches.steps_per_epoch == 0:
            by_epoch.append(float(sums[0]))
    assert len(set(by_epoch)) == len(by_epoch) > 1


# Precision


def test_bf16_computes_nearly_the_same_and_keeps_float32_parameters(
    accelerators: Callable[[str], Accelerator],
) -> None:
    losses = {}
    for precision in ("no", "bf16"):
        accelerator = accelerators(precision)
        learner = learner_of(accelerator, CONFIG)
        losses[precision] = torch.stack([learner.train_step()[0][0] for _ in range(12)])
        assert {p.dtype for p in learner.model.parameters()} == {torch.float32}
        assert learner.state is not None
        assert learner.state.dtype == torch.float32
        accelerator.free_memory()
        type(accelerator.state)._reset_state(reset_partial_state=True)
    # bf16 has 8 bits: 0.4 % a product, averaged over 63 characters.
    torch.testing.assert_close(losses["bf16"], losses["no"], rtol=0.02, atol=0)
    assert not torch.equal(losses["bf16"], losses["no"]), "it was bf16"


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU has fp16")
def test_fp16_on_a_cpu_is_refused() -> None:
    with pytest.raises(ConfigError, match="mixed_precision is fp16: the CPU has none"):
        start(mixed_precision="fp16", threads=1)


def test_a_launcher_that_asks_for_another_precision_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    with pytest.raises(ConfigError, match="accelerate launch asks for bf16, the run for no"):
        start(mixed_precision="no", threads=1)
