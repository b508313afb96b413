"""How the weights of a CharRNN start.

`notebook`: W_e, W_h ~ N(0, 0.01^2), biases 0, embedding N(0, 1), `fc` uniform as torch.nn.Linear does.
`orthogonal` (default): the same but for W_h, for each gate a random orthogonal matrix (Saxe, McClelland & Ganguli
2013), which keeps the length of the state and of its gradient through time, and W_e scaled to keep the input term's
variance near 1.
An LSTM's forget gate starts half open, with a bias of 0 as the others. One that starts open, with a bias of 1 (Gers et
al. 2000; Jozefowicz et al. 2015), was behind.
What was measured is in docs/training.md.
"""

import torch
from torch import nn

from charrnn.model.cells import Cell

__all__ = ["initialise"]


@torch.no_grad()
def initialise(model: nn.Module, cell: Cell, scheme: str) -> None:
    """Fill the parameters of `model` whose names start with W_ or b_ from torch's global generator."""
    for name, parameter in model.named_parameters():
        if name.startswith("b_"):
            parameter.zero_()
        elif not name.startswith("W_"):
            continue
        elif scheme == "notebook":
            parameter.normal_(std=0.01)
        elif name.startswith("W_h"):
            for matrix in parameter.chunk(cell.gates):
                nn.init.orthogonal_(matrix)
        else:
            parameter.normal_(std=parameter.shape[1] ** -0.5)
