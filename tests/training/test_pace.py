import time

import pytest

from charrnn.training.pace import Pace


def test_only_training_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([10.0, 12.0, 13.0, 100.0, 104.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(moments))
    pace = Pace(7, 30)
    assert pace.lap(9) == 30, "two steps of 30 characters in two seconds"
    assert pace.lap(15) == 180
    pace.restart(15)
    assert pace.lap(17) == 15, "the 87 seconds before are left out"
