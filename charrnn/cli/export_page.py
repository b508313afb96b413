"""The page of a model file: checked first as charrnn-sample would, then written whole or not at all."""

import sys
from pathlib import Path

from charrnn.console import tell, told_bytes
from charrnn.errors import ModelFileError
from charrnn.files import write_atomically
from charrnn.pages.writing_page import check_operators, title_of, writing_page

__all__ = ["page_of_file", "size", "write_page"]


def page_of_file(model: Path, page: Path) -> None:
    """Write the page of a model.onnx that somebody already has, and say so; torch is not needed.

    Raises ModelFileError where the file is damaged, no charrnn model, or nothing that the page can run.
    """
    write_page(model, page, title_of(model.resolve()))
    tell(f"{page}: {size(page)}, with the model of {size(model)} inside", sys.stdout)


def write_page(model: Path, page: Path, title: str) -> None:
    """Raises ModelFileError where the page cannot run the model, RunError where the page cannot be written."""
    from charrnn.pages.layout import writes_columns
    from charrnn.runtime import OnnxModel

    loaded, content = OnnxModel.load(model), model.read_bytes()
    try:
        check_operators(content)
    except ModelFileError as error:
        raise ModelFileError(f"{model}: {error}") from error
    write_atomically(page, writing_page(content, title, monospaced=writes_columns(loaded)))


def size(file: Path) -> str:
    """The size of a file, as a message has it."""
    return told_bytes(file.stat().st_size)
