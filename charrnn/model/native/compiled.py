"""The library that `library.cpp` becomes on this machine, at its first use.

It is kept in charrnn's cache, under a name that has the sources, the CPU and the library's own checksum in it, in a
directory that belongs to the user alone: what is loaded is what was built.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from charrnn.errors import ConfigError
from charrnn.files import cache_dir
from charrnn.model.cpu import cpu_flags

__all__ = ["library"]

_SOURCES = sorted(path for path in Path(__file__).parent.iterdir() if path.suffix in (".cpp", ".h"))
# -w: GCC 12 warns of its own headers.
_OPTIONS = ["-std=c++17", "-O3", "-ffp-contract=fast", "-fPIC", "-shared", "-w"]
_THREADS = (["-fopenmp"], ["-pthread"])
"""The first that the compiler can do: products.h says what they differ in."""
_COMPILER_SECONDS = 120.0


def library() -> ctypes.CDLL:
    """The compiled library. Raises OSError with the reason where there is none."""
    found = _library_or_reason()
    if isinstance(found, str):
        raise OSError(found)
    return found


@functools.cache
def _library_or_reason() -> ctypes.CDLL | str:
    if sys.platform == "win32":
        return "it is not made for Windows"
    try:
        directory = _own_directory()
        found = [path for path in directory.glob(f"native-{_key()}-*.so") if _is_whole(path)]
        return ctypes.CDLL(str(found[0] if found else _built(directory)))
    except (ConfigError, OSError, ValueError, subprocess.SubprocessError) as error:
        return f"it cannot be built here ({_first_complaint(error)})"


def _own_directory() -> Path:
    """Where libraries are kept. Raises ValueError where others could put theirs: what lies there is executed."""
    directory = cache_dir() / "native"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = directory.lstat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise ValueError(f"{directory} is not this user's alone: set CHARRNN_CACHE to a directory that is")
    return directory


def _is_whole(path: Path) -> bool:
    """Whether a library is the one that was built: loading a damaged one can end the process. Others are removed."""
    if path.stem.endswith(_checksum(path.read_bytes())):
        return True
    path.unlink()
    return False


def _built(directory: Path) -> Path:
    """Compile the sources into `directory`, where the library appears whole or not at all."""
    with tempfile.TemporaryDirectory(dir=directory) as workspace:
        unfinished = Path(workspace) / "native.so"
        for threads in _THREADS:
            compiled = subprocess.run(_command(threads, unfinished), capture_output=True, timeout=_COMPILER_SECONDS)
            if not compiled.returncode:
                break
        compiled.check_returncode()
        path = directory / f"native-{_key()}-{_checksum(unfinished.read_bytes())}.so"
        return unfinished.replace(path)


def _command(threads: list[str], output: Path) -> list[str]:
    compiler = shlex.split(os.environ.get("CXX", "")) or ["c++"]
    (source,) = (str(path) for path in _SOURCES if path.suffix == ".cpp")
    return [*compiler, *_OPTIONS, *_for_this_cpu(), *threads, source, "-o", str(output)]


def _for_this_cpu() -> list[str]:
    """CXXFLAGS may name another CPU: `-march=haswell`. On ARM, what every CPU has is all that the sources use."""
    this = ["-march=native"] if platform.machine() in ("x86_64", "AMD64") else []
    return [*this, *shlex.split(os.environ.get("CXXFLAGS", ""))]


def _first_complaint(error: Exception) -> str:
    """One line of what the compiler, or the operating system, said."""
    said = getattr(error, "stderr", None) or b""
    lines = said.decode("utf-8", "replace").split("\n")
    complaints = [line for line in lines if "error" in line] or [line for line in lines if line.strip()]
    return complaints[0].strip() if complaints else str(error)


def _key() -> str:
    """What the library depends on: sources, compilation, and the CPU (caches are shared between machines)."""
    cpu = sorted(cpu_flags()) or [platform.processor()]
    content = b"".join(path.read_bytes() for path in _SOURCES)
    return _checksum(content + " ".join([*_OPTIONS, *_for_this_cpu(), *cpu]).encode())


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
