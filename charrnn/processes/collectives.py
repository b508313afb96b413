"""What all processes of a launch do together: collectives, which all of them call, or those that do wait."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import nn

from charrnn.errors import CharRNNError

__all__ = [
    "broadcast_bytes_collective",
    "broadcast_parameters_collective",
    "made_on_main_collective",
    "on_all_collective",
    "on_main_collective",
]

T = TypeVar("T")
SIGN_OF_LIFE_SECONDS = 5.0


def on_main_collective(accelerator: Accelerator, decide: Callable[[], T]) -> T:
    """Run `decide` on the main process and return its JSON-able result on all, however long it takes.

    A CharRNNError there is raised on every process: none is left waiting. JSON, since torch's own object collectives
    unpickle what they receive.
    """
    if accelerator.num_processes == 1:
        return decide()
    outcome: dict[str, Any] = {}
    if accelerator.is_main_process:
        with _signs_of_life(accelerator):
            outcome = _outcome(decide)
    else:
        _wait_for_main(accelerator)
    result: T = _result(json.loads(broadcast_bytes_collective(accelerator, json.dumps(outcome).encode())))
    return result


def made_on_main_collective(accelerator: Accelerator, make: Callable[[], T]) -> T | None:
    """Run `make` on the main process, which gets what it made; the others get None. Errors as in `on_main_collective`.

    For what no other process needs, or JSON cannot say.
    """
    made: list[T] = []
    on_main_collective(accelerator, lambda: made.append(make()))
    return made[0] if made else None


def on_all_collective(accelerator: Accelerator, act: Callable[[], T]) -> T:
    """Run `act` on every process; a CharRNNError of one is raised on all."""
    if accelerator.num_processes == 1:
        return act()
    result: list[T] = []
    outcome = _outcome(lambda: result.append(act()))
    failed = accelerator.gather(torch.tensor(["error" in outcome], device=accelerator.device))
    if bool(failed.any()):
        first = int(failed.int().argmax())
        _result(json.loads(broadcast_bytes_collective(accelerator, json.dumps(outcome).encode(), first)))
    return result[0]


def broadcast_bytes_collective(accelerator: Accelerator, content: bytes, process: int = 0) -> bytes:
    """What the main process, or another one, has as `content`."""
    if accelerator.num_processes == 1:
        return content
    size = broadcast(torch.tensor([len(content)], device=accelerator.device), process)
    buffer = torch.zeros(int(size), dtype=torch.uint8, device=accelerator.device)
    if accelerator.process_index == process and content:
        buffer.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
    return bytes(broadcast(buffer, process).cpu().numpy())


def broadcast_parameters_collective(module: nn.Module) -> None:
    """Give `module` the main process's parameters on every process."""
    for parameter in module.parameters():
        parameter.data.copy_(broadcast(parameter.data))


@contextmanager
def _signs_of_life(accelerator: Accelerator) -> Iterator[None]:
    """Tell the others every few seconds that the main process is still at work: none gives up waiting for it."""
    done, problems = threading.Event(), list[RuntimeError]()

    def tell() -> None:
        try:
            while not done.wait(SIGN_OF_LIFE_SECONDS):
                broadcast(torch.zeros(1, device=accelerator.device))
            broadcast(torch.ones(1, device=accelerator.device))
        except RuntimeError as error:
            problems.append(error)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    if problems:
        raise problems[0]


def _wait_for_main(accelerator: Accelerator) -> None:
    while not broadcast(torch.zeros(1, device=accelerator.device)):
        pass


def _outcome(act: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"result": act()}
    except CharRNNError as error:
        return {"error": type(error).__name__, "message": str(error)}


def _result(outcome: dict[str, Any]) -> Any:
    if "error" in outcome:
        kinds = {kind.__name__: kind for kind in CharRNNError.__subclasses__()}
        raise kinds.get(outcome["error"], CharRNNError)(outcome["message"])
    return outcome["result"]
