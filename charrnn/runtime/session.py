"""From a path to an onnxruntime session: every way in which a file can fail to be an ONNX model, as one line."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from charrnn.errors import ModelFileError, reason

__all__ = ["find_model_file", "open_session", "read_model_file", "run_session"]

# onnxruntime's exceptions share no base but Exception; its bindings add RuntimeError and ValueError, and a corrupt
# size asks for more memory than there is.
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

# How onnxruntime says that it does not know a file's opset, or its IR version.
_NEWER_THAN_ORT = ("only *guarantees* support for models", "Unsupported model IR version")
_MAX_FILE_BYTES = 2**31 - 1
"""The most that one protobuf message, and so one ONNX file, can hold."""
_LOG_NOTHING = 4
# A session is told to be silent, but what a damaged size makes of an allocation is said by the logger of them all.
onnxruntime.set_default_logger_severity(_LOG_NOTHING)


def find_model_file(path: Path) -> Path:
    """`path` itself, or `path/model.onnx` where `path` is a directory that has one.

    Raises ModelFileError.
    """
    inside = path / "model.onnx"
    try:
        if not path.is_dir():
            return path
        if inside.is_file():
            return inside
    except OSError as error:  # a prompt in the place of the model is too long for a name, for one
        raise ModelFileError(f"{path}: {_unreadable(error)}") from error
    raise ModelFileError(
        f"{path} is a directory without a model.onnx: if it is a run, write one with `charrnn-export {path}`"
    )


def open_session(content: bytes) -> onnxruntime.InferenceSession:
    """A session of one thread on the CPU, silent on stderr, for the content of an ONNX file.

    Raises ModelFileError, whose message does not name the path.
    """
    options = onnxruntime.SessionOptions()
    # A step is too small to share among threads: a second one only spins.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_NOTHING
    # The few kilobytes of a step come faster from malloc than from an arena: 0.3 to 0.8 us of 5 to 20 a character.
    options.enable_cpu_mem_arena = False
    # The contract is one self-contained file. Looking for a second one where none can be keeps a hostile file from
    # pulling in any other of this machine.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    try:
        # With its fallback on, onnxruntime prints some errors to standard output and tries again.
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
    session._model_bytes = None  # what it has read it would keep for as long as it lives, to be made once more
    return session


def run_session(
    session: onnxruntime.InferenceSession, feeds: Mapping[str, npt.NDArray[Any]], outputs: Sequence[str] | None = None
) -> list[Any]:
    """Run `session` and return `outputs`, all where None. Raises ModelFileError."""
    try:
        results: list[Any] = session.run(outputs, feeds)
    except ORT_ERRORS as error:
        raise ModelFileError("its graph cannot be run: export it again") from error
    return results


def read_model_file(path: Path) -> bytes:
    """The content of a file that can be an ONNX file by its size. Raises ModelFileError, which does not name it."""
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
