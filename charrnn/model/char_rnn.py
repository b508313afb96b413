"""The character-level recurrent language model.

Dimensions, here and everywhere: B batch, T time, E embedding, H hidden, V vocabulary, L layers.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charrnn.model import backends
from charrnn.model.architecture import ModelConfig
from charrnn.model.backends import Choice, backend, choose
from charrnn.model.initialisation import initialise
from charrnn.model.loss import output_loss

__all__ = ["CharRNN"]


class CharRNN(nn.Module):
    """A stack of L tanh recurrences between an embedding and a linear layer.

    For layer 0, with x_t the character at time t:

        e_t = embedding[x_t]                                    # [B, E]
        h_t = tanh(e_t W_e^T + b_e + h_{t-1} W_h^T + b_h)       # [B, H]
        logits_t = fc(h_t)                                      # [B, V]

    Layer l > 0 has parameters W_e_l [H, H], b_e_l, W_h_l, b_h_l and reads the outputs of layer l-1; `fc` reads the top
    layer. While training, dropout acts on each layer's outputs, never inside the recurrence (Zaremba et al. 2014).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        H = config.hidden_size
        self.embedding = nn.Embedding(config.vocabulary_size, config.embedding_size)
        for layer in range(config.num_layers):
            input_size = config.embedding_size if layer == 0 else H
            for name, shape in {"W_e": (H, input_size), "b_e": (H,), "W_h": (H, H), "b_h": (H,)}.items():
                self.register_parameter(_name(name, layer), nn.Parameter(torch.empty(shape)))
        self.fc = nn.Linear(H, config.vocabulary_size)
        self._recurrence = backend(config.recurrence)
        initialise(self, config.initialisation)

    def forward(
        self, tokens: Tensor, state: Tensor | None = None, dropout_seeds: Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Read `tokens` and predict each next one.

        tokens: integers [B, T]; state: float [L, B, H], zero where None.
        dropout_seeds: B seeds, so that a row's dropout does not depend on the rows beside it; where None, dropout draws
        from torch's global generator.
        Returns logits [B, T, V] and the state after the last character [L, B, H].
        """
        outputs, state = self.outputs(tokens, state, dropout_seeds)
        logits: Tensor = self.fc(outputs)
        return logits.transpose(0, 1), state

    def loss(
        self,
        windows: Tensor,
        state: Tensor | None = None,
        dropout_seeds: Sequence[int] | None = None,
        *,
        scale: float = 1.0,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Read all but the last column of `windows`, integers [B, T + 1], and predict all but the first.

        Returns scale * (sum of the losses in nats) to be differentiated; that sum and the number of right guesses, [2];
        and the state after the last character read, [L, B, H].
        """
        outputs, state = self.outputs(windows[:, :-1], state, dropout_seeds)
        targets = windows[:, 1:].T.flatten().long()
        loss, sums = output_loss(
            outputs.flatten(0, 1),
            self.fc.weight,
            self.fc.bias,
            targets,
            scale=scale,
            run=backends.loss(self.config.recurrence, outputs),
        )
        return loss, sums, state

    def outputs(
        self, tokens: Tensor, state: Tensor | None = None, dropout_seeds: Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """What `fc` makes logits of: the top layer's outputs [T, B, H], and the state after the last character.

        Arguments as those of `forward`.
        """
        if state is None:
            state = self.initial_state(tokens.shape[0])
        # A lookup whose gradient is one index_add: F.embedding's took three times as long on a CPU.
        inputs = self.input_table().index_select(0, tokens.T.flatten().long()).view(*tokens.T.shape, -1)
        outputs, finals = inputs, []
        dropout = self._dropout(dropout_seeds)
        for layer in range(self.config.num_layers):
            if layer > 0:
                inputs = self._input_term(outputs, layer)
            hidden = self._recurrence(inputs, state[layer], self.parameter("W_h", layer))
            finals.append(hidden[-1])
            outputs = dropout(hidden)
        return outputs, torch.stack(finals)

    def initial_state(self, batch_size: int) -> Tensor:
        """The state before the first character: zeros [L, B, H]."""
        return self.fc.weight.new_zeros(self.config.num_layers, batch_size, self.config.hidden_size)

    def backend(self, dtype: torch.dtype) -> Choice:
        """The backend that executes the recurrence on this model's device in `dtype`.

        Raises ConfigError where the config names one that cannot.
        """
        return choose(self.config.recurrence, self.fc.weight.device, dtype)

    def _dropout(self, seeds: Sequence[int] | None) -> Callable[[Tensor], Tensor]:
        """Dropout of a layer's outputs [T, B, H]; with seeds, each row draws from a generator of its own."""
        rate = self.config.dropout
        if seeds is None or not rate or not self.training:
            return lambda hidden: F.dropout(hidden, rate, self.training)
        device = self.fc.weight.device
        generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

        def drop(hidden: Tensor) -> Tensor:
            T, B, H = hidden.shape
            kept = hidden.new_empty(B, T, H)
            for row, generator in zip(kept, generators, strict=True):
                row.bernoulli_(1 - rate, generator=generator)
            return hidden * kept.transpose(0, 1) / (1 - rate)

        return drop

    def parameter(self, name: str, layer: int) -> Tensor:
        """Parameter `name` (W_e, b_e, W_h or b_h) of `layer`; layer 0 has the bare names."""
        return self.get_parameter(_name(name, layer))

    def input_table(self) -> Tensor:
        """The input term of layer 0 for every character at once: embedding W_e^T + b_e + b_h, [V, H].

        One row a character instead of one product a position (V is far below B * T); the export keeps nothing else.
        """
        return self._input_term(self.embedding.weight, 0)

    def _input_term(self, values: Tensor, layer: int) -> Tensor:
        """values [..., input] -> [..., H], with both biases, which only ever occur as their sum."""
        return F.linear(
            values, self.parameter("W_e", layer), self.parameter("b_e", layer) + self.parameter("b_h", layer)
        )


def _name(name: str, layer: int) -> str:
    return name if layer == 0 else f"{name}_{layer}"
