"""Several machines on one: Linux network namespaces joined by virtual cables to a switch, one launcher in each.

    python tests/machines.py --machines 3                     # equal losses; a cable pulled, ranks killed
    python tests/machines.py --rates 20 100 --delay-ms 10     # seconds a step over slow links

Needs Linux with `ip` and `tc`, and root, which everybody is inside  unshare -rmn sh -c 'mount -t tmpfs none /run; sh'
where user namespaces are allowed. Nothing outside the namespaces is touched, and they are gone when it ends.
"""

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
FORWARD = Path(__file__).with_name("delay_line.py")
STEPS = 50
# Uneven on two machines (3 + 4 rows) and on three (2 + 2 + 3).
FLAGS = (
    f"--max-steps {STEPS} --evaluate-every 25 --checkpoint-every 10 --log.every 1 --log.sample-length 20 "
    "--log.wandb disabled --threads 1 --batch.size 7 --batch.length 20 --model.hidden-size 24 --model.num-layers 2 "
    "--optimiser.warmup-steps 5 --text.validation-fraction 0.2 --text.test-fraction 0.1 --process-timeout 10"
).split()
SENTENCE = "we came to the river and found no boat there so they built one of reeds and went on"
WORDS = SENTENCE.split()
LIMIT_SECONDS = 180
"""For one launch; the longest takes a quarter of it."""
PULLED_LIMIT_SECONDS = 30
"""From the pulled cable to the end of every process: --process-timeout, here 10, and the launchers' own end."""
TOLERANCE = 1e-5
"""What the project promises over 50 steps; gradients are summed in another order, which is 1e-7 a step."""


@dataclass(frozen=True)
class Machine:
    """One of the machines of a `network`."""

    name: str
    address: str
    """Its IPv4 address; the name of its network interface is eth0."""
    switch: str

    @property
    def prefix(self) -> list[str]:
        """What comes before a command that is to run on this machine.

        All machines have the host's name, which is 127.0.0.1 to it: gloo must be told the interface.
        """
        return ["ip", "netns", "exec", self.name, "env", "GLOO_SOCKET_IFNAME=eth0"]

    def pull_cable(self) -> None:
        """Cut the machine off, as at the switch: its interface has no carrier, nobody is told."""
        _ip("-n", self.switch, "link", "set", _port(self), "down")

    def processes(self) -> list[int]:
        """The ids of all processes on this machine."""
        return [int(word) for word in _ip("netns", "pids", self.name).split()]


def unavailable() -> str:
    """Why there can be no `network` here; empty where there can."""
    try:
        with network(1, rate_mbit=1):
            pass
    except FileNotFoundError as error:
        return f"install: network namespaces need the command {error.filename} (iproute2)"
    except subprocess.CalledProcessError as error:
        return f"not here: network namespaces are not allowed here ({error.stderr.strip()})"
    return ""


@contextmanager
def network(machines: int, *, rate_mbit: float = 0, delay_ms: float = 0) -> Iterator[list[Machine]]:
    """Machines in one Ethernet; each sends at most `rate_mbit` Mbit/s and is heard `delay_ms` later (0: as may be).

    At the end all that still runs on them is killed.
    """
    switch = f"charrnn-{os.getpid()}-switch"
    names = [f"charrnn-{os.getpid()}-{index}" for index in range(machines)]
    made = [Machine(name, f"10.77.0.{index + 1}", switch) for index, name in enumerate(names)]
    with ExitStack() as stack:
        for name in (switch, *names):
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "del", name)
            _ip("-n", name, "link", "set", "lo", "up")
        for machine in made:
            stack.callback(_kill_all, machine)
            _plug_in(machine, rate_mbit)
        if delay_ms:
            stack.enter_context(_delay_line(switch, [_port(machine) for machine in made], delay_ms))
        else:
            _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
            _ip("-n", switch, "link", "set", "bridge", "up")
            for machine in made:
                _ip("-n", switch, "link", "set", _port(machine), "master", "bridge")
        yield made


class Run:
    """A run directory, and the text that is learned there; all machines see them, as they would a shared disk."""

    def __init__(self, base: Path, name: str) -> None:
        self.path, self.text = base / name, base / "words.txt"
        if not self.text.exists():
            draw = random.Random(5)
            self.text.write_text(" ".join(draw.choice(WORDS) for _ in range(6000))[:20_000])

    def start(self, machines: Sequence[Machine], *flags: str, max_restarts: int = 0) -> list[subprocess.Popen[bytes]]:
        """The launchers, one on each machine: the command that launch/README.md gives."""
        several = ["--num_machines", len(machines), "--num_processes", len(machines), "--max_restarts", max_restarts]
        several += ["--main_process_ip", machines[0].address, "--main_process_port", 29500]
        launchers = []
        for rank, machine in enumerate(machines):
            launcher = [Path(sys.executable).with_name("accelerate"), "launch"]
            launcher += ["--config_file", "launch/several_machines.yaml", *several, "--machine_rank", rank]
            words = [*machine.prefix, *launcher, "train.py", self.text, *FLAGS, *flags, "--run-dir", self.path]
            with self.log(machine).open("ab") as log:
                launchers.append(subprocess.Popen([str(word) for word in words], cwd=ROOT, stdout=log, stderr=log))
        return launchers

    def train(self, machines: Sequence[Machine], *flags: str) -> "Run":
        """Train to the end; raises where a launcher ends with another status than 0, or leaves a process."""
        statuses = ended(self.start(machines, *flags))
        left = [process for machine in machines for process in machine.processes()]
        if any(statuses) or left:
            raise RuntimeError(f"{statuses}, {len(left)} processes left:\n{self.log(machines[0]).read_text()[-4000:]}")
        return self

    def log(self, machine: Machine) -> Path:
        """What the launcher on `machine` and its workers say."""
        return self.path.with_name(f"{self.path.name}-{machine.address}.log")

    def records(self) -> list[dict[str, float]]:
        """The whole lines of metrics.jsonl; none before there is one."""
        file = self.path / "metrics.jsonl"
        lines = file.read_text().splitlines(keepends=True) if file.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def difference(self, reference: "Run") -> float:
        """The largest difference of a loss or gradient norm, in nats, at any step of either run."""
        pairs = list(zip(self.records(), reference.records(), strict=True))
        assert [mine["step"] for mine, _ in pairs] == [other["step"] for _, other in pairs]
        names = ("_loss_nats", "gradient_norm")
        return max(abs(mine[n] - other[n]) for mine, other in pairs for n in other if n.endswith(names))

    def seconds_per_step(self) -> float:
        """The median over the records but the first, which pays for the beginning."""
        records = [record for record in self.records() if "characters_per_second" in record]
        characters = records[0]["characters_seen"] / records[0]["step"]
        return statistics.median(characters / record["characters_per_second"] for record in records[1:])


@dataclass(frozen=True)
class Pulled:
    """What a pulled cable did to a run."""

    step: int
    """The last that was recorded before."""
    seconds: float
    """From the pull to the end of the last launcher."""
    statuses: list[int]
    """Of the launchers."""
    left: int
    """Processes that had not ended with the launchers."""
    difference: float
    """Of the run that the other machines then finished, to one that was left alone."""

    @property
    def good(self) -> bool:
        """Whether all ended in time, with a failure, and nothing was lost."""
        in_time = self.seconds < PULLED_LIMIT_SECONDS and not self.left
        return in_time and all(self.statuses) and self.difference < TOLERANCE

    def __str__(self) -> str:
        return (
            f"cable of one pulled after step {self.step}: all ended {self.seconds:.1f} s later, with the statuses "
            f"{self.statuses}, {self.left} processes left; resumed on the others: losses within {self.difference:.1e}"
        )


def pull_a_cable(machines: int, base: Path) -> Pulled:
    """Pull the last machine's cable while all train, then start the same command on the others."""
    with network(1) as one:
        reference = Run(base, "left-alone").train(one)
    # A slow link, so that there is a middle of the run.
    with network(machines, rate_mbit=1) as cluster:
        run = Run(base, f"pulled-{machines}")
        launchers = run.start(cluster)
        wait_until(lambda: len(run.records()) > STEPS // 2)
        cluster[-1].pull_cable()
        step, begin = run.records()[-1]["step"], time.monotonic()
        statuses = ended(launchers)
        seconds = time.monotonic() - begin
        left = sum(len(machine.processes()) for machine in cluster)
        run.train(cluster[:-1])
    return Pulled(int(step), seconds, statuses, left, run.difference(reference))


def kill_and_restart(machines: int, base: Path) -> float:
    """Kill a rank on the last machine, later one on the first: the launchers start all again, twice.

    Returns the largest difference between the losses and those of one machine that was left alone.
    """
    with network(1) as one:
        reference = Run(base, "left-alone").train(one)
    with network(machines, rate_mbit=1) as cluster:
        run = Run(base, f"restarted-{machines}")
        launchers = run.start(cluster, max_restarts=2)
        for machine, step in ((cluster[-1], STEPS // 3), (cluster[0], STEPS * 2 // 3)):
            wait_until(lambda step=step: any(record["step"] >= step for record in run.records()))
            os.kill(_worker(machine), signal.SIGKILL)
        statuses = ended(launchers)
        if any(statuses):
            raise RuntimeError(f"{statuses}:\n{run.log(cluster[0]).read_text()[-4000:]}")
        assert run.log(cluster[0]).read_text().count("resumed at step") == 2
    return run.difference(reference)


def equal_losses(machines: int, base: Path) -> float:
    """The largest difference between the losses of `machines` machines and of one."""
    with network(machines) as cluster:
        one = Run(base, "one").train(cluster[:1])
        return Run(base, f"all-{machines}").train(cluster).difference(one)


def ended(launchers: Sequence[subprocess.Popen[bytes]]) -> list[int]:
    """The exit statuses, once all have ended."""
    wait_until(lambda: all(launcher.poll() is not None for launcher in launchers))
    return [launcher.wait() for launcher in launchers]


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait; raises TimeoutError after LIMIT_SECONDS."""
    end = time.monotonic() + LIMIT_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not in {LIMIT_SECONDS} seconds")
        time.sleep(0.05)


def _plug_in(machine: Machine, rate_mbit: float) -> None:
    cable = ["type", "veth", "peer", "name", "eth0", "netns", machine.name]
    _ip("-n", machine.switch, "link", "add", _port(machine), *cable)
    _ip("-n", machine.switch, "link", "set", _port(machine), "up")
    _ip("-n", machine.name, "addr", "add", f"{machine.address}/24", "dev", "eth0")
    _ip("-n", machine.name, "link", "set", "eth0", "up")
    if rate_mbit:
        # What may pass at once is a millisecond's worth, or two packets; what waits may be much: nothing is dropped.
        burst = max(3200, int(rate_mbit * 125))
        shape = f"rate {int(rate_mbit * 1000)}kbit burst {burst} limit {8_000_000}".split()
        _call("tc", "-n", machine.name, "qdisc", "add", "dev", "eth0", "root", "tbf", *shape)


@contextmanager
def _delay_line(switch: str, ports: Sequence[str], delay_ms: float) -> Iterator[None]:
    words = ["ip", "netns", "exec", switch, sys.executable, str(FORWARD), str(delay_ms), *ports]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", "the delay line did not start"
            yield
        finally:
            process.kill()


def _worker(machine: Machine) -> int:
    """The training process on this machine: the child of the launcher there."""
    parents = {process: psutil.Process(process).ppid() for process in machine.processes()}
    (worker,) = (process for process, parent in parents.items() if parent in parents)
    return worker


def _port(machine: Machine) -> str:
    return f"port{machine.address.rpartition('.')[2]}"


def _kill_all(machine: Machine) -> None:
    for process in machine.processes():
        with suppress(ProcessLookupError):
            os.kill(process, 9)


def _ip(*words: str) -> str:
    return _call("ip", *words)


def _call(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def main() -> int:
    """Print the table; the status is 1 where something is not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=int, default=2)
    parser.add_argument("--rates", type=float, nargs="*", help="Mbit/s that a machine can send: measure these alone")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="with --rates: delay of the links, each way")
    options, flags = parser.parse_known_args()
    if reason := unavailable():
        print(f"skipped: {reason}")
        return 0
    good = True
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        for rate in options.rates or []:
            with network(options.machines, rate_mbit=rate, delay_ms=options.delay_ms) as cluster:
                run = Run(base, f"rate-{rate}").train(cluster, *flags)
            seconds = run.seconds_per_step()
            print(f"{options.machines} machines, {rate:g} Mbit/s, {options.delay_ms:g} ms: {seconds:.4f} s a step")
        if options.rates is None:
            difference = equal_losses(options.machines, base)
            print(f"{options.machines} machines, {STEPS} steps: losses within {difference:.1e} of one machine's")
            pulled = pull_a_cable(options.machines, base)
            print(f"{options.machines} machines, {pulled}")
            restarted = kill_and_restart(options.machines, base)
            print(
                f"{options.machines} machines, a rank killed on two of them, --max_restarts 2: within {restarted:.1e}"
            )
            good = max(difference, restarted) < TOLERANCE and pulled.good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
