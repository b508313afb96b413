"""A skip that could be avoided fails in CI; what is skipped is said with its reason and count."""

import pytest

pytest_plugins = ["pytester"]

TESTS = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_one(number):
    pytest.skip("install: a compiler")

@pytest.mark.skipif(True, reason="not here: no such CPU")
def test_two():
    pass

@pytest.mark.xfail
def test_three():
    assert False

def test_four():
    pytest.skip("I do not like it")
"""
MODULE = """
import pytest
pytest.importorskip("no_such_module", reason="install: a module")
"""


@pytest.mark.parametrize("ci", ["true", ""])
def test_a_skip_says_of_which_kind_it_is(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ci: str) -> None:
    monkeypatch.setenv("CI", ci)
    pytester.makepyfile(test_some=TESTS, test_module=MODULE)
    result = pytester.runpytest_inprocess("-p", "tests.skips", "--continue-on-collection-errors", "-rN")
    expected = {"failed": 1, "skipped": 1, "xfailed": 1}
    if ci:
        expected |= {"failed": 4, "errors": 1}
    else:
        expected |= {"skipped": 5}
        result.stdout.fnmatch_lines(["3 skipped, install: a compiler", "1 skipped, install: a module"])
    result.assert_outcomes(**expected)
    result.stdout.fnmatch_lines(["skipped, I do not like it", "1 skipped, not here: no such CPU"])
