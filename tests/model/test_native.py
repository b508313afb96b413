"""The compiled backend: built once, found again, never somebody else's, and absent with a reason.

What it computes: test_recurrence.py and test_loss.py.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from charrnn.errors import ConfigError
from charrnn.model import native
from charrnn.model.backends import choose
from charrnn.model.cells import CELLS
from charrnn.model.measurement import measure
from charrnn.model.native import compiled

CPU, TANH = torch.device("cpu"), CELLS["tanh"]


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An empty cache, and a process that has not looked for the library yet."""
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path / "cache"))
    compiled._library_or_reason.cache_clear()
    yield tmp_path / "cache"
    compiled._library_or_reason.cache_clear()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library, built once: that takes two seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHARRNN_CACHE", str(tmp_path_factory.mktemp("built")))
        compiled._library_or_reason.cache_clear()
        reason = native.why_not(CPU, torch.float32)
        if reason:
            pytest.skip(f"install: a C++ compiler (native: {reason})")
        (path,) = compiled._own_directory().iterdir()
    return path


@pytest.fixture
def library(cache: Path, built: Path) -> Path:
    """The library in a cache of its own; this process has not looked for it yet."""
    return Path(shutil.copy(built, compiled._own_directory()))


def test_what_it_cannot_do_is_said() -> None:
    assert native.why_not(CPU, torch.float64) == "it computes in float32 and bfloat16, not in float64"


def test_it_is_not_made_for_windows(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert native.why_not(CPU, torch.float32) == "it is not made for Windows"


def test_where_the_compiler_has_no_openmp_it_has_threads_of_its_own(cache: Path, tmp_path: Path) -> None:
    """Apple's clang says so and fails."""
    compiler = tmp_path / "c++"
    compiler.write_text('#!/bin/sh\ncase "$*" in *-fopenmp*) echo unsupported >&2; exit 1;; esac\nexec c++ "$@"\n')
    compiler.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXX", str(compiler))
        assert native.why_not(CPU, torch.float32) == ""
    (path,) = compiled._own_directory().iterdir()
    assert b"GOMP_parallel" not in path.read_bytes()


def test_it_is_built_once(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert native.why_not(CPU, torch.float32) == ""
    assert list(library.parent.iterdir()) == [library]


def test_the_compiler_may_be_several_words(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "env CHARRNN_TEST=1 c++")
    assert native.why_not(CPU, torch.float32) == ""


@pytest.mark.parametrize("damage", ["cut", "a flipped bit"])
def test_a_damaged_library_is_built_anew(library: Path, damage: str) -> None:
    """Loading it would end the process, or worse: compute something else."""
    content = bytearray(library.read_bytes())
    content[len(content) // 2] ^= 1
    library.write_bytes(content[: len(content) // 2] if damage == "cut" else content)
    assert native.why_not(CPU, torch.float32) == ""
    (rebuilt,) = library.parent.iterdir()
    assert compiled._is_whole(rebuilt)


def test_nothing_is_loaded_from_where_others_can_write(library: Path) -> None:
    library.parent.chmod(0o777)
    assert "is not this user's alone: set CHARRNN_CACHE" in native.why_not(CPU, torch.float32)


@pytest.mark.skipif(os.geteuid() != 0, reason="not here: only root can give a directory away")
def test_nothing_is_loaded_from_another_user_s_directory(library: Path) -> None:
    os.chown(library.parent, 12345, 12345)
    assert "is not this user's alone: set CHARRNN_CACHE" in native.why_not(CPU, torch.float32)


@pytest.mark.parametrize("trouble", ["no compiler", "a compiler that fails", "no cache", "a compiler that hangs"])
def test_where_it_cannot_be_built_auto_is_the_next(cache: Path, monkeypatch: pytest.MonkeyPatch, trouble: str) -> None:
    compilers = {
        "no compiler": "no-such-compiler",
        "a compiler that fails": "sh -c 'printf \"\\377 error: so\\n\" >&2; exit 1'",
        "a compiler that hangs": "sh -c 'echo on my way >&2; exec sleep 60'",
        "no cache": "c++",
    }
    monkeypatch.setenv("CXX", compilers[trouble])
    monkeypatch.setattr(compiled, "_COMPILER_SECONDS", 0.2 if "hangs" in trouble else 60)
    if trouble == "no cache":
        cache.write_text("a file")
    assert native.why_not(CPU, torch.float32).startswith("it cannot be built here (")
    assert choose("auto", TANH, CPU, torch.float32) == "fused"
    found = measure(TANH, T=2, B=3, H=4, device=CPU, dtype=torch.float32)
    assert str(found).startswith("fused (native: it cannot be built here (")
    with pytest.raises(ConfigError, match=r"model\.recurrence is native: it cannot be built here") as caught:
        choose("native", TANH, CPU, torch.float32)
    assert len(str(caught.value).splitlines()) == 1
    assert trouble == "no cache" or not list((cache / "native").iterdir()), "nothing half done is left"
