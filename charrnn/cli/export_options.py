"""The flags of charrnn-export, and which of them go together."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from charrnn.errors import ConfigError

if TYPE_CHECKING:
    from charrnn.export import Weights

__all__ = ["ExportOptions"]


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What is exported, and where to."""

    run: Annotated[Path, tyro.conf.Positional]
    """Run directory, as training made it; for --page also a model.onnx, which goes into the page as it is."""
    checkpoint: str = "best"
    """best, latest, or the name of a checkpoint in the run, such as step-00001000."""
    page: Path | None = None
    """HTML file to write instead of a model: one page with the model inside (int8 unless a flag says otherwise), which
    opens in a browser by a double click."""
    output: Path | None = None
    """File to write; default: model.onnx in the run directory, or model-int8.onnx, model-int4.onnx,
    model-float16.onnx."""
    quantize: Literal["int8", "int4"] | None = None
    """Keep the matrices in 8 or 4 bits: smaller, and faster where H is large. Says what it costs in loss."""
    float16: bool = False
    """Keep the weights in 16 bits: half the file, no gain in speed."""
    opset: int = 18
    """ONNX opset to declare, 13 to 24: lower for an old runtime."""
    hub: str = ""
    """OWNER/NAME: put the model into this repository of the Hub, in the place of a file here: model.onnx,
    model-int8.onnx, model.safetensors, config.json, vocabulary.json, the curve and a model card, in one commit."""
    hub_public: bool = False
    """With --hub: everybody may see the repository. It is private otherwise."""
    license: str = ""
    """With --hub: the Hub's identifier of the model's license, such as mit, for its card; empty: none is stated."""

    def __post_init__(self) -> None:
        _check_hub(self)
        if self.quantize and self.float16:
            raise ConfigError(f"--float16 and --quantize {self.quantize} exclude each other: choose one")
        if self.page and self.output:
            raise ConfigError("--page and --output exclude each other: choose one, and run the command for each")
        if self.page and self.quantize == "int4":
            raise ConfigError("--quantize int4 uses an operator that the page lacks: leave it out (int8), or --float16")

    @property
    def weights(self) -> "Weights":
        """How the file keeps the weights."""
        return self.quantize or ("float16" if self.float16 else "int8" if self.page else "float32")


def _check_hub(options: ExportOptions) -> None:
    needs_hub = {"--hub-public": options.hub_public, "--license": options.license}
    excluded = {"--output": options.output, "--quantize": options.quantize, "--float16": options.float16}
    excluded["--page"] = options.page
    for flag, given in (excluded if options.hub else needs_hub).items():
        if given and options.hub:
            raise ConfigError(f"--hub does not go with {flag}: it puts float32 and int8 there, and no file here")
        if given:
            raise ConfigError(f"{flag} is for a model that goes to the Hub: name its repository, --hub OWNER/NAME")
