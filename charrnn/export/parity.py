"""Does a file compute what torch computes? Asked of every file before it takes its name."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import Tensor

__all__ = ["PARITY_TOLERANCE", "QUANTISED_TOLERANCE", "Step", "one_thread", "parity"]

Step: TypeAlias = Callable[..., tuple[Tensor, ...]]
"""token int64 [batch], the states [L, batch, H] -> logits [batch, V], the next states, in torch."""

PARITY_TOLERANCE = 1e-5
"""Largest difference of a logit or state between torch and a file whose products are float32.

Where logits are above 1 they are compared in units of the largest: float32 knows a logit of 30,000 to within 0.002.
"""
QUANTISED_TOLERANCE = 0.05
"""The same for products of quantised matrices, torch having the weights that the file stands for.

int8: what is left is that a state halfway between two steps may be rounded to either. int4: that states are rounded to
8 bits, which torch does not do. Trained models of one layer and H = 128 to 500 differ by at most 0.0005 and 0.016,
random ones of four layers by 0.02; codes or scales in a wrong order, by 0.1 and more.
"""
_STEPS = 64
_MOST_ROWS = 64
"""Rows that read the vocabulary: of 4,000 characters, one at a time, the check took minutes."""


def parity(serialised: bytes, step: Step, text: npt.NDArray[np.integer[Any]] | None = None) -> float:
    """The largest difference of any logit or state, over steps that both sides start from torch's state.

    The rows read `text` (ids [T], where there is one), random characters, and every character of the vocabulary once.
    Logits count in units of the largest of their step, where that is above 1. The two do not each carry a state of
    their own: a trained recurrence drives apart what differs by a rounding.
    """
    with one_thread():
        return _parity(_session(serialised), step, text)


def _parity(session: onnxruntime.InferenceSession, step: Step, text: npt.NDArray[np.integer[Any]] | None) -> float:
    sizes, V = _sizes(session)
    tokens = _tokens(V, text)
    states = [torch.zeros(L, tokens.shape[1], H) for L, H in sizes.values()]
    names = ["logits", *(f"next_{name}" for name in sizes)]
    worst = 0.0
    for token in tokens:
        before = {name: state.numpy() for name, state in zip(sizes, states, strict=True)}
        logits, *after = session.run(names, {"token": token, **before})
        with torch.inference_mode():
            expected, *states = step(torch.from_numpy(token), *states)
        unit = max(1.0, float(expected.abs().max()))
        differences = [np.abs(logits - expected.numpy()).max() / unit]
        differences += [np.abs(ours - theirs.numpy()).max() for ours, theirs in zip(after, states, strict=True)]
        worst = max(worst, *map(float, differences)) if np.isfinite(differences).all() else float("inf")
    return worst


def _sizes(session: onnxruntime.InferenceSession) -> tuple[dict[str, tuple[int, int]], int]:
    """(L, H) of each state by name, and V, as the file declares them."""
    states = {node.name: (node.shape[0], node.shape[2]) for node in session.get_inputs() if node.name != "token"}
    (logits,) = (node.shape for node in session.get_outputs() if node.name == "logits")
    return states, logits[1]


def _tokens(V: int, text: npt.NDArray[np.integer[Any]] | None) -> npt.NDArray[np.int64]:
    """What `parity` reads: ids [steps, rows]."""
    steps = max(_STEPS, -(-V // _MOST_ROWS))
    vocabulary = np.resize(np.arange(V), (-(-V // steps), steps)).T  # from its beginning again where it ends
    tokens = np.concatenate([np.random.default_rng(0).integers(0, V, (steps, 2)), vocabulary], axis=1)
    if text is not None:
        tokens[: len(text), 0] = text[:steps]
    return tokens


def _session(serialised: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(serialised, options, providers=["CPUExecutionProvider"])


@contextmanager
def one_thread() -> Iterator[None]:
    """A step is small: torch's threads and onnxruntime's would spin, waiting, and take the cores from each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
