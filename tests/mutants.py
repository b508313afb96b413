"""Mutants: the code is changed on purpose, in one place at a time, and some test must fail.

    make mutants                                       # the sample: COUNT places of FILES, and edits of native's C++
    make mutants ONLY=charrnn/text/batches.py COUNT=40
    make mutants ONLY=charrnn/model/native

The changes are cosmic-ray's; at each place one of those that are possible is tried. Which places and which changes
follows from the lines alone, so a run that was stopped goes on where it was: what died stays dead as long as its file
is the same, what survived is tried again once a test has changed. All happens on copies of the tree, in build/mutants,
one for each of `--processes`.

A mutant meets the tests of its own module, then those of its room, then others, until one fails. Tests that take ten
times as long as without it have failed, too. The libraries are imported once, by a process that never imports charrnn;
each mutant is tested in a fork of it.
"""

import argparse
import gc
import hashlib
import importlib
import json
import multiprocessing
import os
import re
import select
import shlex
import shutil
import signal
import sys
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import repeat
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names
from filelock import FileLock, Timeout
from hypothesis import Phase, settings
from parso.tree import NodeOrLeaf

ROOT = Path(__file__).parents[1]
PLACE = ROOT / "build" / "mutants"
RESULTS = PLACE / "results.jsonl"
NATIVE = "charrnn/model/native"
ON_A_GPU = {"charrnn/model/graphed.py"}
"""What runs nowhere else: no test would tell."""
FILES = ["charrnn/model", NATIVE, "charrnn/text", "charrnn/runtime"]
FILES += [f"charrnn/{name}.py" for name in ("scores", "splitmix", "training/learner", "training/evaluation")]
FILES += ["charrnn/training/schedule.py", "charrnn/runs/checkpoint.py", "charrnn/sampling_config.py"]
FILES += ["charrnn/training/budget.py", "charrnn/runs/unfinished.py", "charrnn/units"]
TESTS = {
    "hub/client": "tests/hub/test_snapshot.py tests/sharing/test_upload.py",
    "model/architecture": "tests/model/test_char_rnn.py",
    "model/cudnn": "tests/model/test_cudnn.py tests/model/test_recurrence.py",
    "model/cpu": "tests/model/test_native.py",
    "model/fused": "tests/model/test_recurrence.py tests/model/test_cells.py",
    "model/initialisation": "tests/model/test_char_rnn.py",
    "model/compiled": "tests/model/test_native.py",
    "model/calls": "tests/model/test_native.py tests/model/test_loss.py tests/model/test_cells.py",
    "runtime/model": "tests/runtime/test_onnx_model.py tests/runtime/test_stream.py",
    "runtime/scan_sessions": "tests/runtime/test_scan.py",
    "charrnn/sampling_config": "tests/test_sampling_config.py",
    "charrnn/scores": "tests/runtime/test_scores.py tests/training/test_evaluation.py",
    "charrnn/splitmix": "tests/test_splitmix.py tests/runtime/test_sampling.py tests/text/test_shuffle.py",
    "runtime/session": "tests/runtime/test_onnx_model.py",
    "runtime/step_model": "tests/runtime/test_stream.py tests/runtime/test_scores.py tests/runtime/test_scan.py",
    "text/arrow": "tests/text/test_encoded.py tests/text/test_prepare.py",
    "text/prepared": "tests/text/test_prepare.py",
    "text/progress": "tests/text/test_download.py",
    "text/normaliser_steps": "tests/text/test_normaliser_steps.py tests/text/test_normaliser.py",
    "text/encoded": "tests/text/test_encoded.py tests/text/test_batches.py",
}
"""Of modules whose tests are not those of their name alone."""
LOSSES = "tests/training/test_golden_losses.py"
FURTHER = {
    "model": [LOSSES, "tests/training/test_learner.py tests/training/test_evaluation.py", "tests/test_export.py"],
    "text": [LOSSES, "tests/runtime tests/test_export.py", "tests/cli/test_train.py tests/cli/test_sample.py"],
    "runtime": ["tests/test_export.py tests/training/test_evaluation.py", "tests/cli -k sample"],
    "charrnn": ["tests/cli -k sample"],
    "units": ["tests/units tests/writing"],
    "hub": ["tests/hub tests/runs/test_pretrained.py", "tests/sharing"],
    "sharing": ["tests/sharing", "tests/test_hub_round_trip.py"],
    "runs": ["tests/cli/test_train.py tests/test_torture.py"],
    "training": [LOSSES, "tests/training", "tests/cli/test_train.py tests/test_torture.py"],
}
"""By room, what is tried after the module's own tests and the room's."""
_APART = {"BitAnd", "BitOr", "BitXor", "LShift", "RShift", "Is", "IsNot"}
"""Operators that are another's equal (`is` for `==`), or no number's (`|` for `+`), and say nothing of a test."""
LIBRARIES = ["accelerate", "datasets", "hypothesis", "onnx", "onnxruntime", "pytest", "torch"]
FLAGS = "-x -q -p no:cacheprovider -p xdist -p _hypothesis_pytestplugin -W ignore::pytest.PytestAssertRewriteWarning"
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
    """Whether the node is in an annotation, in an assertion, which nothing should ever see fail, or a marker."""
    while parent := node.parent:
        is_annotation = (
            parent.type == "tfpdef"
            or (parent.type == "annassign" and node is parent.children[1])
            or (parent.type == "funcdef" and node is parent.annotation)
        )
        is_marker = (  # what only forbids
            (parent.type == "parameters" and node.type == "operator")
            or (parent.type == "argument" and parent.get_first_leaf().value in ("frozen", "kw_only", "strict"))
        )
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
    for name, old, new in importlib.import_module("native_edits").EDITS:
        file = f"{NATIVE}/{name}"
        source = (ROOT / file).read_text()
        changed = source.replace(old, new)
        yield Mutant(file, _difference(source, changed), changed)


# What must notice


def stages_of(file: str) -> list[str]:
    """Arguments of pytest, to be tried in this order."""
    if file.endswith(".h"):  # others see that it was edited
        return ["tests/model/test_cells.py tests/model/test_recurrence.py tests/model/test_loss.py -k native"]
    path = Path(file)
    room = path.parent.name.replace("native", "model")  # whose tests are in the room around it
    own = TESTS.get(f"{room}/{path.stem}", f"tests/{room}/test_{path.stem}.py")
    rest = [] if room in ("charrnn", "training") else [f"tests/{room}"]
    return [own, *rest, *FURTHER[room]]


class Laboratory:
    """A copy of the tree, and how long its tests take where nothing is changed."""

    def __init__(self) -> None:
        self.tree = PLACE / f"tree-{os.getpid()}"
        self.output = PLACE / f"output-{os.getpid()}.txt"
        self.limits: dict[str, float] = {}
        shutil.copytree(ROOT, self.tree, ignore=_is_made)

    def what_fails(self, mutant: Mutant) -> str:
        """Empty where nothing does."""
        changed = self.tree / mutant.file
        original = changed.read_text()
        for stage in stages_of(mutant.file):
            limit = self.limit(stage)
            changed.write_text(mutant.source)
            reason = self.run(stage, limit)
            changed.write_text(original)
            if reason:
                return reason
        return ""

    def limit(self, stage: str) -> float:
        """Seconds that `stage` may take; it must pass without a mutant."""
        if stage not in self.limits:
            begin = time.monotonic()
            if reason := self.run(stage, 3600):
                raise SystemExit(f"{stage}: {reason}, without any mutant: see {self.output}")
            self.limits[stage] = max(LEAST_SECONDS, SHARE * (time.monotonic() - begin))
        return self.limits[stage]

    def run(self, stage: str, limit_seconds: float) -> str:
        """Why `stage` fails on the tree as it is: the test, or the limit. Empty where it passes."""
        child = os.fork()
        if not child:
            status = 1
            try:
                status = self._pytest(stage)
            finally:
                os._exit(status)  # nothing of the parent's is done twice
        ended = os.pidfd_open(child)
        try:
            in_time = select.select([ended], [], [], limit_seconds)[0]
        finally:
            os.close(ended)
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)  # what it left, if not itself
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if not in_time:
            return f"no end within {limit_seconds:.0f} s"
        if status == 0:
            return ""
        failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", self.output.read_text(errors="replace"), re.MULTILINE)
        return failed[0] if failed else f"pytest ended with {status}"

    def _pytest(self, stage: str) -> int:
        os.setsid()
        output = os.open(self.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(self.tree)
        os.environ |= {"PYTHONPATH": str(self.tree), "PYTHONDONTWRITEBYTECODE": "1"}
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # looking for plugins takes longer than most tests
        sys.dont_write_bytecode = True
        sys.path[0] = str(self.tree)
        return int(importlib.import_module("pytest").main([*stage.split(), *FLAGS.split()]))


def _is_made(folder: str, names: list[str]) -> list[str]:
    """What is no source: what the tools keep at the top, and what lies beside the source."""
    kept = (".ci", ".gitignore")
    made = ["build", "dist", "runs", "wandb", *(name for name in names if name.startswith(".") and name not in kept)]
    return ["__pycache__", "node_modules", *(made if Path(folder) == ROOT else [])]


@cache
def laboratory() -> Laboratory:
    """This process's own."""
    return Laboratory()


def try_all(mutants: list[Mutant], tests: str) -> list[dict[str, str]]:
    """What became of each: `by` is what failed, empty where nothing did. It is kept, under the state of the tests."""
    results = []
    for mutant in mutants:
        result = {"key": mutant.key, "file": mutant.file, "edit": mutant.edit, "tests": tests}
        result["by"] = laboratory().what_fails(mutant)
        with RESULTS.open("a") as file:
            file.write(json.dumps(result) + "\n")
        results.append(result)
    return results


def results_of(mutants: list[Mutant], processes: int) -> Iterator[dict[str, str]]:
    """Of what died and of what these tests let live, as it is known; then of the others, a file by one process."""
    tests = digest(*(file.read_text() for file in sorted((ROOT / "tests").rglob("*.py"))))
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    known = {result["key"]: result for result in map(json.loads, lines) if result["by"] or result["tests"] == tests}
    yield from (known[mutant.key] for mutant in mutants if mutant.key in known)
    rest = defaultdict(list)
    for mutant in mutants:
        if mutant.key not in known:
            rest[mutant.file].append(mutant)
    with ProcessPoolExecutor(processes, multiprocessing.get_context("fork")) as pool:
        for results in pool.map(try_all, rest.values(), repeat(tests)):
            yield from results


def chosen(only: str, count: int) -> list[Mutant]:
    """The sample of what is in `only`, a file or a directory."""
    paths = [path for name in FILES for path in ([ROOT / name] if name.endswith(".py") else (ROOT / name).glob("*.py"))]
    files = sorted({str(path.relative_to(ROOT)) for path in paths} - ON_A_GPU)
    files = [file for file in files if file.startswith(only)]
    sample = sorted((place for file in files for place in places(file)), key=lambda place: place.rank)[:count]
    mutants = [mutant for place in sample for mutant in mutants_of(place)]
    if NATIVE.startswith(only):
        if shutil.which(shlex.split(os.environ.get("CXX", "c++"))[0]):
            mutants += native_edits()
        else:
            print(f"{NATIVE}: not run: there is no C++ compiler")
    return mutants


def report(results: Iterable[dict[str, str]]) -> bool:
    """Whether all died."""
    tried, died = Counter[str](), Counter[str]()
    for result in results:
        tried[result["file"]] += 1
        died[result["file"]] += bool(result["by"])
        if not result["by"]:
            print(f"survived  {result['file']}:{result['edit']}", flush=True)
    for file, count in sorted(tried.items()):
        print(f"{died[file]:4} of {count:4} died  {file}")
    print(f"{died.total()} of {tried.total()} died")
    return died == tried


def main() -> int:
    """Try the sample; the status is 1 where a mutant survived."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="a file or a directory")
    parser.add_argument("--count", type=int, default=500, help="places that are changed")
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    PLACE.mkdir(parents=True, exist_ok=True)
    holder = PLACE / "process"
    try:
        with FileLock(PLACE / "lock", timeout=0):
            holder.write_text(str(os.getpid()))
            for tree in PLACE.glob("tree-*"):
                shutil.rmtree(tree)
            mutants = chosen(options.only, options.count)
            for name in LIBRARIES:
                importlib.import_module(name)
            # A failure is enough: what makes it is not simplified.
            settings.register_profile("mutants", phases=[Phase.explicit, Phase.generate], derandomize=True)
            settings.load_profile("mutants")
            gc.freeze()  # else each fork copies what is collected
            return 0 if report(results_of(mutants, options.processes)) else 1
    except Timeout:
        sys.exit(f"{PLACE}: process {holder.read_text()} changes the code here; wait for its end")


if __name__ == "__main__":
    sys.exit(main())
