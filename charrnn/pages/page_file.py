"""The page of a model file: checked first as charrnn-sample would, then written whole or not at all."""

from pathlib import Path

from charrnn.errors import ModelFileError
from charrnn.files import write_atomically
from charrnn.pages.layout import writes_columns
from charrnn.pages.writing_page import check_operators, writing_page
from charrnn.runtime import OnnxModel

__all__ = ["write_page"]


def write_page(model: Path, page: Path, title: str) -> None:
    """Write the page of the model.onnx `model` to `page`.

    Raises ModelFileError where the page cannot run the model, RunError where the page cannot be written.
    """
    loaded, content = OnnxModel.load(model), model.read_bytes()
    try:
        check_operators(content)
    except ModelFileError as error:
        raise ModelFileError(f"{model}: {error}") from error
    write_atomically(page, writing_page(content, title, monospaced=writes_columns(loaded)))
