"""From a path to an onnxruntime session. Whatever is wrong with a file or its graph raises ModelFileError, one line."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from charrnn.errors import ModelFileError, reason
from charrnn.hub import fetch_model_file, is_address

__all__ = ["find_model_file", "open_session", "read_model_file", "run_session"]

# What onnxruntime raises has no common base but Exception. Its Python bindings also raise RuntimeError and ValueError,
# and a damaged size in a file asks for more memory than there is.
ORT_ERRORS: tuple[type[Exception], ...] = (
    ort_errors.EPFail,
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoModel,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
    RuntimeError,
    ValueError,
    MemoryError,
)

# What is in onnxruntime's message where a file's opset or IR version is newer than it knows.
_NEWER_THAN_ORT = ("only *guarantees* support for models", "Unsupported model IR version")
_MAX_FILE_BYTES = 2**31 - 1
"""The most that one protobuf message, and so one ONNX file, can hold."""
_LOG_NOTHING = 4
# Sessions are opened silent, but a failed allocation (of a damaged size) is logged by the global logger.
onnxruntime.set_default_logger_severity(_LOG_NOTHING)


def find_model_file(path: str | os.PathLike[str]) -> Path:
    """`path` itself, `path/model.onnx` where it is a directory that has one, or what is fetched from a Hub address.

    Raises ModelFileError, and HubError where `path` is an address.
    """
    if is_address(path):
        return fetch_model_file(os.fspath(path))
    path = Path(path)
    inside = path / "model.onnx"
    try:
        if not path.is_dir():
            return path
        if inside.is_file():
            return inside
    except OSError as error:  # the name is too long, for example: a prompt was given in the place of the model
        raise ModelFileError(f"{path}: {_unreadable(error)}") from error
    raise ModelFileError(
        f"{path} is a directory without a model.onnx: if it is a run, write one with `charrnn-export {path}`"
    )


def open_session(content: bytes) -> onnxruntime.InferenceSession:
    """A session of one thread on the CPU, silent on stderr, for the content of an ONNX file.

    Raises ModelFileError, whose message does not name the path.
    """
    options = onnxruntime.SessionOptions()
    # A step is too little work to share among threads: a second one would only wait, busily.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_NOTHING
    # The few kilobytes that a step needs come faster from malloc than from onnxruntime's arena: that saves 0.3 to 0.8
    # of 5 to 20 us a character.
    options.enable_cpu_mem_arena = False
    # The contract is one self-contained file. A hostile file could name any other file of this machine for its weights:
    # onnxruntime looks for them in a folder that cannot have any.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    try:
        # With its fallback on, onnxruntime would print some errors to standard output and try again.
        session = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"], enable_fallback=False
        )
    except ORT_ERRORS as error:
        if "xternal data" in str(error):
            raise ModelFileError("it keeps weights in a second file: save it with external_data=False") from error
        if any(sign in str(error) for sign in _NEWER_THAN_ORT):
            raise ModelFileError(
                f"it needs a newer onnxruntime than {onnxruntime.__version__}: pip install --upgrade onnxruntime"
            ) from error
        raise ModelFileError("it is not an ONNX model, or a damaged one: export or copy it again") from error
    session._model_bytes = None  # it would keep the content for its lifetime, in case that it has to be opened again
    return session


def run_session(
    session: onnxruntime.InferenceSession, feeds: Mapping[str, npt.NDArray[Any]], outputs: Sequence[str] | None = None
) -> list[Any]:
    """Run `session` once and return its `outputs`; None is all of them. Raises ModelFileError."""
    try:
        results: list[Any] = session.run(outputs, feeds)
    except ORT_ERRORS as error:
        raise ModelFileError("its graph cannot be run: export it again") from error
    return results


def read_model_file(path: Path) -> bytes:
    """The content of a file whose size is possible for an ONNX file.

    Raises ModelFileError, whose message does not name the path.
    """
    try:
        size_bytes = path.stat().st_size
        if size_bytes == 0:
            raise ModelFileError("the file is empty: export or copy it again")
        if size_bytes > _MAX_FILE_BYTES:
            raise ModelFileError(f"it has {size_bytes} bytes and an ONNX file at most {_MAX_FILE_BYTES}")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise ModelFileError(_unreadable(error)) from error


def _unreadable(error: OSError | ValueError) -> str:
    return f"it cannot be read ({reason(error)}): name a model.onnx or a run directory"
