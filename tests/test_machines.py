"""Two and three machines train the model that one trains, and end when a cable is pulled."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.machines import (
    PULLED_LIMIT_SECONDS,
    TOLERANCE,
    Machine,
    equal_losses,
    kill_and_restart,
    network,
    pull_a_cable,
    unavailable,
)

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.skipif(bool(reason := unavailable()), reason=reason),
]

SERVER = """
import socket, sys
listener = socket.create_server(("", 7000))
print("ready", flush=True)
peer = listener.accept()[0]
while data := peer.recv(1 << 16):
    peer.sendall(b"." * data.count(b"!"))
"""
CLIENT = """
import socket, sys, time
peer = socket.create_connection((sys.argv[1], 7000), timeout=2)
begin = time.monotonic()
peer.sendall(b" " * int(sys.argv[2]) + b"!")
peer.recv(1)
print(time.monotonic() - begin)
"""


def send(to: Machine, by: Machine, number_of_bytes: int) -> float:
    """Seconds until `to` has all bytes and its answer has come back."""
    with subprocess.Popen([*to.prefix, sys.executable, "-c", SERVER], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        server.stdout.readline()
        words = [*by.prefix, sys.executable, "-c", CLIENT, to.address, str(number_of_bytes)]
        client = subprocess.run(words, capture_output=True, text=True, check=False)
        server.kill()
    if client.returncode:
        raise ConnectionError(client.stderr)
    return float(client.stdout)


def test_the_network_is_what_it_says() -> None:
    with network(3, rate_mbit=8) as (first, second, third):
        assert send(second, first, 1) < 0.3
        assert 0.45 < send(third, second, 500_000) < 1, "half a second's worth"
        third.pull_cable()
        assert send(second, first, 1) < 0.3
        with pytest.raises(ConnectionError):
            send(third, second, 1)
    with network(2, delay_ms=50) as (first, second):
        assert 0.1 <= send(second, first, 1) < 0.4, "there and back"
        # What still runs at the end is killed.
        sleeper = subprocess.Popen([*first.prefix, "sleep", "60"])
        while not first.processes():
            time.sleep(0.01)
    assert sleeper.wait(timeout=5) == -9


@pytest.mark.slow
@pytest.mark.parametrize("machines", [2, 3])
def test_several_machines_train_the_model_that_one_trains(machines: int, tmp_path: Path) -> None:
    assert equal_losses(machines, tmp_path) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("machines", [2, 3])
def test_a_pulled_cable_ends_all_and_the_others_go_on(machines: int, tmp_path: Path) -> None:
    pulled = pull_a_cable(machines, tmp_path)
    assert pulled.seconds < PULLED_LIMIT_SECONDS
    assert pulled.left == 0
    assert all(pulled.statuses)
    assert pulled.difference < TOLERANCE


@pytest.mark.slow
def test_killed_ranks_are_started_again_on_all_machines(tmp_path: Path) -> None:
    """`--max_restarts`: the processes of all machines begin anew together, from the last checkpoint."""
    assert kill_and_restart(2, tmp_path) < TOLERANCE
