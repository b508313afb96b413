"""A skip says of which kind it is, and the end of a run lists every reason with its count.

`install: ` begins a reason that whoever runs the tests could mend (a compiler, Node.js): where CI is true, it is a
failure. `not here: ` begins one that they could not (no such CPU, not root). A reason that begins otherwise fails.
"""

import os
from collections import Counter
from collections.abc import Generator
from typing import TypeVar

import pytest

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)
AVOIDABLE, UNAVOIDABLE = "install: ", "not here: "


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _judged((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _judged((yield))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons = Counter(_reason(report) for report in terminalreporter.stats.get("skipped", []))
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} skipped, {reason}")


def _judged(report: Report) -> Report:
    reason = _reason(report)
    fine = reason.startswith(UNAVOIDABLE) or (reason.startswith(AVOIDABLE) and os.environ.get("CI") != "true")
    if reason and not fine:
        report.outcome, report.longrepr = "failed", f"skipped, {reason}"
    return report


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why it was skipped; empty where it was not."""
    return report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""
