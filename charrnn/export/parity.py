"""Does a file compute what torch computes? Asked of every file before it takes its name."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import Tensor

__all__ = ["PARITY_TOLERANCE", "QUANTISED_TOLERANCE", "Step", "parity"]

Step: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""token int64 [batch], state [L, batch, H] -> logits [batch, V], next state, in torch."""

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
_BATCH = 3


def parity(serialised: bytes, step: Step, text: npt.NDArray[np.integer[Any]] | None = None) -> float:
    """The largest difference of any logit or state, over steps that both sides start from torch's state.

    The rows read `text` (ids [T], where there is one), every character of the vocabulary once, and random characters.
    Logits count in units of the largest of their step, where that is above 1. The two do not each carry a state of
    their own: a trained recurrence drives apart what differs by a rounding.
    """
    session = onnxruntime.InferenceSession(serialised, providers=["CPUExecutionProvider"])
    (L, H), V = _sizes(session)
    state = torch.zeros(L, _BATCH, H)
    worst = 0.0
    for token in _tokens(V, text):
        logits, next_state = session.run(["logits", "next_state"], {"token": token, "state": state.numpy()})
        with torch.inference_mode():
            expected, state = step(torch.from_numpy(token), state)
        unit = max(1.0, float(expected.abs().max()))
        differences = (
            np.abs(logits - expected.numpy()).max() / unit,
            np.abs(next_state - state.numpy()).max(),
        )
        worst = max(worst, *map(float, differences)) if np.isfinite(differences).all() else float("inf")
    return worst


def _sizes(session: onnxruntime.InferenceSession) -> tuple[tuple[int, int], int]:
    """(L, H), V as the file declares them."""
    (state,) = (node.shape for node in session.get_inputs() if node.name == "state")
    (logits,) = (node.shape for node in session.get_outputs() if node.name == "logits")
    return (state[0], state[2]), logits[1]


def _tokens(V: int, text: npt.NDArray[np.integer[Any]] | None) -> npt.NDArray[np.int64]:
    """What `parity` reads: ids [steps, _BATCH]."""
    tokens = np.random.default_rng(0).integers(0, V, (max(_STEPS, V), _BATCH))
    tokens[:V, 0] = np.arange(V)
    if text is not None:
        tokens[: len(text), 1] = text[: len(tokens)]
    return tokens
