"""The step of a model.onnx as the body of a Scan: one call of onnxruntime reads or writes many characters.

The file's graph is the body, as it stands but for large weights. To read, Scan feeds it tokens and collects logits. To
write, the body goes on to choose a character, by the sums of `Sampler.choose`, which is the next step's token.

Names of ours begin with "outer/" around the body (all inputs do) and with "choice/" in it; the file's are its own.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

from charrnn.runtime.layers import Node, Sizes, find_layers, name_of_weight, read_node
from charrnn.runtime.protobuf import Field, Message, read_fields, write_message

__all__ = ["Choice", "StepGraph", "reading_graph", "writing_graph"]

Choice: TypeAlias = Literal["all", "top-k", "top-p"]
"""Among which characters one is chosen; "top-p" is after top-k."""

# Constants and field numbers of onnx.proto, which defines the format.
_FLOAT, _INT64 = 1, 7
_MODEL_IR_VERSION, _MODEL_GRAPH, _MODEL_OPSETS, _MODEL_FUNCTIONS = 1, 7, 8, 25
_GRAPH_NODES, _GRAPH_NAME, _GRAPH_INPUTS, _GRAPH_OUTPUTS = 1, 2, 11, 12
_GRAPH_WEIGHTS, _GRAPH_SPARSE_WEIGHTS = 5, 15

_LARGE_BYTES = 200_000
"""Weights from here on stand around the body. onnxruntime keeps those in it twice more; of those around it, it tells
the body at each step, which takes 0.2 us for each."""


class _Value(NamedTuple):
    """A named tensor: its element type, and of each dimension the size or the name."""

    name: str
    kind: int
    dims: tuple[int | str, ...]


class StepGraph:
    """The graph of a model file, in pieces that make the body of a Scan.

    Raises ModelFileError where the file is no sequence of protobuf's fields.
    """

    def __init__(self, model: bytes, sizes: Sizes, V: int) -> None:
        fields = list(read_fields(memoryview(model)))
        self.header = [f.whole for f in fields if f.number in (_MODEL_IR_VERSION, _MODEL_OPSETS, _MODEL_FUNCTIONS)]
        graph = [part for f in fields if f.number == _MODEL_GRAPH for part in read_fields(f.content)]
        nodes = [part for part in graph if part.number == _GRAPH_NODES]
        weights = [part for part in graph if part.number in (_GRAPH_WEIGHTS, _GRAPH_SPARSE_WEIGHTS)]
        read = [read_node(node.content) for node in nodes]
        layers = find_layers(read, [weight.content for weight in weights], sizes)
        self.by_layer = layers is not None
        """Whether the states are carried as their layers, [batch, H] each, or whole, [L, batch, H]."""
        unneeded = layers.unneeded if layers else set()
        self.inside = [node.whole for place, node in enumerate(nodes) if place not in unneeded]
        outside = _large_weights(read, weights)
        self.inside += [weight.whole for place, weight in enumerate(weights) if place not in outside]
        self.outside = [weights[place].whole for place in outside]
        before = layers.before if layers else list(sizes)
        after = layers.after if layers else [f"next_{name}" for name in sizes]
        shapes = [
            ("batch", H) if layers else (L, "batch", H) for L, H in sizes.values() for _ in range(L if layers else 1)
        ]
        self.before = [_Value(name, _FLOAT, shape) for name, shape in zip(before, shapes, strict=True)]
        self.after = [_Value(name, _FLOAT, shape) for name, shape in zip(after, shapes, strict=True)]
        self.V = V


def _large_weights(graph: list[Node], weights: list[Field]) -> list[int]:
    """Places of the weights to stand around the body.

    Not those that are cast or scaled before they are used: in the body onnxruntime does that once, when it loads it.
    """
    names = [name_of_weight(weight.content) for weight in weights]
    constant, folded = {"", *names}, set[str]()
    for node in graph:
        if constant.issuperset(node.inputs):
            constant.update(node.outputs)
            folded.update(node.inputs)
    return [
        place
        for place, weight in enumerate(weights)
        if len(weight.whole) >= _LARGE_BYTES and names[place] not in folded
    ]


def reading_graph(step: StepGraph) -> bytes:
    """The model that reads: states, tokens int64 [T, batch] -> states, logits float32 [T, batch, V], in this order.

    The states are as `step.by_layer` says.
    """
    body = _body(
        step,
        inputs=[*step.before, _Value("token", _INT64, ("batch",))],
        outputs=[*step.after, _Value("logits", _FLOAT, ("batch", step.V))],
    )
    return _around(
        step,
        body,
        states=_outer(step.before),
        sequence=_Value("outer/tokens", _INT64, ("T", "batch")),
        results=[*_outer(step.after), _Value("outer/logits", _FLOAT, ("T", "batch", step.V))],
    )


def writing_graph(step: StepGraph, choice: Choice) -> bytes:
    """The model that writes: states, token int64 [batch], noise float32 [T, batch, K] -> states, last, ids.

    The noise is as the sampler draws it; ids int64 [T, batch]; last is the last of them. Further inputs are K, int64
    [1], where `choice` is not "all", and top_p and temperature, float32 [1], where it is "top-p".
    Inputs and outputs are in this order; the states are as `step.by_layer` says.
    """
    token = ("token", "choice/token", "outer/token", "outer/last")
    read, chosen, first, last = (_Value(name, _INT64, ("batch",)) for name in token)
    body = _body(
        step,
        nodes=[*_CHOICES[choice], _node("Identity", ["choice/id"], ["choice/token"])],
        inputs=[*step.before, read, _Value("choice/noise", _FLOAT, ("batch", "K"))],
        outputs=[*step.after, chosen, _Value("choice/id", _INT64, ("batch",))],
    )
    return _around(
        step,
        body,
        states=[*_outer(step.before), first],
        sequence=_Value("outer/noise", _FLOAT, ("T", "batch", "K")),
        settings=_SETTINGS[choice],
        results=[*_outer(step.after), last, _Value("outer/ids", _INT64, ("T", "batch"))],
    )


def _outer(values: list[_Value]) -> list[_Value]:
    return [value._replace(name=f"outer/{value.name}") for value in values]


def _body(step: StepGraph, *, inputs: list[_Value], outputs: list[_Value], nodes: Sequence[Message] = ()) -> Message:
    """The file's graph with other inputs and outputs, and `nodes` and the constant that they need."""
    constants = write_message((_GRAPH_WEIGHTS, _AXIS)) if nodes else []
    return [*step.inside, *_graph(nodes, inputs, outputs), *constants]


def _around(
    step: StepGraph,
    body: Message,
    *,
    states: list[_Value],
    sequence: _Value,
    results: list[_Value],
    settings: Sequence[_Value] = (),
) -> bytes:
    """A model, of the file's opsets, whose one node scans `sequence`; the body knows `settings` by their names."""
    names = [value.name for value in (*states, sequence)]
    scan = _node("Scan", names, [value.name for value in results], body=body, num_scan_inputs=1)
    graph = [*step.outside, *_graph([scan], [*states, sequence, *settings], results)]
    return b"".join([*step.header, *write_message((_MODEL_GRAPH, graph))])


# The choice: from logits float32 [batch, V] and choice/noise float32 [batch, K] to choice/id int64 [batch].


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


def _graph(nodes: Sequence[Message], inputs: list[_Value], outputs: list[_Value]) -> Message:
    return write_message(
        *((_GRAPH_NODES, node) for node in nodes),
        (_GRAPH_NAME, "charrnn"),
        *((_GRAPH_INPUTS, _value_info(value)) for value in inputs),
        *((_GRAPH_OUTPUTS, _value_info(value)) for value in outputs),
    )


def _value_info(value: _Value) -> Message:
    dims = (write_message((1 if isinstance(dim, int) else 2, dim)) for dim in value.dims)
    tensor_type = write_message((1, value.kind), (2, write_message(*((1, dim) for dim in dims))))
    return write_message((1, value.name), (2, write_message((1, tensor_type))))


def _constant(name: str, kind: int, dims: tuple[int, ...], content: bytes) -> Message:
    """A TensorProto."""
    return write_message(*((1, dim) for dim in dims), (2, kind), (8, name), (9, content))


_AXIS = _constant("choice/axis", _INT64, (), (1).to_bytes(8, "little"))
_ALL = [
    _node("Add", ["logits", "choice/noise"], ["choice/sums"]),
    _node("ArgMax", ["choice/sums"], ["choice/id"], axis=1, keepdims=0),
]
# From the likeliest down, of equal ones the lower id first.
_TOP = _node("TopK", ["logits", "outer/top_k"], ["choice/top", "choice/order"], axis=1)
_TOP_K_SCORES = [_node("Add", ["choice/top", "choice/noise"], ["choice/scores"])]
# The sums of sampling.py's `_scores_of_top_p`. Its softmax may differ in the last bit: of two million characters none
# came out otherwise. What onnxruntime takes into a Scan is always written by it.
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
_K = _Value("outer/top_k", _INT64, (1,))
_SETTINGS: dict[Choice, list[_Value]] = {
    "all": [],
    "top-k": [_K],
    "top-p": [_K, _Value("outer/top_p", _FLOAT, (1,)), _Value("outer/temperature", _FLOAT, (1,))],
}
