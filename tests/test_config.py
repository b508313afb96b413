"""Every setting that cannot work says which one it is, its value and what it must be."""

import ast
import inspect
import re
import signal
from types import ModuleType
from typing import Any

import pytest

import charrnn.config as config_module
from charrnn.config import BatchConfig, LogConfig, OptimiserConfig, TrainConfig
from charrnn.errors import ConfigError
from charrnn.model import Architecture, architecture
from charrnn.presets import PRESETS
from charrnn.text import settings

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("kind", "name", "value", "message"),
    [
        (BatchConfig, "size", 0, "batch.size is 0: it must be at least 1"),
        (BatchConfig, "length", -3, "batch.length is -3: it must be at least 1"),
        (BatchConfig, "stride", 0, "batch.stride is 0: it must be at least 1"),
        (BatchConfig, "accumulation", 0, "batch.accumulation is 0: it must be at least 1"),
        (BatchConfig, "reset", -0.01, "batch.reset is -0.01: it must be at least 0 and below 1"),
        (BatchConfig, "reset", 1.0, "batch.reset is 1.0: it must be at least 0 and below 1"),
        (BatchConfig, "reset", NAN, "batch.reset is nan: it must be at least 0 and below 1"),
        (OptimiserConfig, "learning_rate", 0.0, "optimiser.learning_rate is 0.0: it must be a positive number"),
        (OptimiserConfig, "learning_rate", -1.0, "optimiser.learning_rate is -1.0"),
        (OptimiserConfig, "learning_rate", NAN, "optimiser.learning_rate is nan"),
        (OptimiserConfig, "learning_rate", INF, "optimiser.learning_rate is inf"),
        (OptimiserConfig, "final_learning_rate", 1.1, "optimiser.final_learning_rate is 1.1: it must be from 0 to 1"),
        (OptimiserConfig, "beta1", 1.0, "optimiser.beta1 is 1.0: it must be at least 0 and below 1"),
        (OptimiserConfig, "beta2", -0.5, "optimiser.beta2 is -0.5: it must be at least 0 and below 1"),
        (OptimiserConfig, "warmup_steps", -1, "optimiser.warmup_steps is -1: it must be at least 0"),
        (OptimiserConfig, "weight_decay", -1e-3, "optimiser.weight_decay is -0.001: it must be at least 0"),
        (OptimiserConfig, "clip_norm", NAN, "optimiser.clip_norm is nan: it must be at least 0"),
        (LogConfig, "every", 0, "log.every is 0: it must be at least 1"),
        (LogConfig, "sample_length", -1, "log.sample_length is -1: it must be at least 0"),
        (LogConfig, "sample_temperature", -0.5, "log.sample_temperature is -0.5: it must be at least 0"),
        (LogConfig, "sample_temperature", INF, "log.sample_temperature is inf: it must be a finite number"),
        (Architecture, "hidden_size", 0, "model.hidden_size is 0: it must be at least 1"),
        (Architecture, "hidden_size", 10**20, f"model.hidden_size is {10**20}: it must be at most {2**20}"),
        (Architecture, "num_layers", 2**20 + 1, f"model.num_layers is {2**20 + 1}: it must be at most {2**20}"),
        (TrainConfig, "epochs", 0, "epochs is 0: it must be at least 1"),
        (TrainConfig, "keep_checkpoints", 0, "keep_checkpoints is 0: it must be at least 1"),
        (TrainConfig, "max_steps", -1, "max_steps is -1: it must be at least 0"),
        (TrainConfig, "evaluate_every", -1, "evaluate_every is -1: it must be at least 0"),
        (TrainConfig, "seed", -1, "seed is -1: it must be at least 0"),
        (TrainConfig, "seed", 2**64, f"seed is {2**64}: it must be below {2**63}"),
        (TrainConfig, "threads", -1, "threads is -1: it must be at least 0"),
        (TrainConfig, "checkpoint_every", -1, "checkpoint_every is -1: it must be at least 0"),
        (TrainConfig, "checkpoint_minutes", -0.5, "checkpoint_minutes is -0.5: it must be at least 0"),
        (TrainConfig, "checkpoint_minutes", NAN, "checkpoint_minutes is nan: it must be at least 0"),
        (TrainConfig, "process_timeout", 0.5, "process_timeout is 0.5: it must be from 1 to 1000000 seconds"),
        (TrainConfig, "process_timeout", INF, "process_timeout is inf"),
        (TrainConfig, "process_timeout", NAN, "process_timeout is nan"),
        (TrainConfig, "stop_signal", "KILL", "stop_signal is 'KILL': it must be one of ALRM, HUP, QUIT, USR1, USR2"),
        (TrainConfig, "stop_signal", "SIGUSR1", "stop_signal is 'SIGUSR1'"),
    ],
)
def test_a_value_that_cannot_work_is_named(kind: Any, name: str, value: float | str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        kind(**{name: value})


def test_the_edges_of_what_is_allowed() -> None:
    OptimiserConfig(clip_norm=0, weight_decay=0, warmup_steps=0, beta1=0, final_learning_rate=0)
    LogConfig(sample_length=0, sample_temperature=0)
    TrainConfig(max_steps=0, evaluate_every=0, seed=2**63 - 1, checkpoint_every=0, checkpoint_minutes=0)
    assert TrainConfig(stop_signal="", process_timeout=1).stop_signal_number == 0
    assert TrainConfig(stop_signal="USR2", process_timeout=1e6).stop_signal_number == signal.SIGUSR2


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_whole_config_that_knows_its_name(name: str) -> None:
    config = PRESETS[name]()
    assert config.preset == name
    assert bool(config.text.corpus) == (name != "text")
    assert (PRESETS[name].__doc__ or "").strip().endswith(".")
    assert config == PRESETS[name]()


def test_the_notebook_s_presets_are_the_notebook_s() -> None:
    run = PRESETS["war-and-peace-notebook"]()
    assert (run.batch.mode, run.batch.size, run.batch.length, run.batch.stride) == ("windows", 64, 100, 10)
    assert (run.model.embedding_size, run.model.hidden_size, run.model.initialisation) == (30, 500, "notebook")
    assert run.text.normaliser == ("notebook",)
    adam = run.optimiser  # plain Adam: no decay, no clipping, no schedule, torch's own betas
    assert (adam.learning_rate, adam.weight_decay, adam.clip_norm, adam.warmup_steps) == (1e-3, 0, 0, 0)
    assert (adam.schedule, adam.beta1, adam.beta2) == ("constant", 0.9, 0.999)
    assert PRESETS["alphabet-notebook"]().optimiser.learning_rate == 200


@pytest.mark.parametrize(
    ("module", "groups"),
    [(config_module, ["text", "batch", "model", "optimiser", "log"]), (settings, []), (architecture, [])],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_every_field_is_explained(module: ModuleType, groups: list[str]) -> None:
    """The command line's help is made from the docstrings of fields; the groups' own are those of their classes."""
    unexplained = []
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ClassDef):
            for field, after in zip(node.body, [*node.body[1:], None], strict=True):
                if isinstance(field, ast.AnnAssign) and not isinstance(after, ast.Expr):
                    unexplained.append(ast.unparse(field.target))
    assert unexplained == groups
