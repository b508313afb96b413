"""`python -m tests.runtime.load_many FILE...`: what OnnxModel makes of each file, one JSON line each, within bounds.

A process of its own, for what is tested is that nothing takes it down: its address space and its time are limited.
"""

import json
import resource
import sys
from pathlib import Path

from charrnn import OnnxModel, generate
from charrnn.errors import ModelFileError, VocabularyError

MEMORY_BYTES = 2 << 30
"""Beyond what the interpreter and its libraries have mapped when loading starts."""
CPU_SECONDS = 60


def main(files: list[str]) -> None:
    mapped_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped_bytes + MEMORY_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS,) * 2)
    for file in files:
        print(json.dumps({"file": file}), flush=True)  # before anything can go wrong
        print(json.dumps({"said": said(file)}), flush=True)


def said(file: str) -> str:
    """'' for a model that loads and writes text; the line of a ModelFileError; a traceback's last line."""
    try:
        model = OnnxModel.load(file)
        generate(model, model.vocabulary.characters * 3, 80, seed=0)
    except VocabularyError:  # a normaliser or vocabulary that is another, and none that is wrong
        return ""
    except ModelFileError as error:
        return f"ModelFileError: {error}"
    except Exception as error:
        return f"not ours: {type(error).__name__}: {error}"
    return ""


if __name__ == "__main__":
    main(sys.argv[1:])
