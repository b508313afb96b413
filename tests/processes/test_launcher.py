"""The launcher, as its processes see it."""

from typing import NoReturn

import psutil
import pytest

from charrnn.processes import launcher


@pytest.mark.parametrize("error", [psutil.AccessDenied(1), psutil.NoSuchProcess(1), psutil.ZombieProcess(1)])
@pytest.mark.parametrize("of", ["cmdline", "parent"])
def test_a_parent_that_may_not_be_looked_at_is_not_accelerate_s_launcher(
    monkeypatch: pytest.MonkeyPatch, of: str, error: psutil.Error
) -> None:
    def refuse(process: psutil.Process) -> NoReturn:
        raise error

    monkeypatch.setattr(psutil.Process, of, refuse)
    assert launcher.launcher_pid() == 0
    assert launcher.requested_processes() == 1
