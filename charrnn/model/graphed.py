"""The recurrence of `fused` on a GPU, its loops over time replayed as CUDA graphs.

A time step is two small kernels, and Python launches them more slowly than the GPU runs them. A graph is a whole loop
over time, recorded once for each shape and launched as one. It reads and writes memory of its own: what goes in is
copied to it, what comes out from it, which is little beside T products.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from charrnn.model.fused import LOOPS, Loops, tanh_by

__all__ = ["graphed"]

_MOST_GRAPHS = 16
"""Of one loop. The one that was longest unused goes first, and its memory with it."""


class _Graph:
    """`loop`, recorded for arguments like `arguments`."""

    def __init__(self, loop: Callable[..., None], arguments: tuple[Tensor, ...]) -> None:
        self.arguments = [torch.empty_like(argument) for argument in arguments]
        self._graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            loop(*self.arguments)  # what libraries set up at their first use cannot be recorded
        torch.cuda.current_stream().wait_stream(stream)
        # Another thread may use the GPU meanwhile: DDP's does.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            loop(*self.arguments)

    def replay(self) -> None:
        """Run the loop on `arguments` as they are now."""
        self._graph.replay()


def _recorded(loop: Callable[..., None], written: int) -> Callable[..., None]:
    """`loop` by way of its graph for the shapes of its arguments, of which it writes the one at index `written`."""
    graphs: dict[tuple[object, ...], _Graph] = {}

    def run(*arguments: Tensor) -> None:
        key = tuple((argument.shape, argument.dtype, argument.device) for argument in arguments)
        graph = graphs.pop(key, None) or _Graph(loop, arguments)
        graphs[key] = graph  # as the newest
        if len(graphs) > _MOST_GRAPHS:
            del graphs[next(iter(graphs))]
        torch._foreach_copy_(graph.arguments, arguments)
        graph.replay()
        arguments[written].copy_(graph.arguments[written])

    return run


graphed = tanh_by(Loops(_recorded(LOOPS.forward, written=1), _recorded(LOOPS.backward, written=1)))
"""The recurrence on a CUDA device; the same function as `charrnn.model.recurrence.reference`. Differentiable once."""
