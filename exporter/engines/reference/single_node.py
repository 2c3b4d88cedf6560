"""One node as a model of its own, in onnx's reference evaluator or in onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, TypeProto, helper, numpy_helper

from exporter.engines.ort_sessions import open_cpu_session, quiet_options
from exporter.engines.ort_values import run_session
from exporter.engines.reference.node import Node, NodeValues, UnsupportedError, normalize_domain
from exporter.onnx_io.cast import cast_node
from exporter.onnx_io.subgraphs import inner_graphs
from exporter.results import ReferencePrecision

MAX_INITIALIZER_BYTES = 1 << 20
"""Constant inputs up to this size become initialisers, as some kernels require; larger ones are fed."""
IR_VERSION = 10
NEWEST_IR_VERSION = 13
"""For element types that came after `IR_VERSION`."""

FLOAT_NAMES = ("float16", "bfloat16", "float32", "float64")
Run = Callable[[Mapping[str, Any]], list[Any]]


class OperatorTypes(NamedTuple):
    """An operator's definition: the opset it came with, and the types that each input may have."""

    since: int
    inputs: tuple[frozenset[str], ...]


class SingleNode:
    """A node in one engine; models are built for the dtypes and ranks that occur, and kept."""

    def __init__(self, node: Node, dtype: ReferencePrecision | None, build: Callable[[bytes], Run]) -> None:
        """Remember what to build.

        Args:
            node: the node.
            dtype: what floating-point inputs are cast to; None leaves them.
            build: makes a function that runs a serialized model.
        """
        self._node, self._build = node, build
        self._dtype: ReferencePrecision | None = dtype
        self._models: dict[str, Run] = {}

    def __call__(self, inputs: NodeValues) -> list[Any]:
        """Return the node's outputs; None where it names none.

        Raises:
            UnsupportedError: in float64, the operator's definition takes no float64.
            Exception: whatever the engine raises.
        """
        values = dict(zip((f"x{number}" for number in range(len(inputs))), inputs, strict=True))
        if self._dtype is not None:
            values = dict(zip(values, self._cast(inputs, self._dtype), strict=True))
        present = {name: value for name, value in values.items() if value is not None}
        constants = {
            name: present[name]
            for name, given in zip(values, self._node.proto.input, strict=True)
            if given in self._node.constants and name in present and _is_small(present[name])
        }
        types = {name: _find_type(value, self._dtype) for name, value in present.items()}
        signature = " ".join(f"{name} {kind.SerializeToString().hex()}" for name, kind in types.items())
        if signature not in self._models:
            self._models[signature] = self._build(self._model(types, constants).SerializeToString())
        fed = {name: value for name, value in present.items() if name not in constants}
        outputs = iter(self._models[signature](fed))
        return [next(outputs) if name else None for name in self._node.proto.output]

    def _model(self, types: Mapping[str, TypeProto], constants: Mapping[str, Any]) -> onnx.ModelProto:
        proto = onnx.NodeProto()
        proto.CopyFrom(self._node.proto)
        proto.input[:] = [name if (name := f"x{number}") in types else "" for number in range(len(proto.input))]
        outputs = [f"y{number}" if name else "" for number, name in enumerate(proto.output)]
        proto.output[:] = outputs
        if self._dtype is not None:
            cast_node(proto, self._dtype)
        graph = helper.make_graph(
            [proto],
            "node",
            [helper.make_value_info(name, kind) for name, kind in types.items() if name not in constants],
            [onnx.ValueInfoProto(name=name) for name in outputs if name],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        )
        domain, _ = self._node.key
        imports = self._node.opsets if any(inner_graphs([proto])) else {domain: self._node.opset}
        opsets = [helper.make_opsetid(domain, version) for domain, version in imports.items()]
        newer = any(kind.tensor_type.elem_type > TensorProto.FLOAT8E5M2FNUZ for kind in types.values())
        return helper.make_model(graph, opset_imports=opsets, ir_version=NEWEST_IR_VERSION if newer else IR_VERSION)

    def _cast(self, inputs: NodeValues, dtype: ReferencePrecision) -> list[Any]:
        """Cast floating-point inputs; those that the operator takes in float32 only stay so in float64."""
        if dtype == "float32":
            return [with_float_dtype(value, np.dtype(np.float32)) for value in inputs]
        allowed = _allowed_types(self._node)
        cast: list[Any] = []
        for number, value in enumerate(inputs):
            types = allowed[min(number, len(allowed) - 1)] if allowed else frozenset({"double"})
            narrow = _is_float64(value) and not any("double" in name for name in types)
            cast.append(with_float_dtype(value, np.dtype(np.float32)) if narrow else value)
        if any(map(_is_float64, inputs)) and not any(map(_is_float64, cast)):
            raise UnsupportedError("the operator takes no float64")
        return cast


def in_onnx(node: Node) -> SingleNode:
    """Return the node in onnx's reference evaluator, in the dtypes that its inputs have."""
    return SingleNode(node, None, _build_onnx)


def in_onnxruntime(node: Node, dtype: ReferencePrecision) -> SingleNode:
    """Return the node in onnxruntime on the CPU, without graph optimisations."""
    return SingleNode(node, dtype, _build_onnxruntime)


@cache
def onnxruntime_operators() -> Mapping[tuple[str, str], tuple[OperatorTypes, ...]]:
    """Return {(domain, operator): its definitions in onnxruntime, oldest first}, contributed operators included."""
    state: Any = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    found: dict[tuple[str, str], list[OperatorTypes]] = {}
    for schema in state.get_all_operator_schema():
        types = {item.type_param_str: frozenset(item.allowed_type_strs) for item in schema.type_constraints}
        inputs = tuple(types.get(item.typeStr, frozenset({item.typeStr})) for item in schema.inputs)
        key = normalize_domain(schema.domain), schema.name
        found.setdefault(key, []).append(OperatorTypes(schema.since_version, inputs))
    return {key: tuple(sorted(definitions)) for key, definitions in found.items()}


def _build_onnx(model: bytes) -> Run:
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(onnx.ModelProto.FromString(model))

    def run(feeds: Mapping[str, Any]) -> list[Any]:
        return list(evaluator.run(None, dict(feeds)))

    return run


def _build_onnxruntime(model: bytes) -> Run:
    session = open_cpu_session(model, quiet_options(optimize=False))
    names = [node.name for node in session.get_outputs()]
    return lambda feeds: run_session(session, names, feeds)


def _allowed_types(node: Node) -> tuple[frozenset[str], ...]:
    """Return the types that each input of a node's operator may have; empty where onnxruntime has no such operator."""
    definitions = onnxruntime_operators().get(node.key, ())
    return next((item.inputs for item in reversed(definitions) if item.since <= node.opset), ())


def _find_type(value: Any, dtype: ReferencePrecision | None) -> TypeProto:
    """Return a value's ONNX type, with its rank; an empty sequence is taken for one of floating-point tensors.

    Raises:
        UnsupportedError: it is neither a tensor nor a sequence of tensors.
    """
    if isinstance(value, list):
        first = value[0] if value else np.empty(0, dtype or np.float32)
        return helper.make_sequence_type_proto(helper.make_tensor_type_proto(_element_type(first), None))
    return helper.make_tensor_type_proto(_element_type(value), [None] * value.ndim)


def _element_type(value: Any) -> int:
    if not isinstance(value, np.ndarray):
        raise UnsupportedError(f"a value of type {type(value).__name__}")
    if value.dtype.kind in "OUS":
        return TensorProto.STRING
    return helper.np_dtype_to_tensor_dtype(value.dtype)


def _is_small(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.nbytes <= MAX_INITIALIZER_BYTES


def _is_float64(value: Any) -> bool:
    first = value[0] if isinstance(value, list) and value else value
    return isinstance(first, np.ndarray) and first.dtype == np.float64


def with_float_dtype(value: Any, dtype: np.dtype[Any]) -> Any:
    """Cast a value to `dtype` where it holds floating-point numbers of 16 bits or more, sequences item by item."""
    if isinstance(value, list):
        return [with_float_dtype(item, dtype) for item in value]
    if isinstance(value, np.ndarray) and value.dtype.name in FLOAT_NAMES:
        return value.astype(dtype, copy=False)
    return value
