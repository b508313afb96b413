"""The character-level recurrent language model.

Dimensions, here and everywhere: B batch, T time, E embedding, H hidden, V vocabulary, L layers, G gates.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charrnn.model.architecture import ModelConfig
from charrnn.model.backends import BACKENDS, Backend, choose
from charrnn.model.cells import CELLS, States, stacked
from charrnn.model.dropout import by_bytes
from charrnn.model.initialisation import initialise
from charrnn.model.loss import output_loss

__all__ = ["CharRNN"]


class CharRNN(nn.Module):
    """A stack of L recurrent layers of one cell between an embedding and a linear layer.

    For layer 0, with t the place in the text, x_t the input term and s_t the states (h_t is the first of them):

        e_t = embedding[character at t]                         # [B, E]
        x_t = e_t W_e^T + b_e + b_h                             # [B, G*H]
        s_t = cell(x_t, h_{t-1} W_h^T, s_{t-1})                 # [B, H] each; tanh: h_t = tanh(x_t + h_{t-1} W_h^T)
        logits_t = fc(h_t)                                      # [B, V]

    Of gates whose bias belongs to the product, b_h is in h_{t-1} W_h^T + b_h instead. Layer l > 0 has parameters
    W_e_l [G*H, H], b_e_l, W_h_l, b_h_l and reads the outputs of layer l-1; `fc` reads the top layer. While training,
    dropout acts on each layer's outputs, never inside the recurrence (Zaremba et al. 2014).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.cell = CELLS[config.cell]
        self.measured = ""
        """The backend that a measurement found the fastest for this model; empty where there was none."""
        self.dropped = by_bytes
        """Dropout of rows that have seeds."""
        H, rows = config.hidden_size, self.cell.gates * config.hidden_size
        self.embedding = nn.Embedding(config.vocabulary_size, config.embedding_size)
        for layer in range(config.num_layers):
            input_size = config.embedding_size if layer == 0 else H
            for name, shape in {"W_e": (rows, input_size), "b_e": (rows,), "W_h": (rows, H), "b_h": (rows,)}.items():
                self.register_parameter(_name(name, layer), nn.Parameter(torch.empty(shape)))
        self.fc = nn.Linear(H, config.vocabulary_size)
        initialise(self, self.cell, config.initialisation)

    def forward(
        self, tokens: Tensor, states: States | None = None, dropout_seeds: Sequence[int] | None = None
    ) -> tuple[Tensor, States]:
        """Read `tokens` and predict each next one.

        tokens: integers [B, T]; states: of the cell's kinds, float [L, B, H] each, zero where None.
        dropout_seeds: B seeds, so that a row's dropout does not depend on the rows beside it; where None, dropout draws
        from torch's global generator.
        Returns logits [B, T, V] and the states after the last character, [L, B, H] each.
        """
        outputs, states = self.outputs(tokens, states, dropout_seeds)
        logits: Tensor = self.fc(outputs)
        return logits.transpose(0, 1), states

    def loss(
        self,
        windows: Tensor,
        states: States | None = None,
        dropout_seeds: Sequence[int] | None = None,
        *,
        scale: float = 1.0,
    ) -> tuple[Tensor, Tensor, States]:
        """Read all but the last column of `windows`, integers [B, T + 1], and predict all but the first.

        Returns scale * (sum of the losses in nats) to be differentiated; that sum and the number of right guesses, [2];
        and the states after the last character read, [L, B, H] each.
        """
        outputs, states = self.outputs(windows[:, :-1], states, dropout_seeds)
        targets = windows[:, 1:].T.flatten().long()
        loss, sums = output_loss(
            outputs.flatten(0, 1),
            self.fc.weight,
            self.fc.bias,
            targets,
            scale=scale,
            run=self._backend_here().loss,
        )
        return loss, sums, states

    def outputs(
        self, tokens: Tensor, states: States | None = None, dropout_seeds: Sequence[int] | None = None
    ) -> tuple[Tensor, States]:
        """What `fc` makes logits of: the top layer's outputs [T, B, H], and the states after the last character.

        Arguments as those of `forward`.
        """
        if states is None:
            states = self.initial_states(tokens.shape[0])
        backend = self._backend_here()
        dropout = self._dropout(dropout_seeds)
        before = list(zip(*states, strict=True))  # by layer
        hidden, after = backend.run_bottom_layer(
            self.cell, tokens.T.long(), self.embedding.weight, before[0], *self._parameters_of(0)
        )
        all_after, outputs = [after], dropout(hidden)
        for layer in range(1, self.config.num_layers):
            hidden, after = backend.run_layer(self.cell, outputs, before[layer], *self._parameters_of(layer))
            all_after.append(after)
            outputs = dropout(hidden)
        return outputs, stacked(all_after)

    def initial_states(self, batch_size: int) -> States:
        """The states before the first character: zeros [L, B, H]."""
        zeros = self.fc.weight.new_zeros(self.config.num_layers, batch_size, self.config.hidden_size)
        return (zeros,) * len(self.cell.states)

    def backend(self, dtype: torch.dtype) -> str:
        """The backend that executes the recurrence on this model's device in `dtype`.

        Raises ConfigError where the config names one that cannot.
        """
        return choose(self.config.recurrence, self.cell, self.fc.weight.device, dtype, self.measured)

    def _backend_here(self) -> Backend:
        """What executes the recurrence here and now: in autocast's dtype, where that is on."""
        weight = self.fc.weight
        kind = weight.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
        return BACKENDS[self.backend(dtype)]

    def _dropout(self, seeds: Sequence[int] | None) -> Callable[[Tensor], Tensor]:
        """Dropout of a layer's outputs [T, B, H]; with seeds, each row draws from a generator of its own."""
        rate = self.config.dropout
        if seeds is None or not rate or not self.training:
            return lambda hidden: F.dropout(hidden, rate, self.training)
        generators = [torch.Generator(self.fc.weight.device).manual_seed(seed) for seed in seeds]
        return lambda hidden: self.dropped(hidden, rate, generators)

    def parameter(self, name: str, layer: int) -> Tensor:
        """Parameter `name` (W_e, b_e, W_h or b_h) of `layer`; layer 0 has the bare names."""
        return self.get_parameter(_name(name, layer))

    def input_table(self) -> Tensor:
        """The input terms of layer 0 for every character, [V, G*H]: all that the export keeps of the embedding."""
        W_e, b_e, _, b_h = self._parameters_of(0)
        return self.cell.input_terms(self.embedding.weight, W_e, b_e, b_h)

    def _parameters_of(self, layer: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """W_e, b_e, W_h, b_h."""
        W_e, b_e, W_h, b_h = (self.parameter(name, layer) for name in ("W_e", "b_e", "W_h", "b_h"))
        return W_e, b_e, W_h, b_h


def _name(name: str, layer: int) -> str:
    return name if layer == 0 else f"{name}_{layer}"
