"""charrnn: character-level recurrent language models, trained by hand-written code, sampled anywhere.

Importing this package is light (standard library and numpy); onnxruntime and torch come with the part that needs them.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

from charrnn.errors import CharRNNError, not_installed

if TYPE_CHECKING:
    from charrnn.interactive.call import train
    from charrnn.interactive.finished import Run
    from charrnn.runs.pretrained import CharRNN
    from charrnn.runtime import OnnxModel, generate, load
    from charrnn.sharing.upload import push

# From 1.29 on onnxruntime reports to its maker and keeps a device id in ~/.cache, unless this is set before its import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.2.0"
__all__ = ["CharRNN", "CharRNNError", "OnnxModel", "Run", "__version__", "generate", "load", "push", "train"]
_HOMES = {
    "CharRNN": "charrnn.runs.pretrained",
    "OnnxModel": "charrnn.runtime",
    "Run": "charrnn.interactive.finished",
    "generate": "charrnn.runtime",
    "load": "charrnn.runtime",
    "push": "charrnn.sharing.upload",
    "train": "charrnn.interactive.call",
}


def __getattr__(name: str) -> Any:
    """Import what is used on its first use (PEP 562)."""
    if name in _HOMES:
        try:
            return getattr(importlib.import_module(_HOMES[name]), name)
        except ModuleNotFoundError as error:
            extra = "" if _HOMES[name] == "charrnn.runtime" else "train"
            raise not_installed(error, extra) or error from error
    raise AttributeError(f"module 'charrnn' has no attribute {name!r}")
