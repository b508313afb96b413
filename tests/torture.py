"""Every way to die, tried on real launches: `python tests/torture.py --rounds 4 --model.cell lstm`.

Each case trains, does something terrible at a random moment, and starts the same command again. It reports how the
launch ended, how long that took, what it left behind, what was lost, and whether the run that was resumed has the bits
of one that was never disturbed: every record, parameter, moment, sample and the exported model.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from charrnn.model.cells import CELLS
from charrnn.runs.checkpoint import newest_first

ROOT = Path(__file__).parents[1]
MARK = "CHARRNN_TORTURE"
STEPS = 400
CHECKPOINT_EVERY = 25
FLAGS = (
    f"--max-steps {STEPS} --epochs 1000 --checkpoint-every {CHECKPOINT_EVERY} --evaluate-every 100 --log.every 7 "
    "--log.sample-length 20 --threads 1 --batch.size 7 --batch.length 20 --model.hidden-size 24 --model.dropout 0.1 "
    "--model.recurrence fused --optimiser.warmup-steps 5 "
    "--text.validation-fraction 0.2 --text.test-fraction 0.1 --process-timeout 8"
)
LIMIT_SECONDS = 120
"""No launch of these takes a tenth of it: one that does hangs."""


@dataclass
class Outcome:
    """What happened in one round of a case."""

    case: str
    processes: int
    cell: str = "tanh"
    status: int = 0
    """Exit status of the launch."""
    seconds: float = 0.0
    """From the injury to the end of the last process."""
    left: int = 0
    """Processes that had to be killed because they did not end."""
    lost: int = 0
    """Steps that were recorded and had to be trained again."""
    same: bool = False
    """Whether the resumed run is, bit for bit, the undisturbed one."""
    said: str = ""
    """The last line from charrnn."""


@dataclass
class Launch:
    """A training command that runs, with all that it starts."""

    run: Path
    """Two levels below a directory of `make_base`: its text and its cell are this launch's."""
    processes: int
    more: list[str] = field(default_factory=list)
    launcher: tuple[str, ...] = ()
    """Flags of the launcher itself."""
    script: tuple[str, ...] = ("train.py",)
    """What is launched, and words that come before the text."""

    def __post_init__(self) -> None:
        self.mark = f"{self.run}-{random.getrandbits(64):x}"
        python = [sys.executable, *self.script]
        accelerate = [str(Path(sys.executable).parent / "accelerate"), "launch", "--config_file"]
        topology = ["accelerate_config.yaml", "--num_processes", str(self.processes), *self.launcher]
        launcher = [*accelerate, *topology, *self.script]
        base = self.run.parents[1]
        words = [*(python if self.processes == 1 else launcher), str(base / "text.txt"), *FLAGS.split()]
        words += ["--model.cell", base.name, "--log.wandb", "disabled", *self.more, "--run-dir", str(self.run)]
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed when the launch is
        self.process = subprocess.Popen(
            words, cwd=ROOT, env=os.environ | {MARK: self.mark}, stdout=self.log, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip

    def __enter__(self) -> "Launch":
        return self

    def __exit__(self, *error: object) -> None:
        for process in self.alive():
            with suppress(psutil.Error):
                process.kill()
        self.process.wait()
        self.log.close()

    def alive(self) -> list[psutil.Process]:
        """All processes of this launch that have not ended."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def workers(self) -> list[psutil.Process]:
        """The training processes, in order of rank."""
        if self.processes == 1:
            return [psutil.Process(self.process.pid)]
        children = psutil.Process(self.process.pid).children()
        workers = [child for child in children if "train.py" in child.cmdline()]
        return sorted(workers, key=lambda worker: int(worker.environ()["RANK"]))

    def wait_for_step(self, step: int) -> None:
        """Until `step` is recorded."""
        self.wait_until(lambda: last_step(self.run) >= step)

    def wait_until(self, happened: Callable[[], bool]) -> None:
        """Until it has happened; fails where the launch ends before."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while not happened():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"ended or hung before it could be injured:\n{self.output()}")
            time.sleep(0.005)

    def end(self, outcome: Outcome) -> None:
        """Wait for the end of all its processes and note how that was."""
        start = time.monotonic()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(LIMIT_SECONDS)
        while self.alive() and time.monotonic() - start < LIMIT_SECONDS:
            time.sleep(0.02)
        outcome.seconds, outcome.left = time.monotonic() - start, len(self.alive())
        status = self.process.poll()
        outcome.status = -1 if status is None else status
        outcome.said = self.last_line()

    def output(self) -> str:
        """What it has written so far."""
        self.log.seek(0)
        return self.log.read()

    def last_line(self) -> str:
        """What charrnn itself said last: an error or a farewell."""
        said = [line for line in self.output().splitlines() if line.startswith(("charrnn-train: ", "stopped by"))]
        return said[-1].replace(str(self.run), "RUN") if said else ""


def last_step(run: Path) -> int:
    """The last step that is recorded; 0 where none is."""
    with suppress(OSError, ValueError, IndexError):
        return int(json.loads((run / "metrics.jsonl").read_text().split("\n")[-2])["step"])
    return 0


def resumed_at(output: str) -> int:
    """The step that a launch said it goes on from."""
    return int(output.split("resumed at step ")[1].split()[0].rstrip(";").replace(",", ""))


def checkpoints(run: Path) -> int:
    """How many there are."""
    return len([*(run / "checkpoints").glob("step-*")])


def bits(run: Path) -> dict[str, object]:
    """Everything of a finished run that must not depend on what happened on the way."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for record in records:
        record.pop("characters_per_second", None)
    last = run / "checkpoints" / f"step-{STEPS:08d}"
    files = [last / f"{name}.safetensors" for name in ("model", "optimiser", "state")]
    return {"records": records} | {p.name: p.read_bytes() for p in [*files, run / "samples.txt", run / "model.onnx"]}


# The cases: each injures a launch that is running, and returns when it has


def kill(launch: Launch, draw: random.Random) -> None:
    """SIGKILL of the only process."""
    launch.process.kill()


def kill_a_rank(launch: Launch, draw: random.Random) -> None:
    """SIGKILL of one rank, any."""
    draw.choice(launch.workers()).kill()


def kill_the_launcher(launch: Launch, draw: random.Random) -> None:
    """SIGKILL of the launcher: the ranks must notice."""
    launch.process.kill()


def kill_everything(launch: Launch, draw: random.Random) -> None:
    """SIGKILL of all processes at once, as when the power goes."""
    for process in launch.alive():
        with suppress(psutil.Error):
            process.kill()


def sigterm(launch: Launch, draw: random.Random) -> None:
    """SIGTERM to the launcher, or to the only process."""
    launch.process.terminate()


def sigterm_twice(launch: Launch, draw: random.Random) -> None:
    """A second SIGTERM shortly after the first."""
    launch.process.terminate()
    time.sleep(draw.uniform(0, 0.2))
    launch.process.terminate()


def control_c(launch: Launch, draw: random.Random) -> None:
    """SIGINT to all, as a terminal sends it."""
    os.killpg(launch.process.pid, signal.SIGINT)


def control_c_twice(launch: Launch, draw: random.Random) -> None:
    """A second SIGINT shortly after the first: it ends at once."""
    control_c(launch, draw)
    time.sleep(draw.uniform(0, 0.2))
    with suppress(ProcessLookupError):
        control_c(launch, draw)


def warning_signal(launch: Launch, draw: random.Random) -> None:
    """SIGUSR1 to the ranks, as Slurm sends it before the limit."""
    for worker in launch.workers():
        worker.send_signal(signal.SIGUSR1)


def hang(launch: Launch, draw: random.Random) -> None:
    """SIGSTOP of one rank: it answers nobody any more. `--process-timeout 8`."""
    draw.choice(launch.workers()).suspend()


def read_only(launch: Launch, draw: random.Random) -> None:
    """The checkpoints' directory cannot be written any more."""
    directory = launch.run / "checkpoints"
    subprocess.run(["mount", "--bind", directory, directory], check=True)
    remount = ["mount", "-o", "remount,bind,ro", directory]
    launch.wait_until(lambda: subprocess.run(remount, capture_output=True).returncode == 0)  # not amid a checkpoint


def writable_again(run: Path) -> None:
    subprocess.run(["umount", run / "checkpoints"], check=True)


def disk_full(launch: Launch, draw: random.Random) -> None:
    """Something else fills the disk; the next checkpoint, or record, does not fit."""
    with suppress(OSError), (launch.run.parent / "filler").open("wb") as filler:
        while True:
            filler.write(bytes(draw.randrange(1, 4096)))
            filler.flush()


def room_again(run: Path) -> None:
    (run.parent / "filler").unlink()


def damage(how: Callable[[Path, random.Random], None]) -> Callable[[Path], None]:
    """A mender that does the opposite: it damages one file of the newest checkpoint before the run is resumed."""

    def apply(run: Path) -> None:
        newest = newest_first(run / "checkpoints")[0]
        draw = random.Random(str(run))
        how(draw.choice(sorted(newest.iterdir())), draw)

    return apply


def truncated(file: Path, draw: random.Random) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: draw.randrange(len(content))])


def flipped(file: Path, draw: random.Random) -> None:
    content = bytearray(file.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    file.write_bytes(content)


def missing(file: Path, draw: random.Random) -> None:
    file.unlink()


def foreign(file: Path, draw: random.Random) -> None:
    file.write_bytes(draw.randbytes(1000))


def kill_wandb(launch: Launch, draw: random.Random) -> None:
    """SIGKILL of W&B's own process: training goes on."""
    for process in launch.alive():
        if "wandb-core" in process.name() or any("wandb-core" in word for word in process.cmdline()):
            process.kill()


def remove_wandb(launch: Launch, draw: random.Random) -> None:
    """W&B's directory is deleted: training goes on."""
    shutil.rmtree(launch.run / "wandb")


@dataclass(frozen=True)
class Case:
    """One way to die."""

    name: str
    processes: tuple[int, ...]
    injure: Callable[[Launch, random.Random], None]
    mend: Callable[[Path], None] | None = None
    """What happens between the end and the next start."""
    disk: int = 0
    """Size in KiB of a file system of its own for the run directory; 0: none."""
    flags: tuple[str, ...] = ()
    launcher: tuple[str, ...] = ()
    checkpoints: int = 1
    """How many there must be before it is injured."""
    survives: bool = False
    """Whether the launch goes on to its end."""


OFFLINE = ("--log.wandb", "offline")
CASES = [
    Case("SIGKILL of the process", (1,), kill),
    Case("SIGKILL of a rank", (2,), kill_a_rank),
    Case("SIGKILL of a rank, --max_restarts 1", (2,), kill_a_rank, launcher=("--max_restarts", "1"), survives=True),
    Case("SIGKILL of the launcher", (2,), kill_the_launcher),
    Case("SIGKILL of everything", (2,), kill_everything),
    Case("SIGTERM", (1, 2), sigterm),
    Case("SIGTERM twice", (1, 2), sigterm_twice),
    Case("Ctrl-C", (1, 2), control_c),
    Case("Ctrl-C twice", (1, 2), control_c_twice),
    Case("SIGUSR1 to the ranks", (1, 2), warning_signal),
    Case("a rank hangs", (2,), hang),
    Case("the disk is full", (1, 2), disk_full, room_again, disk=700),
    Case("the directory becomes read-only", (1, 2), read_only, writable_again),
    Case("newest checkpoint truncated", (1,), kill, damage(truncated), checkpoints=2),
    Case("newest checkpoint bit-flipped", (1,), kill, damage(flipped), checkpoints=2),
    Case("newest checkpoint lacks a file", (1,), kill, damage(missing), checkpoints=2),
    Case("newest checkpoint has a foreign file", (1,), kill, damage(foreign), checkpoints=2),
    Case("W&B's process killed", (1, 2), kill_wandb, flags=OFFLINE, survives=True),
    Case("W&B's directory deleted", (1,), remove_wandb, flags=OFFLINE, survives=True),
]


@contextmanager
def place(case: Case, base: Path) -> Iterator[Path]:
    """A run directory for a case, on a file system of its own where it wants one."""
    parent = Path(tempfile.mkdtemp(prefix="case-", dir=base))
    if case.disk:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={case.disk}k", "tmpfs", parent], check=True)
    try:
        yield parent / "run"
    finally:
        if case.disk:
            subprocess.run(["umount", "-l", parent], check=True)
        shutil.rmtree(parent, ignore_errors=True)


def hit(case: Case, launch: Launch, step: int, draw: random.Random) -> Outcome:
    """Injure a launch shortly after it has recorded `step`; returns how it ended."""
    launch.wait_until(lambda: checkpoints(launch.run) >= case.checkpoints)
    launch.wait_for_step(step)
    time.sleep(draw.uniform(0, 0.1))
    case.injure(launch, draw)
    outcome = Outcome(case.name, launch.processes)
    launch.end(outcome)
    return outcome


def try_case(case: Case, processes: int, base: Path, reference: dict[str, object], draw: random.Random) -> Outcome:
    """One round: train, injure, end, mend, resume, compare."""
    with place(case, base) as run:
        with Launch(run, processes, list(case.flags), case.launcher) as launch:
            outcome = hit(case, launch, draw.randrange(CHECKPOINT_EVERY, STEPS * 2 // 3), draw)
            stopped_at = last_step(run)
        if case.survives:
            outcome.same = outcome.status == 0 and bits(run) == reference
            return outcome
        if case.mend:
            case.mend(run)
        with Launch(run, processes) as launch:
            again = Outcome(case.name, processes)
            launch.end(again)
            output = launch.output()
        if again.status != 0 or again.left:
            outcome.said = f"not resumed: {output[-2000:]}"
            return outcome
        outcome.lost = max(0, stopped_at - resumed_at(output))
        outcome.same = bits(run) == reference
    return outcome


def nan(processes: int, base: Path, reference: dict[str, object], draw: random.Random) -> Outcome:
    """A learning rate that no model survives: a clear end, and no checkpoint of a spoilt model."""
    outcome = Outcome("NaN in the loss", processes)
    flags = ["--optimiser.learning-rate", "1e39", "--optimiser.clip-norm", "0"]
    with place(CASES[0], base) as run, Launch(run, processes, flags) as launch:
        launch.end(outcome)
        outcome.same = "so training stopped" in outcome.said and not checkpoints(run)
    return outcome


def two_at_once(processes: int, base: Path, reference: dict[str, object], draw: random.Random) -> Outcome:
    """Two launches on this machine, each with a run of its own."""
    outcome = Outcome("two launches at once", processes)
    with (
        place(CASES[0], base) as run,
        place(CASES[0], base) as other_run,
        Launch(run, processes) as launch,
        Launch(other_run, processes) as other,
    ):
        other.end(Outcome("", 0))
        launch.end(outcome)
        outcome.same = bits(run) == bits(other_run) == reference
    return outcome


def two_on_one_directory(processes: int, base: Path, reference: dict[str, object], draw: random.Random) -> Outcome:
    """Of two launches at nearly the same moment one is refused; the other does not notice."""
    outcome = Outcome("a second launch on the same run", processes)
    with place(CASES[0], base) as run, Launch(run, processes) as launch:
        time.sleep(draw.uniform(0, 0.5))
        with Launch(run, processes) as second:
            ends = []
            for one in (launch, second):
                ends.append(Outcome(outcome.case, processes))
                one.end(ends[-1])
        trained, outcome = sorted(ends, key=lambda end: end.status != 0)
        refused = outcome.status != 0 and "another process is training there" in outcome.said
        outcome.same = refused and trained.status == 0 and bits(run) == reference
    return outcome


INJURED = """
import os, signal, sys
from charrnn.cli.train import main
from charrnn.runs import checkpoint
from charrnn.training import learner

step, calls = int(sys.argv.pop(1)), int(sys.argv.pop(1))

def stopped(self, train_step=learner.Learner.train_step_collective):
    norm = train_step(self)
    if self.step == step:
        os.kill(os.getpid(), signal.SIGTERM)
    return norm

def killed(temporary, final, put=checkpoint._put):
    if final.name == f"step-{step:08d}" and final.exists():
        for name in ("rename", "fsync", "unlink", "rmdir"):
            setattr(os, name, counted(getattr(os, name)))
    put(temporary, final)

def counted(act):
    def acts(*arguments, **options):
        global calls
        calls -= 1
        if calls < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return act(*arguments, **options)
    return acts

learner.Learner.train_step_collective, checkpoint._put = stopped, killed
main()
"""
"""charrnn-train that is told to stop in a step, and is killed when it writes that step's checkpoint again, before one
of its changes of the disk."""


def killed_while_rewriting(processes: int, base: Path, reference: dict[str, object], draw: random.Random) -> Outcome:
    """Stopped before a step's evaluation, whose checkpoint is the same step's again; killed amid that."""
    outcome = Outcome("SIGKILL while a step is written again", processes)
    step = draw.randrange(1, STEPS // 100) * 100
    script = base / "injured.py"
    script.write_text(INJURED)
    injury = (str(script), str(step), str(draw.randrange(4)))
    with place(CASES[0], base) as run:
        ends = []
        for how in (injury, injury, ("train.py",)):
            with Launch(run, processes, ["--keep-checkpoints", "1"], script=how) as launch:
                ends.append(Outcome(outcome.case, processes))
                launch.end(ends[-1])
                output = launch.output()
        outcome = ends[1]
        outcome.seconds = 0.0  # it was waited for from its start
        outcome.left = max(end.left for end in ends)
        there = f"resumed at step {step}" in output
        outcome.same = there and [end.status for end in ends] == [143, -9, 0] and bits(run) == reference
        outcome.said = "" if outcome.same else output[-2000:]
    return outcome


IN_A_ROW = ("SIGKILL of the launcher", "SIGKILL of a rank", "SIGKILL of a rank, --max_restarts 1")


def one_after_another(processes: int, base: Path, reference: dict[str, object], draw: random.Random) -> Outcome:
    """One run dies in each of these ways and goes on each time; the last launch starts it again by itself."""
    outcome, ends, outputs = Outcome("one death after another", processes), [], []
    cases = [next(case for case in CASES if case.name == name) for name in IN_A_ROW]
    with place(CASES[0], base) as run:
        for case in cases:
            stopped_at = last_step(run)
            with Launch(run, processes, list(case.flags), case.launcher) as launch:
                ends.append(hit(case, launch, stopped_at + draw.randrange(CHECKPOINT_EVERY, STEPS // 5), draw))
                outputs.append(launch.output())
            if stopped_at:
                outcome.lost = max(outcome.lost, stopped_at - resumed_at(outputs[-1]))
        outcome.seconds, outcome.status = max(end.seconds for end in ends[:-1]), ends[-1].status
        outcome.left = max(end.left for end in ends)
        as_expected = [end.status == 0 for end in ends] == [case.survives for case in cases]
        resumed = "".join(outputs).count("resumed at step") == len(cases)
        outcome.same = as_expected and resumed and bits(run) == reference
        outcome.said = "" if outcome.same else outputs[-1][-2000:]
    return outcome


SPECIAL = {
    "one death after another": one_after_another,
    "SIGKILL while a step is written again": killed_while_rewriting,
    "NaN in the loss": nan,
    "two launches at once": two_at_once,
    "a second launch on the same run": two_on_one_directory,
}
"""Cases that are not: train, injure, resume."""
PROCESSES = {
    # Several ask each other for signals about once a second: none can be told to stop in a step that we choose.
    "SIGKILL while a step is written again": (1,),
    "one death after another": (2,),
}
"""How many there are, where not one and two."""


def undisturbed(base: Path, processes: int) -> Path:
    """A run that nothing happened to."""
    run = base / "undisturbed" / f"run-{processes}"
    with Launch(run, processes) as launch:
        outcome = Outcome("undisturbed", processes)
        launch.end(outcome)
        assert outcome.status == 0, launch.output()
    return run


def make_base(place: Path, cell: str) -> Path:
    """A directory for launches with this cell, and their text: 20,000 characters of words in a random order."""
    base = place / cell
    base.mkdir(parents=True)
    sentence = "we came to the river and found no boat there so they built one of reeds and went on"
    words, draw = sentence.split(), random.Random(5)
    (base / "text.txt").write_text(" ".join(draw.choice(words) for _ in range(6000))[:20_000])
    return base


def run_rounds(rounds: int, only: str, seed: int, base: Path) -> Iterator[Outcome]:
    """All cases whose name contains `only`, `rounds` times each."""
    chosen = [case for case in CASES if only.lower() in case.name.lower()]
    special = [(name, act) for name, act in SPECIAL.items() if only.lower() in name.lower()]
    references = {n: bits(undisturbed(base, n)) for n in (1, 2)}
    draw = random.Random(seed)
    for _ in range(rounds):
        for name, act in special:
            for processes in PROCESSES.get(name, (1, 2)):
                yield act(processes, base, references[processes], draw)
        for case in chosen:
            for processes in case.processes:
                yield try_case(case, processes, base, references[processes], draw)


def table(outcomes: list[Outcome]) -> str:
    """One row a case: what its rounds had in common, and the worst of what they had not."""
    rows = [
        "| what happened | processes | cell | rounds | exit status | seconds to the end | processes left | steps lost "
        "| same bits after resuming |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for case, processes, cell in dict.fromkeys((o.case, o.processes, o.cell) for o in outcomes):
        mine = [o for o in outcomes if (o.case, o.processes, o.cell) == (case, processes, cell)]
        statuses = ", ".join(str(s) for s in sorted({o.status for o in mine}))
        seconds = sorted(o.seconds for o in mine)
        middle, most = seconds[len(mine) // 2], seconds[-1]
        left, lost, same = max(o.left for o in mine), max(o.lost for o in mine), sum(o.same for o in mine)
        rows.append(
            f"| {case} | {processes} | {cell} | {len(mine)} | {statuses} | {middle:.1f}, at most {most:.1f} | {left} "
            f"| at most {lost} | {same} of {len(mine)} |"
        )
    return "\n".join(rows)


def main() -> int:
    """Run the rounds, print each outcome, write the table; status 1 where something was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--model.cell", dest="cell", choices=CELLS, default="tanh")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--outcomes", type=Path, help="file of JSON lines that this adds to; the table is of all of it")
    options = parser.parse_args()
    with ExitStack() as stack:
        base = make_base(Path(stack.enter_context(tempfile.TemporaryDirectory())), options.cell)
        file = stack.enter_context((options.outcomes or base / "outcomes.jsonl").open("a+"))
        for outcome in run_rounds(options.rounds, options.only, options.seed, base):
            outcome.cell = options.cell
            line = json.dumps(vars(outcome))
            print(line, flush=True)
            print(line, file=file, flush=True)
        file.seek(0)
        outcomes = [Outcome(**json.loads(line)) for line in file]
    print(table(outcomes))
    return 0 if all(outcome.same and not outcome.left for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
