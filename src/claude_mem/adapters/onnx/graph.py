"""Builds the ONNX graph of all-MiniLM-L6-v2 (BERT, six layers) with mean pooling and normalisation from its weights.

Input: `input_ids` and `attention_mask`, int64 of shape (batch, tokens). Output: `vectors`, float32 of shape
(batch, 384) and length 1. Standard operators of opset 20 only. With `int8` the products with weights are made in whole
numbers: weights are symmetric with a scale a column (a scale for all of them costs 4 points of cosine), activations get
theirs as they come (Jacob et al., 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference"). The same weights make the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

_LAYERS: Final = 6
_HEADS: Final = 12
_WIDTH: Final = 384
_OF_A_HEAD: Final = _WIDTH // _HEADS
_OPSET: Final = 20
_IR_VERSION: Final = 9  # the oldest that has opset 20
_EPSILON: Final = 1e-12
_MASKED: Final = 10_000.0  # taken from the score of padding: nothing of it is left after softmax

Array = npt.NDArray[Any]
Weights = Mapping[str, Array]


def build(weights: Weights, *, int8: bool) -> bytes:
    """The graph, as a file's bytes. Raises KeyError where a weight is missing."""
    made = _Builder(int8=int8)
    mask = made.node("Cast", "attention_mask", to=TensorProto.FLOAT)
    states = _embedding(made, weights)
    bias = made.node("Mul", made.node("Sub", mask, made.scalar(1.0)), made.scalar(_MASKED))
    bias = made.node("Unsqueeze", bias, made.axes(1, 2))
    for number in range(_LAYERS):
        states = _layer(made, weights, f"encoder.layer.{number}.", states, bias)
    return _file(made, _pooled(made, states, mask))


class _Builder:
    """Collects nodes and constants; every method that makes one returns the name of its output."""

    def __init__(self, *, int8: bool) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self._int8 = int8

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output."""
        return self.several(1, kind, *inputs, **attributes)[0]

    def several(self, count: int, kind: str, *inputs: str, **attributes: Any) -> list[str]:
        """A node with `count` outputs."""
        outputs = [f"{kind}.{len(self.nodes)}.{number}" for number in range(count)]
        self.nodes.append(helper.make_node(kind, list(inputs), outputs, **attributes))
        return outputs

    def constant(self, name: str, values: Array) -> str:
        """A tensor that is part of the file; one name is one tensor."""
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def scalar(self, value: float) -> str:
        """A number."""
        return self.constant(f"number.{value:g}", np.float32(value))  # type: ignore[arg-type]

    def axes(self, *numbers: int) -> str:
        """Whole numbers: axes, or a shape."""
        name = "axes." + ".".join(map(str, numbers))
        return self.constant(name, np.array(numbers, np.int64))

    def norm(self, weights: Weights, name: str, states: str) -> str:
        """Layer normalisation over the last axis."""
        scale = self.constant(f"{name}.weight", weights[f"{name}.weight"])
        bias = self.constant(f"{name}.bias", weights[f"{name}.bias"])
        return self.node("LayerNormalization", states, scale, bias, axis=-1, epsilon=_EPSILON)

    def rows(self, name: str, table: Array, numbers: str) -> str:
        """Rows of a table by their numbers; kept as whole numbers with a scale a row."""
        if not self._int8:
            return self.node("Gather", self.constant(name, table), numbers)
        whole, scale = quantised(table, axis=1)
        found = self.node("Gather", self.constant(name, whole), numbers)
        scales = self.node("Gather", self.constant(f"{name}.scale", scale), numbers)
        return self.node("Mul", self.node("Cast", found, to=TensorProto.FLOAT), scales)

    def linear(self, name: str, matrix: Array, bias: Array, states: str) -> str:
        """`states` times `matrix` (in, out), plus `bias`."""
        added = self.constant(f"{name}.bias", bias)
        if not self._int8:
            product = self.node("MatMul", states, self.constant(name, matrix))
            return self.node("Add", product, added)
        whole, scale = quantised(matrix, axis=0)
        of_states, unit, zero = self.several(3, "DynamicQuantizeLinear", states)
        zeros = self.constant(f"{name}.zero", np.zeros(whole.shape[1], np.int8))
        sums = self.node("MatMulInteger", of_states, self.constant(name, whole), zero, zeros)
        units = self.node("Mul", unit, self.constant(f"{name}.scale", scale[0]))
        product = self.node("Mul", self.node("Cast", sums, to=TensorProto.FLOAT), units)
        return self.node("Add", product, added)


def quantised(values: Array, *, axis: int) -> tuple[Array, Array]:
    """Whole numbers from -127 to 127 and their scales: one for all that differ in `axis` only."""
    scale = np.maximum(np.abs(values).max(axis=axis, keepdims=True), _EPSILON) / 127
    whole = np.clip(np.rint(values / scale), -127, 127)
    return whole.astype(np.int8), scale.astype(np.float32)


def _embedding(made: _Builder, weights: Weights) -> str:
    words = made.rows("words", weights["embeddings.word_embeddings.weight"], "input_ids")
    # There is one text an input: its type's row can be part of every place's.
    places = (
        weights["embeddings.position_embeddings.weight"]
        + weights["embeddings.token_type_embeddings.weight"][0]
    )
    length = made.node("Shape", "input_ids", start=1, end=2)
    first = made.constant("places", places)
    of_tokens = made.node("Slice", first, made.axes(0), length, made.axes(0))
    return made.norm(weights, "embeddings.LayerNorm", made.node("Add", words, of_tokens))


def _layer(made: _Builder, weights: Weights, prefix: str, states: str, bias: str) -> str:
    attended = _dense(
        made,
        weights,
        f"{prefix}attention.output.dense",
        _attention(made, weights, f"{prefix}attention.self.", states, bias),
    )
    states = made.norm(
        weights, f"{prefix}attention.output.LayerNorm", made.node("Add", attended, states)
    )
    inner = made.node("Gelu", _dense(made, weights, f"{prefix}intermediate.dense", states))
    outer = _dense(made, weights, f"{prefix}output.dense", inner)
    return made.norm(weights, f"{prefix}output.LayerNorm", made.node("Add", outer, states))


def _dense(made: _Builder, weights: Weights, name: str, states: str) -> str:
    return made.linear(name, weights[f"{name}.weight"].T, weights[f"{name}.bias"], states)


def _attention(made: _Builder, weights: Weights, prefix: str, states: str, bias: str) -> str:
    """Self-attention (Vaswani et al., 2017): one product makes queries, keys and values."""
    parts = [("query", _OF_A_HEAD**-0.5), ("key", 1.0), ("value", 1.0)]
    matrix = np.concatenate(
        [weights[f"{prefix}{name}.weight"].T * np.float32(by) for name, by in parts], axis=1
    )
    added = np.concatenate([weights[f"{prefix}{name}.bias"] * np.float32(by) for name, by in parts])
    joined = made.linear(f"{prefix}all", matrix, added, states)
    query, key, value = made.several(3, "Split", joined, axis=-1, num_outputs=3)
    apart = made.axes(0, 0, _HEADS, _OF_A_HEAD)
    query, value = (
        made.node("Transpose", made.node("Reshape", it, apart), perm=[0, 2, 1, 3])
        for it in (query, value)
    )
    key = made.node("Transpose", made.node("Reshape", key, apart), perm=[0, 2, 3, 1])
    scores = made.node("Add", made.node("MatMul", query, key), bias)
    mixed = made.node("MatMul", made.node("Softmax", scores, axis=-1), value)
    mixed = made.node("Transpose", mixed, perm=[0, 2, 1, 3])
    return made.node("Reshape", mixed, made.axes(0, 0, _WIDTH))


def _pooled(made: _Builder, states: str, mask: str) -> str:
    """The mean over tokens that are no padding, at length 1."""
    column = made.node("Unsqueeze", mask, made.axes(2))
    total = made.node("ReduceSum", made.node("Mul", states, column), made.axes(1), keepdims=0)
    mean = made.node("Div", total, made.node("ReduceSum", column, made.axes(1), keepdims=0))
    length = made.node("ReduceL2", mean, made.axes(1), keepdims=1)
    return made.node("Div", mean, length)


def _file(made: _Builder, result: str) -> bytes:
    made.nodes.append(helper.make_node("Identity", [result], ["vectors"]))
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    output = helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["batch", _WIDTH])
    graph = helper.make_graph(
        made.nodes, "all-MiniLM-L6-v2", inputs, [output], list(made.constants.values())
    )
    model: ModelProto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION
    )
    checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))
