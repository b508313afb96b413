"""CharRNN computes the equations of its docstring, whatever executes its recurrence."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charrnn.errors import ConfigError
from charrnn.model import CharRNN, ModelConfig
from charrnn.model.backends import BACKENDS
from charrnn.model.cells import CELLS, States

V, E, H, L, B, T = 11, 3, 7, 2, 4, 5
IN_FLOAT64 = sorted(
    name for name, entry in BACKENDS.items() if not entry.refusal(CELLS["tanh"], torch.device("cpu"), torch.float64)
)
CONFIG = ModelConfig(vocabulary_size=V, embedding_size=E, hidden_size=H, num_layers=L)


def build(config: ModelConfig = CONFIG, dtype: torch.dtype = torch.float64, seed: int = 0) -> CharRNN:
    torch.manual_seed(seed)
    model = CharRNN(config).to(dtype)
    for name, parameter in model.named_parameters():
        if name.startswith("b_"):
            nn.init.normal_(parameter)  # zero biases would hide a missing one
    return model


def example() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randint(V, (B, T)), torch.randn(L, B, H, dtype=torch.float64)


def by_the_equations(model: CharRNN, tokens: Tensor, state: Tensor) -> tuple[Tensor, States]:
    """The docstring's equations, one character and one product at a time."""
    states = list(state)
    logits = []
    for t in range(tokens.shape[1]):
        below = model.embedding.weight[tokens[:, t]]
        for layer in range(len(states)):
            W_e, b_e, W_h, b_h = (model.parameter(name, layer) for name in ("W_e", "b_e", "W_h", "b_h"))
            below = states[layer] = torch.tanh(below @ W_e.T + b_e + states[layer] @ W_h.T + b_h)
        logits.append(below @ model.fc.weight.T + model.fc.bias)
    return torch.stack(logits, 1), (torch.stack(states),)


@pytest.mark.parametrize("recurrence", IN_FLOAT64)
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_forward_and_gradients_follow_the_equations(recurrence: str, num_layers: int) -> None:
    model = build(replace(CONFIG, recurrence=recurrence, num_layers=num_layers))
    tokens, _ = example()
    state = torch.randn(num_layers, B, H, dtype=torch.float64, requires_grad=True)
    leaves = [*model.parameters(), state]
    ours, theirs = model(tokens, (state,)), by_the_equations(model, tokens, state)
    torch.testing.assert_close(ours, theirs)
    targets = torch.randint(V, (B * T,))
    gradients = [
        torch.autograd.grad(F.cross_entropy(logits.flatten(0, 1), targets) + final.sum(), leaves)
        for logits, (final,) in (ours, theirs)
    ]
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("recurrence", IN_FLOAT64)
def test_gradcheck_of_every_parameter_and_the_initial_state(recurrence: str) -> None:
    model = build(replace(CONFIG, recurrence=recurrence))
    tokens, state = example()
    names = [name for name, _ in model.named_parameters()]

    def run(state: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        logits, states = torch.func.functional_call(
            model, dict(zip(names, parameters, strict=True)), (tokens, (state,))
        )
        return logits, *states

    assert torch.autograd.gradcheck(run, (state.requires_grad_(), *model.parameters()))


@pytest.mark.parametrize("recurrence", IN_FLOAT64)
def test_equals_torch_rnn_with_ported_weights(recurrence: str) -> None:
    model = build(replace(CONFIG, recurrence=recurrence))
    peer = nn.RNN(E, H, num_layers=L, batch_first=True).double()
    for layer in range(L):
        for ours, theirs in {"W_e": "weight_ih", "W_h": "weight_hh", "b_e": "bias_ih", "b_h": "bias_hh"}.items():
            peer.get_parameter(f"{theirs}_l{layer}").data.copy_(model.parameter(ours, layer))
    tokens, state = example()
    outputs, peer_state = peer(model.embedding(tokens), state)
    logits, (next_state,) = model(tokens, (state,))
    torch.testing.assert_close(logits, model.fc(outputs))
    torch.testing.assert_close(next_state, peer_state)


def test_the_loss_is_that_of_the_logits_and_so_are_its_gradients() -> None:
    model = build()
    _, state = example()
    windows = torch.randint(V, (B, T + 1), dtype=torch.uint8)
    loss, sums, final = model.loss(windows, (state,), scale=0.25)
    logits, expected_final = model(windows[:, :-1], (state,))
    targets = windows[:, 1:].flatten().long()
    expected = F.cross_entropy(logits.flatten(0, 1), targets, reduction="sum")
    torch.testing.assert_close((loss * 4, sums[0], final), (expected, expected.detach(), expected_final))
    assert sums[1] == (logits.flatten(0, 1).argmax(1) == targets).sum()
    leaves = list(model.parameters())
    gradients = torch.autograd.grad(loss, leaves), torch.autograd.grad(expected / 4, leaves)
    torch.testing.assert_close(*gradients)


def test_the_notebook_s_parameter_names_and_shapes() -> None:
    model = build(replace(CONFIG, num_layers=1))
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    assert shapes == {
        "embedding.weight": (V, E),
        "W_e": (H, E),
        "b_e": (H,),
        "W_h": (H, H),
        "b_h": (H,),
        "fc.weight": (V, H),
        "fc.bias": (V,),
    }


def test_state_starts_at_zero_and_carries() -> None:
    model = build()
    tokens, _ = example()
    whole, final = model(tokens)
    first, state = model(tokens[:, :2])
    second, carried = model(tokens[:, 2:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    torch.testing.assert_close(carried, final)
    torch.testing.assert_close(whole, model(tokens, (torch.zeros(L, B, H, dtype=torch.float64),))[0])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int64])
def test_tokens_of_the_encoded_stream_s_types(dtype: torch.dtype) -> None:
    model = build()
    tokens, _ = example()
    torch.testing.assert_close(model(tokens.to(dtype))[0], model(tokens)[0])


def test_dropout_acts_while_training_only_and_never_on_the_recurrence() -> None:
    model = build(replace(CONFIG, num_layers=1, dropout=0.5))
    tokens, _ = example()
    dropped, state = model.train()(tokens)
    kept, same_state = model.eval()(tokens)
    assert not torch.equal(dropped, kept)
    torch.testing.assert_close(state, same_state)


def test_with_seeds_a_row_s_dropout_does_not_depend_on_the_rows_beside_it() -> None:
    model = build(replace(CONFIG, dropout=0.5)).train()
    tokens, state = example()
    seeds, before = [5, 2**64 - 1, 0, 6], torch.get_rng_state()
    whole, _ = model(tokens, (state,), seeds)
    for rows in ([0], [3, 1], [2, 0, 3]):
        torch.testing.assert_close(model(tokens[rows], (state[:, rows],), [seeds[row] for row in rows])[0], whole[rows])
    assert torch.equal(torch.get_rng_state(), before), "torch's own generator is not drawn from"
    assert not torch.isclose(model(tokens, (state,), [5, 4, 0, 6])[0], whole).all(2)[1].any()
    torch.testing.assert_close(model.eval()(tokens, (state,), seeds)[0], model(tokens, (state,))[0])


def test_dropout_with_seeds_keeps_the_mean() -> None:
    """The logits are the dropped outputs themselves here: 0, or 1 / (1 - p) of what they would be, at random."""
    p, T = 0.25, 500
    model = build(replace(CONFIG, vocabulary_size=H, num_layers=1, dropout=p))
    with torch.no_grad():
        model.fc.weight.copy_(torch.eye(H))
        model.fc.bias.zero_()
    tokens = torch.randint(H, (1, T)).expand(2, T)
    outputs, dropped = model.eval()(tokens)[0], model.train()(tokens, None, [3, 4])[0]
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], outputs[kept] / (1 - p))
    # 3,500 draws a row: four standard deviations are 0.031.
    for share in (kept[0], kept[1]):
        assert float(share.double().mean()) == pytest.approx(1 - p, abs=0.031)
    assert float((kept[0] == kept[1]).double().mean()) == pytest.approx(p**2 + (1 - p) ** 2, abs=0.034)


def test_initialisations() -> None:
    big = replace(CONFIG, hidden_size=200, num_layers=1)
    torch.manual_seed(0)
    W_h = CharRNN(big).W_h
    assert isinstance(W_h, Tensor)
    torch.testing.assert_close(W_h @ W_h.T, torch.eye(200), atol=1e-5, rtol=0)
    notebook = CharRNN(replace(big, initialisation="notebook"))
    # 40,000 draws: the sample's deviation is within 5 % of 0.01 but for one seed in 10^40.
    assert float(notebook.parameter("W_h", 0).detach().std()) == pytest.approx(0.01, rel=0.05)
    for model in (CharRNN(big), notebook):
        assert not torch.count_nonzero(model.parameter("b_e", 0))
        assert not torch.count_nonzero(model.parameter("b_h", 0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": 0}, "model.hidden_size is 0"),
        ({"num_layers": -1}, "model.num_layers is -1"),
        ({"dropout": 1.0}, "model.dropout is 1.0"),
        ({"vocabulary_size": 0}, "vocabulary_size is 0"),
    ],
)
def test_impossible_sizes_are_named(change: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(CONFIG, **change)


@pytest.mark.parametrize("size", [1, 2**20])
def test_the_least_and_the_most(size: int) -> None:
    ModelConfig(vocabulary_size=size, embedding_size=size, hidden_size=size, num_layers=size)
    with pytest.raises(ConfigError, match="it must be at most 1048576"):
        replace(CONFIG, hidden_size=2**20 + 1)


def test_the_sizes_that_nobody_chose_are_the_notebook_s() -> None:
    config = ModelConfig(vocabulary_size=V)
    assert (config.embedding_size, config.hidden_size, config.num_layers) == (30, 500, 1)
