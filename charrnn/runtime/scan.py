"""The graph of a model.onnx inside an ONNX Scan, so that one call of onnxruntime does many steps.

A step reads one character of each text: token and state -> logits and next state, where the state is what the model
remembers of the texts between two steps. Scan is ONNX's loop: it runs a graph, its body, once for each entry of a
sequence, and passes states on from one run to the next. Here the body is the step as it stands in the file, except
that large weights stand outside.

- To read, the sequence is the tokens, and Scan collects the logits.
- To write, the sequence is the sampler's noise. Nodes that are added to the body choose a character, by the same
  computation as `sampling.choose`; Scan collects it, and passes it on as the token of the next step.

Names that are added begin with "choice/" inside the body and with "outer/" around it, so that they differ from the
names in the file.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

from charrnn.runtime.layers import Node, StateSizes, find_layers, read_node, weight_name
from charrnn.runtime.protobuf import Field, Message, read_fields, write_message

__all__ = ["Choice", "StepGraph", "reading_graph", "writing_graph"]

Choice: TypeAlias = Literal["all", "top-k", "top-p"]
"""Which characters can be chosen; "top-p" is top-k followed by top-p."""

# Types of elements and field numbers, from onnx.proto, which defines the format.
_FLOAT, _INT64 = 1, 7
_MODEL_IR_VERSION, _MODEL_GRAPH, _MODEL_OPSETS, _MODEL_FUNCTIONS = 1, 7, 8, 25
_GRAPH_NODES, _GRAPH_NAME, _GRAPH_INPUTS, _GRAPH_OUTPUTS = 1, 2, 11, 12
_GRAPH_WEIGHTS, _GRAPH_SPARSE_WEIGHTS = 5, 15

_LARGE_BYTES = 200_000
"""Weights of at least this size stand outside the body. Of a weight in the body onnxruntime keeps two more copies; a
weight outside has to be handed to the body at each step, which takes 0.2 us."""


class _Tensor(NamedTuple):
    """An input or output: its name, element type, and of each dimension the size, or the name where it is dynamic."""

    name: str
    kind: int
    dims: tuple[int | str, ...]


class StepGraph:
    """The graph of a model file, one step, in the pieces from which Scan models are built.

    All pieces but `states` and `next_states` are encoded protobuf fields, copied from the file as they are.
    """

    def __init__(self, model: bytes, sizes: StateSizes, V: int) -> None:
        """Take `model`, the content of a file, apart. Raises ModelFileError where it is not made of protobuf fields."""
        fields = list(read_fields(memoryview(model)))
        self.header = [f.whole for f in fields if f.number in (_MODEL_IR_VERSION, _MODEL_OPSETS, _MODEL_FUNCTIONS)]
        graph = [part for f in fields if f.number == _MODEL_GRAPH for part in read_fields(f.content)]
        nodes = [part for part in graph if part.number == _GRAPH_NODES]
        weights = [part for part in graph if part.number in (_GRAPH_WEIGHTS, _GRAPH_SPARSE_WEIGHTS)]
        read = [read_node(node.content) for node in nodes]
        layers = find_layers(read, [weight.content for weight in weights], sizes)
        self.by_layer = layers is not None
        """Whether Scan passes the states on as their layers, [batch, H] each, or whole, [L, batch, H]."""
        unneeded = layers.unneeded if layers else set()
        outside = _large_weights(read, weights)
        self.body_fields = [node.whole for index, node in enumerate(nodes) if index not in unneeded]
        self.body_fields += [weight.whole for index, weight in enumerate(weights) if index not in outside]
        self.outer_weights = [weights[index].whole for index in outside]
        before = layers.before if layers else list(sizes)
        after = layers.after if layers else [f"next_{name}" for name in sizes]
        shapes = [
            ("batch", H) if layers else (L, "batch", H) for L, H in sizes.values() for _ in range(L if layers else 1)
        ]
        self.states = [_Tensor(name, _FLOAT, shape) for name, shape in zip(before, shapes, strict=True)]
        self.next_states = [_Tensor(name, _FLOAT, shape) for name, shape in zip(after, shapes, strict=True)]
        self.V = V


def _large_weights(graph: list[Node], weights: list[Field]) -> list[int]:
    """Indices of the weights that are to stand outside the body.

    Weights that are cast or scaled before they are used stay inside, however large: there onnxruntime computes the
    result once, when it loads the model, and outside it would at each step.
    """
    names = [weight_name(weight.content) for weight in weights]
    constant, folded = {"", *names}, set[str]()  # an empty name is an optional input that is left out
    for node in graph:
        if constant.issuperset(node.inputs):
            constant.update(node.outputs)
            folded.update(node.inputs)
    return [
        index
        for index, weight in enumerate(weights)
        if len(weight.whole) >= _LARGE_BYTES and names[index] not in folded
    ]


def reading_graph(step: StepGraph) -> bytes:
    """An ONNX model that reads T characters of each text.

    Inputs, in this order: the states, whole or by layer (`step.by_layer`); tokens int64 [T, batch].
    Outputs: the states after all steps; the logits float32 [T, batch, V] after each step.
    """
    body = _body_graph(
        step,
        inputs=[*step.states, _Tensor("token", _INT64, ("batch",))],
        outputs=[*step.next_states, _Tensor("logits", _FLOAT, ("batch", step.V))],
    )
    return _scan_model(
        step,
        body,
        states=_outer(step.states),
        sequence=_Tensor("outer/tokens", _INT64, ("T", "batch")),
        results=[*_outer(step.next_states), _Tensor("outer/logits", _FLOAT, ("T", "batch", step.V))],
    )


def writing_graph(step: StepGraph, choice: Choice) -> bytes:
    """An ONNX model that writes T characters of each text: a step reads a token and chooses the next one.

    Inputs, in this order: the states, whole or by layer (`step.by_layer`); the first token to read, int64 [batch]; the
    sampler's noise float32 [T, batch, K]; unless `choice` is "all", K as int64 [1]; where it is "top-p", top_p and the
    temperature, each float32 [1].
    Outputs: the states before the last chosen character is read; that character, int64 [batch]; all chosen characters,
    int64 [T, batch].
    """
    token = ("token", "choice/token", "outer/token", "outer/last")
    read, chosen, first, last = (_Tensor(name, _INT64, ("batch",)) for name in token)
    # The chosen id leaves the body twice, as the next token and to be collected, and must be two values there.
    two_ids = _node("Identity", ["choice/id"], ["choice/token"])
    body = _body_graph(
        step,
        nodes=[*_CHOICES[choice], two_ids],
        inputs=[*step.states, read, _Tensor("choice/noise", _FLOAT, ("batch", "K"))],
        outputs=[*step.next_states, chosen, _Tensor("choice/id", _INT64, ("batch",))],
    )
    return _scan_model(
        step,
        body,
        states=[*_outer(step.states), first],
        sequence=_Tensor("outer/noise", _FLOAT, ("T", "batch", "K")),
        settings=_SETTINGS[choice],
        results=[*_outer(step.next_states), last, _Tensor("outer/ids", _INT64, ("T", "batch"))],
    )


def _outer(values: list[_Tensor]) -> list[_Tensor]:
    return [value._replace(name=f"outer/{value.name}") for value in values]


def _body_graph(
    step: StepGraph, *, inputs: list[_Tensor], outputs: list[_Tensor], nodes: Sequence[Message] = ()
) -> Message:
    """The body of a Scan: the file's graph, followed by `nodes` and the constant that they need."""
    constants = write_message((_GRAPH_WEIGHTS, _AXIS)) if nodes else []
    return [*step.body_fields, *_graph(nodes, inputs, outputs), *constants]


def _scan_model(
    step: StepGraph,
    body: Message,
    *,
    states: list[_Tensor],
    sequence: _Tensor,
    results: list[_Tensor],
    settings: Sequence[_Tensor] = (),
) -> bytes:
    """A model with the file's opsets, whose only node is a Scan over `sequence`.

    settings: inputs that Scan does not pass to the body: the body reads them by name, from the graph around it.
    """
    names = [value.name for value in (*states, sequence)]
    scan = _node("Scan", names, [value.name for value in results], body=body, num_scan_inputs=1)
    graph = [*step.outer_weights, *_graph([scan], [*states, sequence, *settings], results)]
    return b"".join([*step.header, *write_message((_MODEL_GRAPH, graph))])


# ONNX's protobuf messages


def _node(operator: str, inputs: list[str], outputs: list[str], **attributes: int | Message) -> Message:
    """A NodeProto; an attribute is a whole number, or a graph."""
    return write_message(
        *((1, name) for name in inputs),
        *((2, name) for name in outputs),
        (4, operator),
        *((5, _attribute(name, value)) for name, value in attributes.items()),
    )


def _attribute(name: str, value: int | Message) -> Message:
    """An AttributeProto: name, the value in the field of its type, and that type."""
    return write_message((1, name), *([(3, value), (20, 2)] if isinstance(value, int) else [(6, value), (20, 5)]))


def _graph(nodes: Sequence[Message], inputs: list[_Tensor], outputs: list[_Tensor]) -> Message:
    return write_message(
        *((_GRAPH_NODES, node) for node in nodes),
        (_GRAPH_NAME, "charrnn"),
        *((_GRAPH_INPUTS, _value_info(value)) for value in inputs),
        *((_GRAPH_OUTPUTS, _value_info(value)) for value in outputs),
    )


def _value_info(value: _Tensor) -> Message:
    dims = (write_message((1 if isinstance(dim, int) else 2, dim)) for dim in value.dims)
    tensor_type = write_message((1, value.kind), (2, write_message(*((1, dim) for dim in dims))))
    return write_message((1, value.name), (2, write_message((1, tensor_type))))


def _constant(name: str, kind: int, dims: tuple[int, ...], content: bytes) -> Message:
    """A TensorProto."""
    return write_message(*((1, dim) for dim in dims), (2, kind), (8, name), (9, content))


# The choice of a character: from logits float32 [batch, V] and choice/noise float32 [batch, K] to choice/id int64
# [batch]. This is `choose` of sampling.py as ONNX nodes.

_AXIS = _constant("choice/axis", _INT64, (), (1).to_bytes(8, "little"))
_ALL = [
    _node("Add", ["logits", "choice/noise"], ["choice/sums"]),
    _node("ArgMax", ["choice/sums"], ["choice/id"], axis=1, keepdims=0),
]
# Sorts from the highest logit down, among equal ones the lower id first, as the stable argsort of `choose` does.
_TOP = _node("TopK", ["logits", "outer/top_k"], ["choice/top", "choice/order"], axis=1)
_TOP_K_SCORES = [_node("Add", ["choice/top", "choice/noise"], ["choice/scores"])]
# `_scores_of_top_p` of sampling.py. The two softmaxes may differ in the last bit; of two million characters that were
# tried none came out differently. A model never mixes the two: either all its texts are written here or none.
_TOP_P_SCORES = [
    _node("Div", ["choice/top", "outer/temperature"], ["choice/scaled"]),
    _node("Softmax", ["choice/scaled"], ["choice/probabilities"], axis=1),
    _node("CumSum", ["choice/probabilities", "choice/axis"], ["choice/before"], exclusive=1),
    _node("Sub", ["outer/top_p", "choice/before"], ["choice/left"]),
    _node("Min", ["choice/left", "choice/noise"], ["choice/noise_of_kept"]),
    _node("Mul", ["choice/probabilities", "choice/noise_of_kept"], ["choice/scores"]),
]
_ID_OF_HIGHEST = [
    _node("ArgMax", ["choice/scores"], ["choice/place"], axis=1, keepdims=1),
    _node("GatherND", ["choice/order", "choice/place"], ["choice/id"], batch_dims=1),
]
_CHOICES: dict[Choice, list[Message]] = {
    "all": _ALL,
    "top-k": [_TOP, *_TOP_K_SCORES, *_ID_OF_HIGHEST],
    "top-p": [_TOP, *_TOP_P_SCORES, *_ID_OF_HIGHEST],
}
_K = _Tensor("outer/top_k", _INT64, (1,))
_SETTINGS: dict[Choice, list[_Tensor]] = {
    "all": [],
    "top-k": [_K],
    "top-p": [_K, _Tensor("outer/top_p", _FLOAT, (1,)), _Tensor("outer/temperature", _FLOAT, (1,))],
}
