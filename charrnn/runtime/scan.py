"""The graph of a model.onnx inside an ONNX Scan, so that one call of onnxruntime does many steps.

A step reads one character of each text: token and state -> logits and next state, where the state is what the model
remembers of the texts between two steps. Scan is ONNX's loop: it runs a graph, its body, once for each entry of a
sequence, and passes states on from one run to the next. Here the body is the step as it stands in the file, except
that large weights stand outside.

- To read, the sequence is the tokens, and Scan collects the logits.
- To trace, the sequence is the tokens, and Scan collects the states.
- To write, the sequence is the sampler's noise. Nodes that are added to the body choose a character, by the same
  computation as `sampling.choose`; Scan collects it, and passes it on as the token of the next step.

Names that are added begin with "choice/" or "trace/" inside the body and with "outer/" around it, so that they differ
from the names in the file.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from charrnn.runtime.protobuf import Message, write_message
from charrnn.runtime.step_graph import FLOAT, GRAPH, GRAPH_NODES, GRAPH_WEIGHTS, INT64, StepGraph, Tensor

__all__ = ["Choice", "reading_graph", "tracing_graph", "writing_graph"]

Choice: TypeAlias = Literal["all", "top-k", "top-p"]
"""Which characters can be chosen; "top-p" is top-k followed by top-p."""

_GRAPH_NAME, _GRAPH_INPUTS, _GRAPH_OUTPUTS = 2, 11, 12  # field numbers, from onnx.proto


def reading_graph(step: StepGraph) -> bytes:
    """An ONNX model that reads T characters of each text.

    Inputs, in this order: the states, whole or by layer (`step.by_layer`); tokens int64 [T, batch].
    Outputs: the states after all steps; the logits float32 [T, batch, V] after each step.
    """
    body = _body_graph(
        step,
        inputs=[*step.states, Tensor("token", INT64, ("batch",))],
        outputs=[*step.next_states, Tensor("logits", FLOAT, ("batch", step.V))],
    )
    return _scan_model(
        step,
        body,
        states=_outer(step.states),
        sequence=Tensor("outer/tokens", INT64, ("T", "batch")),
        results=[*_outer(step.next_states), Tensor("outer/logits", FLOAT, ("T", "batch", step.V))],
    )


def tracing_graph(step: StepGraph) -> bytes:
    """An ONNX model that reads T characters of each text, and keeps what the model remembers after each.

    Inputs: those of `reading_graph`.
    Outputs: the states after all steps; then the states after each step, float32 [T, batch, H] for each layer or
    [T, L, batch, H] for each kind (`step.by_layer`).
    """
    # As a chosen id (see below), a state leaves the body twice.
    kept = [state._replace(name=f"trace/{state.name}") for state in step.next_states]
    copies = [_node("Identity", [state.name], [copy.name]) for state, copy in zip(step.next_states, kept, strict=True)]
    body = _body_graph(
        step,
        nodes=copies,
        inputs=[*step.states, Tensor("token", INT64, ("batch",))],
        outputs=[*step.next_states, *kept],
    )
    return _scan_model(
        step,
        body,
        states=_outer(step.states),
        sequence=Tensor("outer/tokens", INT64, ("T", "batch")),
        results=_outer([*step.next_states, *(copy._replace(dims=("T", *copy.dims)) for copy in kept)]),
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
    read, chosen, first, last = (Tensor(name, INT64, ("batch",)) for name in token)
    # The chosen id leaves the body twice, as the next token and to be collected, and must be two values there.
    two_ids = _node("Identity", ["choice/id"], ["choice/token"])
    body = _body_graph(
        step,
        nodes=[*_CHOICES[choice], two_ids],
        inputs=[*step.states, read, Tensor("choice/noise", FLOAT, ("batch", "K"))],
        outputs=[*step.next_states, chosen, Tensor("choice/id", INT64, ("batch",))],
        constants=[_AXIS],
    )
    return _scan_model(
        step,
        body,
        states=[*_outer(step.states), first],
        sequence=Tensor("outer/noise", FLOAT, ("T", "batch", "K")),
        settings=_SETTINGS[choice],
        results=[*_outer(step.next_states), last, Tensor("outer/ids", INT64, ("T", "batch"))],
    )


def _outer(values: list[Tensor]) -> list[Tensor]:
    return [value._replace(name=f"outer/{value.name}") for value in values]


def _body_graph(
    step: StepGraph,
    *,
    inputs: list[Tensor],
    outputs: list[Tensor],
    nodes: Sequence[Message] = (),
    constants: Sequence[Message] = (),
) -> Message:
    """The body of a Scan: the file's graph, followed by `nodes` and the constants that they need."""
    weights = write_message(*((GRAPH_WEIGHTS, constant) for constant in constants))
    return [*step.body_fields, *_graph(nodes, inputs, outputs), *weights]


def _scan_model(
    step: StepGraph,
    body: Message,
    *,
    states: list[Tensor],
    sequence: Tensor,
    results: list[Tensor],
    settings: Sequence[Tensor] = (),
) -> bytes:
    """A model with the file's opsets, whose only node is a Scan over `sequence`.

    settings: inputs that Scan does not pass to the body: the body reads them by name, from the graph around it.
    """
    names = [value.name for value in (*states, sequence)]
    scan = _node("Scan", names, [value.name for value in results], body=body, num_scan_inputs=1)
    graph = [*step.outer_weights, *_graph([scan], [*states, sequence, *settings], results)]
    return b"".join([*step.header, *write_message((GRAPH, graph))])


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


def _graph(nodes: Sequence[Message], inputs: list[Tensor], outputs: list[Tensor]) -> Message:
    return write_message(
        *((GRAPH_NODES, node) for node in nodes),
        (_GRAPH_NAME, "charrnn"),
        *((_GRAPH_INPUTS, _value_info(value)) for value in inputs),
        *((_GRAPH_OUTPUTS, _value_info(value)) for value in outputs),
    )


def _value_info(value: Tensor) -> Message:
    dims = (write_message((1 if isinstance(dim, int) else 2, dim)) for dim in value.dims)
    tensor_type = write_message((1, value.kind), (2, write_message(*((1, dim) for dim in dims))))
    return write_message((1, value.name), (2, write_message((1, tensor_type))))


def _constant(name: str, kind: int, dims: tuple[int, ...], content: bytes) -> Message:
    """A TensorProto."""
    return write_message(*((1, dim) for dim in dims), (2, kind), (8, name), (9, content))


# The choice of a character: from logits float32 [batch, V] and choice/noise float32 [batch, K] to choice/id int64
# [batch]. This is `choose` of sampling.py as ONNX nodes.

_AXIS = _constant("choice/axis", INT64, (), (1).to_bytes(8, "little"))
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
_K = Tensor("outer/top_k", INT64, (1,))
_SETTINGS: dict[Choice, list[Tensor]] = {
    "all": [],
    "top-k": [_K],
    "top-p": [_K, Tensor("outer/top_p", FLOAT, (1,)), Tensor("outer/temperature", FLOAT, (1,))],
}
