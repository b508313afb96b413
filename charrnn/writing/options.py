"""What the user asks of charrnn-sample."""

from dataclasses import dataclass, field

from charrnn.sampling_config import SamplingConfig

__all__ = ["Options"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """The values of the flags; `cli/sample_flags.py` has what each means, as its help."""

    model: str
    prompt: str = ""
    prompt_file: str | None = None
    skip_unknown: bool = False
    length: int = 200
    endless: bool = False
    stop: str | None = None
    num_samples: int = 1
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    temperatures: tuple[float, ...] | None = None
    seed: int | None = None
    interactive: bool = False
    score: str | None = None
    heatmap: str | None = None
    units: bool = False
    unit: str | None = None
    json: bool = False
    quiet: bool = False
    verbose: bool = False
