"""model.onnx is export/README.md's contract, computes what torch computes, and is whole or absent."""

import getpass
import json
import platform
import re
import resource
import signal
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import charrnn.export.file as file_module
from charrnn import OnnxModel, generate
from charrnn.errors import ConfigError, RunError
from charrnn.export import (
    OPSET,
    OPSETS,
    PARITY_TOLERANCE,
    QUANTISED_TOLERANCE,
    SingleStep,
    Weights,
    export_onnx,
    parity,
)
from charrnn.export.graph import trace
from charrnn.export.parity import _tokens
from charrnn.export.weights import STATE_STEPS, Arrays, store
from charrnn.model import CharRNN, ModelConfig
from charrnn.runtime.metadata import ModelMetadata
from charrnn.text.normaliser import Normaliser
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.sample_writer import write_sample

GOLDEN = Path(__file__).parent / "golden" / "onnx-metadata.json"
E, H = 5, 13
NORMALISER = Normaliser.named("notebook-spaced")
TRAINING = {"corpus": "none", "step": 60, "test_loss_nats": 1.5, "validation_loss_nats": None}


def vocabulary_of(V: int) -> Vocabulary:
    """V characters: a newline, then letters and on into what has more than one byte in UTF-8."""
    return Vocabulary("\n" + "".join(map(chr, range(ord("a"), ord("a") + V - 1))))


def model_of(V: int = 11, L: int = 1, seed: int = 0) -> CharRNN:
    torch.manual_seed(seed)
    model = CharRNN(
        ModelConfig(vocabulary_size=V, embedding_size=E, hidden_size=H, num_layers=L, dropout=0.4, recurrence="fused")
    )
    for name, parameter in model.named_parameters():
        if name.startswith("b_"):
            torch.nn.init.normal_(parameter, std=0.3)  # zero biases would hide a missing one
    return model


def export(model: CharRNN, path: Path, *, weights: Weights = "float32", opset: int = OPSET) -> float:
    vocabulary = vocabulary_of(model.config.vocabulary_size)
    return export_onnx(
        model,
        path,
        vocabulary=vocabulary,
        normaliser=NORMALISER,
        training=TRAINING,
        weights=weights,
        opset=opset,
    )


Made = Callable[[int, Weights], tuple[CharRNN, Path]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """`made(L, weights)`: model_of(L=L) and its file, exported once. To be read, never written to."""

    @cache
    def make(L: int, weights: Weights) -> tuple[CharRNN, Path]:
        model, path = model_of(L=L), tmp_path_factory.mktemp("exported") / "model.onnx"
        whole = weights in ("float32", "float16")
        assert export(model, path, weights=weights) <= (PARITY_TOLERANCE if whole else QUANTISED_TOLERANCE)
        return model, path

    return make


@pytest.fixture
def exported(made: Made) -> tuple[CharRNN, Path]:
    return made(1, "float32")


# The same function


@pytest.mark.parametrize(("V", "L"), [(1, 1), (11, 1), (57, 2), (300, 3)])
def test_every_batch_size_and_layer_equals_torch(tmp_path: Path, V: int, L: int) -> None:
    model, path = model_of(V, L).train(), tmp_path / "model.onnx"
    assert export(model, path) <= PARITY_TOLERANCE
    assert model.training, "the model is left as it was"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    model.eval()
    for batch in (1, 2, 7):
        state = torch.randn(L, batch, H).clamp(-1, 1)
        for token in torch.randint(V, (9, batch)):
            logits, next_state = session.run(
                ["logits", "next_state"], {"token": token.numpy(), "state": state.numpy()}
            )  # fmt: skip
            with torch.no_grad():
                expected, (expected_state,) = model(token[:, None], (state,))
            # One step of float32 from the same state: a few units of 1e-7, logits being about 1.
            np.testing.assert_allclose(logits, expected[:, 0].numpy(), atol=2e-6, rtol=0)
            np.testing.assert_allclose(next_state, expected_state.numpy(), atol=2e-6, rtol=0)
            state = expected_state
    rows = session.run(["logits"], {"token": np.arange(V), "state": np.zeros((L, V, H), np.float32)})[0]
    with torch.no_grad():
        np.testing.assert_allclose(rows, model(torch.arange(V)[:, None])[0][:, 0].numpy(), atol=2e-6, rtol=0)


def test_the_greedy_text_is_the_same_in_torch_and_in_the_file(exported: tuple[CharRNN, Path]) -> None:
    model, path = exported
    text = write_sample(model, vocabulary_of(11), "abc", length=200, temperature=0.0, seed=0)
    assert generate(path, "abc", 200, temperature=0.0) == text
    assert len(set(text)) > 3, "and not one letter for ever"


def test_a_seed_gives_the_same_text_in_torch_and_in_the_file(exported: tuple[CharRNN, Path]) -> None:
    """The same sampler draws for both; 200 draws that fall within 1e-6 of a border would be a wonder."""
    model, path = exported
    text = write_sample(model.train(), vocabulary_of(11), "", length=200, temperature=0.8, seed=7)
    assert generate(path, "", 200, temperature=0.8, seed=7) == text
    assert model.training


def test_large_logits_are_compared_in_their_own_units(tmp_path: Path) -> None:
    """alphabet-notebook's learning rate of 200 ends with logits of 37,000; float32 knows those to within 0.002."""
    model = model_of()
    with torch.no_grad():
        model.fc.weight.mul_(1e5)
    assert export(model, tmp_path / "model.onnx") <= PARITY_TOLERANCE


# The contract


@pytest.mark.parametrize("L", [1, 2])
def test_names_types_shapes_opset_and_version(made: Made, L: int) -> None:
    V, path = 11, made(L, "float32")[1]
    proto = onnx.load(path)
    assert proto.ir_version == 8, "the oldest that has opset 18"
    assert [(opset.domain, opset.version) for opset in proto.opset_import] == [("", OPSET)]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    batch = "batch"
    assert [(node.name, node.type, node.shape) for node in session.get_inputs()] == [
        ("token", "tensor(int64)", [batch]),
        ("state", "tensor(float)", [L, batch, H]),
    ]
    assert [(node.name, node.type, node.shape) for node in session.get_outputs()] == [
        ("logits", "tensor(float)", [batch, V]),
        ("next_state", "tensor(float)", [L, batch, H]),
    ]


def test_the_runtime_accepts_it(exported: tuple[CharRNN, Path]) -> None:
    model = OnnxModel.load(exported[1])
    assert model.vocabulary == vocabulary_of(11)
    assert model.normaliser == NORMALISER
    assert model.config == asdict(exported[0].config)
    assert model.training == TRAINING


def test_the_embedding_and_the_biases_are_folded_into_one_table(exported: tuple[CharRNN, Path]) -> None:
    """The weights in the file are [V, H], [H, H], [H, V] and [V], and nothing of a size of E."""
    shapes = sorted(
        tuple(tensor.dims)
        for tensor in onnx.load(exported[1]).graph.initializer
        if len(tensor.dims) and max(tensor.dims) > 1
    )
    assert shapes == [(11,), (11, H), (H, 11), (H, H)]


def test_the_metadata_is_the_golden_one(exported: tuple[CharRNN, Path]) -> None:
    """Keys and values, byte by byte: files that are out there have them."""
    golden = json.loads(GOLDEN.read_text())
    assert {entry.key: entry.value for entry in onnx.load(exported[1]).metadata_props} == golden


@pytest.mark.parametrize("version", ["", "-0.1.0"])
def test_the_golden_metadata_can_be_read(version: str) -> None:
    golden = GOLDEN.with_stem(f"{GOLDEN.stem}{version}")
    metadata = ModelMetadata.from_properties(json.loads(golden.read_text()))
    assert (metadata.vocabulary, metadata.normaliser) == (vocabulary_of(11), NORMALISER)
    assert metadata.config["hidden_size"] == H


def test_one_file_that_knows_nothing_of_the_machine(exported: tuple[CharRNN, Path]) -> None:
    path = exported[1]
    assert [entry.name for entry in path.parent.iterdir()] == ["model.onnx"], "no external data"
    proto = onnx.load(path, load_external_data=False)
    assert not any(tensor.external_data for tensor in proto.graph.initializer)
    assert not any(node.doc_string or node.metadata_props for node in proto.graph.node)
    content = path.read_bytes()
    assert not re.findall(rb"[\w/\\.-]*(?:\.py\b|site-packages|[/\\]lib[/\\])[\w/\\.-]*", content)
    for secret in (str(Path.cwd()), str(Path(torch.__file__).parent), platform.node(), str(Path.home())):
        assert len(secret) < 3 or secret.encode() not in content, secret
    assert f"/{getpass.getuser()}/".encode() not in content


def test_the_same_model_is_the_same_file(exported: tuple[CharRNN, Path], tmp_path: Path) -> None:
    export(exported[0], tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == exported[1].read_bytes()


# Weights in fewer bytes


def run(path: Path, token: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    logits, next_state = session.run(["logits", "next_state"], {"token": token, "state": state})
    return logits, next_state


@pytest.fixture(params=["float16", "int8", "int4"])
def smaller(request: pytest.FixtureRequest, made: Made) -> tuple[Weights, CharRNN, Path]:
    """A model of two layers, H = 13 (no multiple of a block) and V = 11, in fewer bytes."""
    return request.param, *made(2, request.param)


def test_a_smaller_file_has_the_same_contract(smaller: tuple[Weights, CharRNN, Path]) -> None:
    path = smaller[2]
    loaded = OnnxModel.load(path)
    assert (loaded.vocabulary, loaded.normaliser, loaded.training) == (vocabulary_of(11), NORMALISER, TRAINING)
    assert [entry.name for entry in path.parent.iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [(node.name, node.type, node.shape) for node in [*session.get_inputs(), *session.get_outputs()]] == [
        ("token", "tensor(int64)", ["batch"]),
        ("state", "tensor(float)", [2, "batch", H]),
        ("logits", "tensor(float)", ["batch", 11]),
        ("next_state", "tensor(float)", [2, "batch", H]),
    ]


def test_a_smaller_file_is_near_to_the_model(smaller: tuple[Weights, CharRNN, Path]) -> None:
    """Half a step of rounding: 2^-11 for float16, 1/254 for int8, 1/14 of a block's largest weight for int4."""
    weights, model, path = smaller
    state = torch.rand(2, 11, H) * 2 - 1
    logits, _ = run(path, np.arange(11), state.numpy())
    with torch.no_grad():
        expected = model.eval()(torch.arange(11)[:, None], (state,))[0][:, 0].numpy()
    assert np.abs(logits - expected).max() < {"float16": 2e-3, "int8": 2e-2, "int4": 0.3}[weights]


def test_rows_of_a_batch_do_not_see_each_other(smaller: tuple[Weights, CharRNN, Path]) -> None:
    """A row alone, and beside rows whose states are a hundred times as large: the same but for the order of sums."""
    _, _, path = smaller
    rng = np.random.default_rng(4)
    state = rng.uniform(-1, 1, (2, 5, H)).astype(np.float32)
    state[:, 1:] *= 100
    token = np.array([3, 0, 10, 7, 7])
    logits, next_state = run(path, token, state)
    alone, next_alone = run(path, token[:1], state[:, :1])
    np.testing.assert_allclose(logits[:1], alone, atol=2e-6, rtol=0)
    np.testing.assert_allclose(next_state[:, :1], next_alone, atol=2e-6, rtol=0)


def test_sizes(tmp_path: Path) -> None:
    """Of the float32 file, metadata and all, where H = 200 and V = 11: the table and the scores are a tenth of it."""
    torch.manual_seed(1)
    model = CharRNN(ModelConfig(vocabulary_size=11, embedding_size=E, hidden_size=200))
    sizes: dict[Weights, int] = {}
    for weights in ("float32", "float16", "int8", "int4"):
        export(model, tmp_path / "model.onnx", weights=weights)
        sizes[weights] = (tmp_path / "model.onnx").stat().st_size
    for weights, most in (("float16", 0.55), ("int8", 0.35), ("int4", 0.25)):
        assert sizes[weights] < most * sizes["float32"], weights


def test_the_numbers_of_a_smaller_file_are_those_that_were_compared(
    two_layers: tuple[CharRNN, onnx.ModelProto],
) -> None:
    """What `store` says that the graph stands for: float16 and tables exactly, as constants that onnxruntime folds."""
    model, traced = two_layers
    for weights in ("float16", "int8", "int4"):
        proto = onnx.ModelProto.FromString(traced.SerializeToString())
        stored = store(proto, weights)
        matrices = {"table", "W_h_0", "W_h_1", "W_e_1", "W_o"}
        assert set(stored) == (matrices | {"b_1", "b_o"} if weights == "float16" else matrices)
        table = model.input_table().detach().numpy()
        np.testing.assert_allclose(stored["table"], table, atol=np.abs(table).max() / 127 / 2 * 1.001)
        assert not np.array_equal(stored["table"], table)


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_parity_sees_scales_and_codes_in_a_wrong_order(
    two_layers: tuple[CharRNN, onnx.ModelProto], weights: Weights
) -> None:
    model, traced = two_layers
    proto = onnx.ModelProto.FromString(traced.SerializeToString())
    step = file_module._with_weights(SingleStep(model), store(proto, weights))
    step.state_steps = STATE_STEPS if weights == "int8" else None
    assert parity(proto.SerializeToString(), step) <= QUANTISED_TOLERANCE
    for name in ("W_h_0_codes", "W_h_0_scales", "W_o_codes", "table_codes"):
        wrong = onnx.ModelProto.FromString(proto.SerializeToString())
        (tensor,) = (tensor for tensor in wrong.graph.initializer if tensor.name == name)
        tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor)[::-1].copy(), name))
        assert parity(wrong.SerializeToString(), step) > 2 * QUANTISED_TOLERANCE, name


def test_layers_with_equal_biases(tmp_path: Path) -> None:
    """An untrained model's: the exporter makes one tensor of them."""
    model = CharRNN(ModelConfig(vocabulary_size=11, embedding_size=E, hidden_size=H, num_layers=3))
    assert export(model, tmp_path / "model.onnx", weights="int8") <= QUANTISED_TOLERANCE


def test_a_smaller_file_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(proto: onnx.ModelProto, weights: Weights) -> Arrays:
        return {name: array + 0.5 for name, array in store(proto, weights).items()}

    monkeypatch.setattr(file_module, "store", wrong)
    with pytest.raises(RunError, match=r"not exported: the graph differs from torch by .* \(at most 5e-02\)"):
        export(model_of(), tmp_path / "model.onnx", weights="int8")
    assert not list(tmp_path.iterdir())


def test_float16_cannot_hold_every_weight(tmp_path: Path) -> None:
    model = model_of()
    with torch.no_grad():
        model.fc.weight[2, 3] = 7e4
    with pytest.raises(RunError, match=r"W_o has a weight of 7e\+04 and float16 ends at 65504: export it as float32"):
        export(model, tmp_path / "model.onnx", weights="float16")
    assert not list(tmp_path.iterdir())


# Opsets


@pytest.mark.parametrize("opset", [OPSETS.start, OPSETS.stop - 1])
@pytest.mark.parametrize("weights", ["float32", "float16", "int8"])
def test_oldest_and_newest_opset(tmp_path: Path, made: Made, opset: int, weights: Weights) -> None:
    (model, default), path = made(2, weights), tmp_path / "model.onnx"
    export(model, path, weights=weights, opset=opset)
    proto = onnx.load(path)
    assert {entry.domain: entry.version for entry in proto.opset_import}[""] == opset
    assert proto.ir_version == {13: 7, 24: 12}[opset]
    token, state = np.arange(11), np.zeros((2, 11, H), np.float32)
    np.testing.assert_array_equal(run(path, token, state)[0], run(default, token, state)[0])
    settings = {"length": 90, "temperature": 0.8, "top_k": 7, "top_p": 0.9, "seed": 3}
    assert generate(path, "abc" * 20, **settings) == generate(default, "abc" * 20, **settings)


@pytest.mark.parametrize("opset", [12, 25, -1])
def test_opsets_that_are_none_of_ours(tmp_path: Path, opset: int) -> None:
    with pytest.raises(ConfigError, match=f"opset is {opset}: it must be from 13 to 24"):
        export(model_of(), tmp_path / "model.onnx", opset=opset)


# Whole or absent


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file may grow beyond 1 KiB: a write then fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, previous)


@pytest.mark.parametrize("before", [None, b"the old one"])
@pytest.mark.usefixtures("small_disk")
def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, before: bytes | None) -> None:
    path = tmp_path / "model.onnx"
    if before is not None:
        path.write_bytes(before)
    with pytest.raises(RunError, match=r"model.onnx: cannot be written \(File too large\)"):
        export(model_of(), path)
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == ([] if before is None else [before])


@pytest.fixture(scope="module")
def two_layers() -> tuple[CharRNN, onnx.ModelProto]:
    model = model_of(L=2).eval()
    return model, trace(SingleStep(model))


def spoilt(proto: onnx.ModelProto, weight: str, by: float) -> bytes:
    """The graph, one number of one weight changed."""
    copy = onnx.ModelProto.FromString(proto.SerializeToString())
    (tensor,) = [tensor for tensor in copy.graph.initializer if tensor.name == weight]
    values = onnx.numpy_helper.to_array(tensor).copy()
    values.reshape(-1)[3] += by
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, weight))
    return copy.SerializeToString()


@pytest.mark.parametrize(
    ("weight", "by"), [("table", 0.1), ("W_h_0", 0.1), ("W_e_1", 0.1), ("b_1", 1e-3), ("W_o", -0.1), ("b_o", 1e-4)]
)
def test_parity_sees_one_wrong_number(two_layers: tuple[CharRNN, onnx.ModelProto], weight: str, by: float) -> None:
    model, proto = two_layers
    assert parity(spoilt(proto, weight, 0.0), SingleStep(model)) <= PARITY_TOLERANCE
    assert parity(spoilt(proto, weight, by), SingleStep(model)) > 5 * PARITY_TOLERANCE


@pytest.mark.parametrize("V", [1, 64, 65, 4000, 8741])
def test_parity_reads_every_character_many_at_a_time(V: int) -> None:
    tokens = _tokens(V, np.array([0, 0, 0]))
    assert len(tokens) <= max(64, V // 60), "with V=4000 a character a step took minutes"
    assert tokens.shape[1] <= 2 + 64
    assert set(tokens[:, 2:].ravel().tolist()) == set(range(V))
    assert tokens[:3, 0].tolist() == [0, 0, 0], "the text"


def test_parity_keeps_to_one_thread(
    two_layers: tuple[CharRNN, onnx.ModelProto], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that spin beside others' work take ten times as long; the caller's setting is kept."""
    model, proto = two_layers
    step, threads, sessions = SingleStep(model), set(), []
    open_session = onnxruntime.InferenceSession

    def spied(*arguments: Any, **options: Any) -> onnxruntime.InferenceSession:
        sessions.append(open_session(*arguments, **options))
        return sessions[-1]

    monkeypatch.setattr(onnxruntime, "InferenceSession", spied)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        parity(proto.SerializeToString(), lambda *inputs: (threads.add(torch.get_num_threads()), step(*inputs))[1])
        assert (threads, torch.get_num_threads()) == ({1}, 3)
        (session,) = sessions
        assert session.get_session_options().intra_op_num_threads == 1
    finally:
        torch.set_num_threads(before)


def test_parity_of_numbers_that_are_none_is_infinite(two_layers: tuple[CharRNN, onnx.ModelProto]) -> None:
    assert parity(spoilt(two_layers[1], "W_o", float("nan")), SingleStep(two_layers[0])) == float("inf")


def test_a_graph_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.onnx"

    def wrong(step: SingleStep, opset: int) -> onnx.ModelProto:
        step.get_buffer("W_h_0")[2, 1] += 0.01
        return trace(step, opset)

    monkeypatch.setattr(file_module, "trace", wrong)
    path.write_bytes(b"the old one")
    with pytest.raises(
        RunError, match=r"model.onnx: not exported: the graph differs from torch by .* \(at most 1e-05\)"
    ):
        export(model_of(), path)
    assert path.read_bytes() == b"the old one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_spoilt_model_is_not_written(tmp_path: Path) -> None:
    model = model_of()
    with torch.no_grad():
        model.fc.bias[0] = float("nan")
    with pytest.raises(RunError, match="differs from torch by inf"):
        export(model, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_another_recurrence_is_the_same_graph(tmp_path: Path, exported: tuple[CharRNN, Path]) -> None:
    reference = CharRNN(replace(exported[0].config, recurrence="reference"))
    reference.load_state_dict(exported[0].state_dict())
    export(reference, tmp_path / "model.onnx")
    weights = [onnx.load(path).graph.initializer for path in (tmp_path / "model.onnx", exported[1])]
    assert weights[0] == weights[1]
