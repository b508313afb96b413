"""Mutants: the code is changed on purpose, in one place at a time, and some test must fail.

    make mutants                                       # the sample: COUNT places of FILES, and the edits of native.cpp
    make mutants ONLY=charrnn/text/batches.py COUNT=40
    make mutants ONLY=charrnn/model/native.cpp

The changes are cosmic-ray's; at each place one of those that are possible is tried. Which places and which changes
follows from the lines alone, so a run that was stopped goes on where it was: what died stays dead as long as its file
is the same, what survived is tried again once a test has changed. All happens on a copy of the tree, in build/mutants.

A mutant meets the tests of its own module, then those of its room, then others, until one fails. Tests that take ten
times as long as without it have failed, too. The libraries are imported once, by a process that never imports charrnn;
each mutant is tested in a fork of it.
"""

import argparse
import hashlib
import importlib
import json
import os
import re
import select
import shlex
import shutil
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names
from parso.tree import NodeOrLeaf

ROOT = Path(__file__).parents[1]
PLACE = ROOT / "build" / "mutants"
TREE, RESULTS, OUTPUT = PLACE / "tree", PLACE / "results.jsonl", PLACE / "output.txt"
NATIVE = "charrnn/model/native.cpp"
FILES = ["charrnn/model", "charrnn/text", "charrnn/runtime"]
FILES += [f"charrnn/training/{name}.py" for name in ("learner", "evaluation", "schedule", "checkpoint")]
LOSSES = "tests/training/test_golden_losses.py"
FURTHER = {
    "model": [LOSSES, "tests/training/test_learner.py tests/training/test_evaluation.py", "tests/test_export.py"],
    "text": [LOSSES, "tests/runtime tests/test_export.py", "tests/cli/test_train.py tests/cli/test_sample.py"],
    "runtime": ["tests/test_export.py tests/training/test_evaluation.py", "tests/cli -k sample"],
    "training": [LOSSES, "tests/training", "tests/cli/test_train.py tests/test_torture.py"],
}
"""By room, what is tried after the module's own tests and the room's."""
_APART = {"BitAnd", "BitOr", "BitXor", "LShift", "RShift", "Is", "IsNot"}
"""Operators that are another's equal (`is` for `==`), or no number's (`|` for `+`), and say nothing of a test."""
LIBRARIES = ["accelerate", "datasets", "hypothesis", "onnx", "onnxruntime", "pytest", "torch"]
FLAGS = "-x -q -p no:cacheprovider -W ignore::pytest.PytestAssertRewriteWarning"
"""That warning: hypothesis is imported before pytest starts."""
SHARE, LEAST_SECONDS = 10, 60
"""Tests may take SHARE times as long as without a mutant, and that much at least."""


@dataclass(frozen=True)
class Place:
    """Where a file can be changed."""

    file: str
    row: int
    rank: str
    """The lowest are sampled; it depends on the line alone, not on where that stands."""
    changes: list[tuple[str, str, int]]
    """A rank of each, the operator that makes it, and which of its occurrences in the file this is."""


@dataclass(frozen=True)
class Mutant:
    """A file with one change in it."""

    file: str
    edit: str
    source: str

    @property
    def key(self) -> str:
        """What its result is kept under; that of another state of the file is another."""
        return digest(self.file, self.source)


def digest(*words: object) -> str:
    return hashlib.sha256("\0".join(map(str, words)).encode()).hexdigest()[:16]


# What is changed


def places(file: str) -> list[Place]:
    """All places of a file in Python."""
    source = (ROOT / file).read_text()
    nodes = [node for node in ast_nodes(get_ast(source)) if node.type not in ("name", "string", "newline")]
    found: dict[tuple[int, int], Place] = {}
    for name in filter(_is_tried, operator_names()):
        operator = get_operator(name)()
        changes = [(node, start) for node in nodes for start, _ in operator.mutation_positions(node)]
        for occurrence, (node, (row, column)) in enumerate(changes):
            if not _says_nothing(node):
                line = source.splitlines()[row - 1]
                place = found.setdefault((row, column), Place(file, row, digest(file, line, column), []))
                place.changes.append((digest(place.rank, name, len(place.changes)), name, occurrence))
    return list(found.values())


def mutants_of(place: Place) -> Iterator[Mutant]:
    """The first change there that is still Python; at a few places none is."""
    source = (ROOT / place.file).read_text()
    for _, name, occurrence in sorted(place.changes):
        changed = mutate_code(source, get_operator(name)(), occurrence)
        if changed != source and _compiles(changed):
            yield Mutant(place.file, f"{place.row}: {_difference(source, changed)}", changed)
            return


def _is_tried(name: str) -> bool:
    """Not what needs arguments, nor what puts an operator of _APART in the place of another, or the other way."""
    old, _, new = name.partition("Operator_")[2].partition("_")
    return (old in _APART) == (new in _APART) and not get_operator(name).arguments()


def _says_nothing(node: NodeOrLeaf) -> bool:
    """Whether the node is in an annotation, or in an assertion, which nothing should ever see fail."""
    while parent := node.parent:
        is_annotation = (
            parent.type == "tfpdef"
            or (parent.type == "annassign" and node is parent.children[1])
            or (parent.type == "funcdef" and node is parent.annotation)
        )
        is_marker = parent.type == "parameters" and node.type == "operator"  # what only says how to call
        if is_annotation or is_marker or node.type == "assert_stmt":
            return True
        node = parent
    return False


def _compiles(source: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def _difference(before: str, after: str) -> str:
    """The lines that differ, as `old -> new`."""
    old, new = before.splitlines(), after.splitlines()
    while old and new and old[0] == new[0]:
        del old[0], new[0]
    while old and new and old[-1] == new[-1]:
        del old[-1], new[-1]
    return " -> ".join(" ".join(line.strip() for line in lines) for lines in (old, new))


def native_edits() -> Iterator[Mutant]:
    sys.path.insert(0, str(ROOT / "tests" / "model"))
    source = (ROOT / NATIVE).read_text()
    for old, new in importlib.import_module("native_edits").EDITS:
        changed = source.replace(old, new)
        yield Mutant(NATIVE, _difference(source, changed), changed)


# What must notice


def stages_of(file: str) -> list[str]:
    """Arguments of pytest, to be tried in this order."""
    if file == NATIVE:
        return ["tests/model"]
    path = Path(file)
    room = path.parent.name
    own = Path("tests", room, f"test_{path.stem}.py")
    rest = [] if room == "training" else [f"tests/{room}"]
    return [*([str(own)] if (ROOT / own).exists() else []), *rest, *FURTHER[room]]


def run_tests(stage: str, limit_seconds: float) -> str:
    """Why `stage` fails on the tree as it is: the test, or the limit. Empty where it passes."""
    child = os.fork()
    if not child:
        status = 1
        try:
            status = _pytest(stage)
        finally:
            os._exit(status)  # nothing of the parent's is done twice
    ended = select.poll()
    ended.register(os.pidfd_open(child), select.POLLIN)
    in_time = ended.poll(limit_seconds * 1000)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what it left, if not itself
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if not in_time:
        return f"no end within {limit_seconds:.0f} s"
    if status == 0:
        return ""
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", OUTPUT.read_text(errors="replace"), re.MULTILINE)
    return failed[0] if failed else f"pytest ended with {status}"


def _pytest(stage: str) -> int:
    os.setsid()
    output = os.open(OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(TREE)
    os.environ |= {"PYTHONPATH": str(TREE), "PYTHONDONTWRITEBYTECODE": "1"}
    sys.dont_write_bytecode = True
    sys.path[0] = str(TREE)
    return int(importlib.import_module("pytest").main([*stage.split(), *FLAGS.split()]))


def _is_made(folder: str, names: list[str]) -> list[str]:
    """What is no source: what the tools keep at the top, and what lies beside the source."""
    kept = (".ci", ".gitignore")
    made = ["build", "dist", "runs", "wandb", *(name for name in names if name.startswith(".") and name not in kept)]
    return ["__pycache__", "node_modules", *(made if Path(folder) == ROOT else [])]


class Laboratory:
    """The copy of the tree, how long its tests take where nothing is changed, and all results so far."""

    def __init__(self) -> None:
        shutil.rmtree(TREE, ignore_errors=True)
        shutil.copytree(ROOT, TREE, ignore=_is_made)
        self.tests = digest(*(file.read_text() for file in sorted((ROOT / "tests").rglob("*.py"))))
        lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
        self.results = {result["key"]: result for result in map(json.loads, lines)}
        self.limits: dict[str, float] = {}

    def result_of(self, mutant: Mutant) -> dict[str, str]:
        """What became of it: `by` is what failed, empty where nothing did."""
        known = self.results.get(mutant.key)
        if known and (known["by"] or known["tests"] == self.tests):
            return known
        result = {"key": mutant.key, "file": mutant.file, "edit": mutant.edit, "tests": self.tests, "by": ""}
        for stage in stages_of(mutant.file):
            limit = self.limit(stage)
            (TREE / mutant.file).write_text(mutant.source)
            try:
                result["by"] = run_tests(stage, limit)
            finally:
                shutil.copy(ROOT / mutant.file, TREE / mutant.file)
            if result["by"]:
                break
        with RESULTS.open("a") as file:
            file.write(json.dumps(result) + "\n")
        return result

    def limit(self, stage: str) -> float:
        """Seconds that `stage` may take; it must pass without a mutant."""
        if stage not in self.limits:
            begin = time.monotonic()
            if reason := run_tests(stage, 3600):
                sys.exit(f"{stage}: {reason}, without any mutant: see {OUTPUT}")
            self.limits[stage] = max(LEAST_SECONDS, SHARE * (time.monotonic() - begin))
        return self.limits[stage]


def main() -> int:
    """Try the sample; the status is 1 where a mutant survived."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="a file or a directory")
    parser.add_argument("--count", type=int, default=500, help="places that are changed")
    options = parser.parse_args()
    paths = [path for name in FILES for path in ([ROOT / name] if name.endswith(".py") else (ROOT / name).glob("*.py"))]
    files = [file for file in sorted(str(path.relative_to(ROOT)) for path in paths) if file.startswith(options.only)]
    sample = sorted((place for file in files for place in places(file)), key=lambda place: place.rank)[: options.count]
    mutants = [mutant for place in sample for mutant in mutants_of(place)]
    for name in LIBRARIES:
        importlib.import_module(name)
    laboratory = Laboratory()
    if NATIVE.startswith(options.only):
        if shutil.which(shlex.split(os.environ.get("CXX", "c++"))[0]):
            mutants += native_edits()
        else:
            print(f"{NATIVE}: not run: there is no C++ compiler")
    tried, died = Counter[str](), Counter[str]()
    for mutant in mutants:
        result = laboratory.result_of(mutant)
        tried[mutant.file] += 1
        died[mutant.file] += bool(result["by"])
        if not result["by"]:
            print(f"survived  {mutant.file}:{mutant.edit}", flush=True)
    for file, count in sorted(tried.items()):
        print(f"{died[file]:4} of {count:4} died  {file}")
    print(f"{died.total()} of {tried.total()} died")
    return int(died != tried)


if __name__ == "__main__":
    sys.exit(main())
