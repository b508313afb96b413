"""The compiled backend: built once, found again, and absent with a reason. What it computes: test_recurrence.py."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from charrnn.errors import ConfigError
from charrnn.model import native
from charrnn.model.backends import Setting, chosen

CPU = torch.device("cpu")
HERE = Setting(device=CPU, dtype=torch.float32, batch_size=5, hidden_size=7)


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An empty cache, and a process that has not looked for the library yet."""
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path / "cache"))
    native._library.cache_clear()
    yield tmp_path / "cache"
    native._library.cache_clear()


def test_what_it_cannot_do_is_said() -> None:
    assert native.why_not(torch.device("cuda"), torch.float32) == "it runs on a CPU, not on cuda"
    assert native.why_not(CPU, torch.float64) == "it computes in float32 and bfloat16, not in float64"


def test_it_is_built_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = native.why_not(CPU, torch.float32)
    if reason:
        pytest.skip(reason)
    (library,) = cache.iterdir()
    native._library.cache_clear()
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert native.why_not(CPU, torch.float32) == ""
    assert list(cache.iterdir()) == [library]


@pytest.mark.skipif(native.platform.machine() not in ("x86_64", "AMD64"), reason="another CPU is another reason")
@pytest.mark.parametrize("trouble", ["no compiler", "a compiler that fails", "no cache"])
def test_where_it_cannot_be_built_auto_is_the_next(cache: Path, monkeypatch: pytest.MonkeyPatch, trouble: str) -> None:
    if trouble == "no cache":
        cache.write_text("a file")
    else:
        monkeypatch.setenv("CXX", "no-such-compiler" if trouble == "no compiler" else "false")
    assert native.why_not(CPU, torch.float32).startswith("it cannot be built here (")
    assert chosen("auto", HERE) == "fused"
    with pytest.raises(ConfigError, match=r"model\.recurrence is native: it cannot be built here") as caught:
        chosen("native", HERE)
    assert len(str(caught.value).splitlines()) == 1
    assert trouble == "no cache" or not list(cache.iterdir()), "nothing half done is left"
