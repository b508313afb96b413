"""charrnn.train in a real Jupyter kernel: progress as pages show it, the stop button, one line for an error."""

import queue
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from tests.conftest import TIMEOUT_SECONDS

Cell = Callable[..., list[dict[str, Any]]]
SETTINGS = "threads=1, evaluate_every=10**6, log={'wandb': 'disabled', 'sample_length': 9}"


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[KernelManager]:
    """A kernel as JupyterLab starts it, in an empty directory."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(tmp_path))
    yield manager
    manager.shutdown_kernel(now=True)
    manager.cleanup_resources()


@pytest.fixture
def cell(kernel: KernelManager) -> Iterator[Cell]:
    """`cell(code)` executes it, and returns what a page would show; `stop=text` presses stop once that is shown."""
    client: BlockingKernelClient = kernel.client()
    client.start_channels()
    client.wait_for_ready(timeout=TIMEOUT_SECONDS)

    def execute(code: str, stop: str = "") -> list[dict[str, Any]]:
        asked, shown, ends = client.execute(code), [], time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < ends:
            try:
                message = client.get_iopub_msg(timeout=1)
            except queue.Empty:
                continue
            kind, content = message["msg_type"], message["content"]
            if message["parent_header"].get("msg_id") != asked:
                continue
            if kind == "status" and content["execution_state"] == "idle":
                return shown
            if kind not in ("status", "execute_input"):
                shown.append({"kind": kind} | content)
            if stop and stop in str(content):
                stop = ""
                kernel.interrupt_kernel()
        raise TimeoutError(code)

    yield execute
    client.stop_channels()


def pages(shown: list[dict[str, Any]]) -> list[str]:
    """The HTML of what was displayed, in its order."""
    return [message["data"]["text/html"] for message in shown if "text/html" in message.get("data", {})]


def test_a_notebook_s_way(cell: Cell) -> None:
    # A mistake, and nothing else: no warnings of what the libraries miss.
    (error,) = cell("import charrnn\nrun = charrnn.train('alphabet', hidden=3)")
    assert error["traceback"] == ["ConfigError: hidden is no setting: did you mean model={'hidden_size': 3}?"]

    # The stop button, once there is a bar that moves; then the same call.
    endless = f"run = charrnn.train('alphabet', max_steps=10**6, epochs=10**6, {SETTINGS})"
    stopped = cell(endless, stop="steps/s, loss")
    assert stopped[-1]["traceback"] == [f"Interrupted: {stopped[-1]['evalue']}"]
    assert re.fullmatch(r"runs/alphabet-[\d-]+ has a checkpoint: the same call goes on", stopped[-1]["evalue"])
    said = "".join(message["text"] for message in stopped if message["kind"] == "stream")
    step = re.search(r"stopped by signal 2 at step (\d+); the same command continues\n", said)
    assert step
    bars = [page for page in pages(stopped) if page.startswith("<progress")]
    assert re.search(r'<progress value="\d+" max="1000000"></progress> <code>0% \d+/1000000 \[\d\d:\d\d', bars[-1])
    assert re.search(r"[\d.]+ steps/s, loss [\d.]+, [\d.]+ bpc, [\d.]+k characters/s\]</code>$", bars[-1])
    assert "".join(message["text"] for message in cell(endless, stop="steps/s, loss") if "text" in message).count(
        f"resumed at step {step[1]}"
    )

    # A run to its end: a bar that is full, then what a notebook shows of the run.
    done = cell(f"run = charrnn.train('alphabet', max_steps=20, {SETTINGS})\nrun")
    assert '<progress value="20" max="20">' in [page for page in pages(done) if page.startswith("<progress")][-1]
    assert done[-1]["kind"] == "execute_result"
    assert "<table>" in pages(done)[-1]
    assert {"image/png", "text/plain"} <= cell("run.plot()")[-1]["data"].keys()
    assert cell("f'{run}', len(run.generate('abc', 10))")[-1]["data"]["text/plain"].endswith(", 13)")


@pytest.mark.distributed
def test_several_devices_from_a_notebook(cell: Cell) -> None:
    """Also after a run in the kernel's own process. Only the first process speaks, and none sends bars to the page."""
    assert cell(f"import charrnn\nrun = charrnn.train('alphabet', max_steps=5, {SETTINGS})")
    shown = cell(
        "from accelerate import notebook_launcher\n"
        "def work():\n"
        f"    charrnn.train('alphabet', max_steps=20, run_dir='runs/two', {SETTINGS})\n"
        "notebook_launcher(work, num_processes=2)\n"
        "charrnn.Run('runs/two')"
    )
    said = "".join(message["text"] for message in shown if message["kind"] == "stream")
    assert said.count("2 processes on cpu") == 1
    assert "<table>" in pages(shown)[-1]
    assert not [page for page in pages(shown) if page.startswith("<progress")]


@pytest.mark.distributed
def test_several_devices_are_stopped_and_go_on(cell: Cell) -> None:
    """The stop button reaches each process twice, and the launcher's store lives on in the kernel."""
    endless = (
        "import charrnn\n"
        "from accelerate import notebook_launcher\n"
        "def work():\n"
        "    charrnn.train('alphabet', max_steps=10**6, epochs=10**6, evaluate_every=200, threads=1, run_dir='run',\n"
        "                  log={'wandb': 'disabled', 'sample_length': 0})\n"
        "notebook_launcher(work, num_processes=2)"
    )
    said = "".join(message.get("text", "") for message in cell(endless, stop="step 200/"))
    step = re.search(r"stopped by signal 2 at step (\d+); the same command continues\n", said)
    assert step, said
    step_after = f"step {-(-(int(step[1]) + 1) // 200) * 200:,}/"
    said = "".join(message.get("text", "") for message in cell(endless, stop=step_after))
    assert f"run       run, resumed at step {int(step[1]):,}\n" in said
    assert "stopped by signal 2 at step " in said
