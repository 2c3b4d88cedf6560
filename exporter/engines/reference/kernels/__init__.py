"""The operators that this package computes itself, and those for which onnx's reference evaluator is not used first."""

from collections.abc import Callable

from onnx import TensorProto

from exporter.engines.reference.kernels import (
    contributed,
    control_flow,
    convolution,
    elementwise,
    normalization,
    pooling,
    quantization,
    resize,
)
from exporter.engines.reference.kernels.types import ControlFlow, Kernel
from exporter.engines.reference.node import Node

KERNELS: dict[tuple[str, str], Kernel] = {
    ("", "AveragePool"): pooling.average_pool,
    ("", "BatchNormalization"): normalization.batch_normalization,
    ("", "BitCast"): elementwise.bit_cast,
    ("", "Conv"): convolution.conv,
    ("", "ConvTranspose"): convolution.conv_transpose,
    ("", "DequantizeLinear"): quantization.dequantize_linear,
    ("", "DynamicQuantizeLinear"): quantization.dynamic_quantize_linear,
    ("", "Erf"): elementwise.erf,
    ("", "Gelu"): elementwise.gelu,
    ("", "GlobalAveragePool"): pooling.global_average_pool,
    ("", "GlobalMaxPool"): pooling.global_max_pool,
    ("", "GroupNormalization"): normalization.group_normalization,
    ("", "Hardmax"): elementwise.hardmax,
    ("", "InstanceNormalization"): normalization.instance_normalization,
    ("", "LayerNormalization"): normalization.layer_normalization,
    ("", "LogSoftmax"): elementwise.log_softmax,
    ("", "LRN"): normalization.local_response_normalization,
    ("", "LeakyRelu"): elementwise.leaky_relu,
    ("", "LpNormalization"): normalization.lp_normalization,
    ("", "LpPool"): pooling.lp_pool,
    ("", "MaxPool"): pooling.max_pool,
    ("", "MeanVarianceNormalization"): normalization.mean_variance_normalization,
    ("", "Optional"): elementwise.optional,
    ("", "OptionalGetElement"): elementwise.get_element,
    ("", "OptionalHasElement"): elementwise.has_element,
    ("", "PRelu"): elementwise.parametric_relu,
    ("", "QLinearConv"): quantization.qlinear_conv,
    ("", "QuantizeLinear"): quantization.quantize_linear,
    ("", "Relu"): elementwise.relu,
    ("", "Resize"): resize.resize,
    ("", "Sigmoid"): elementwise.sigmoid,
    ("", "Softmax"): elementwise.softmax,
    ("", "Upsample"): resize.upsample,
    ("com.microsoft", "BiasGelu"): contributed.bias_gelu,
    ("com.microsoft", "FastGelu"): contributed.fast_gelu,
    ("com.microsoft", "FusedConv"): contributed.fused_conv,
    ("com.microsoft", "Gelu"): elementwise.gelu,
    ("com.microsoft", "NhwcMaxPool"): quantization.nhwc_max_pool,
    ("com.microsoft", "QLinearConv"): quantization.qlinear_conv,
    ("com.microsoft", "SkipLayerNormalization"): contributed.skip_layer_normalization,
    ("com.microsoft", "SkipSimplifiedLayerNormalization"): contributed.skip_rms_normalization,
}
"""{(domain, operator): kernel}. Each raises `UnsupportedError` for forms of its operator that it does not cover."""

CONTROL_FLOW: dict[tuple[str, str], ControlFlow] = {
    ("", "If"): control_flow.run_if,
    ("", "Loop"): control_flow.run_loop,
    ("", "Scan"): control_flow.run_scan,
}
"""{(domain, operator): kernel} of operators that run graphs."""


def _always(_node: Node) -> bool:
    return True


def _is_special_recurrence(node: Node) -> bool:
    """Return whether a recurrent node has the input or one of the attributes that the evaluator ignores."""
    lengths = len(node.proto.input) > SEQUENCE_LENGTHS and bool(node.proto.input[SEQUENCE_LENGTHS])
    usual = ACTIVATIONS[node.proto.op_type]
    others = any(
        name.lower() != usual[number % len(usual)] for number, name in enumerate(node.attributes.get("activations", ()))
    )
    return lengths or others or any(node.attributes.get(name) for name in ("clip", "input_forget"))


def _has_narrow_target(node: Node) -> bool:
    """Return whether a Cast returns a type that onnxruntime rounds to, and the evaluator truncates or saturates to."""
    return node.attributes.get("to") in NARROW_TYPES


def _takes_several_axes(node: Node) -> bool:
    """Return whether a softmax is of an opset in which it takes several axes together."""
    return node.opset < elementwise.ALONG_ONE_AXIS


NARROW_TYPES = (
    TensorProto.INT4,
    TensorProto.UINT4,
    TensorProto.INT2,
    TensorProto.UINT2,
    TensorProto.FLOAT8E8M0,
)
"""Types of few bits for which the specification leaves part of a cast from floats open."""
SEQUENCE_LENGTHS = 4
"""The number of that input."""
ACTIVATIONS = {"LSTM": ("sigmoid", "tanh", "tanh"), "GRU": ("sigmoid", "tanh"), "RNN": ("tanh",)}
"""{recurrent operator: its activations where it names none}."""

DISTRUSTED: dict[tuple[str, str], Callable[[Node], bool]] = {
    ("", "AveragePool"): _always,  # with ceil_mode and with dilations
    ("", "BatchNormalization"): _always,  # takes the batch's statistics in opsets 6 to 13
    ("", "Cast"): _has_narrow_target,
    ("", "CastLike"): _always,  # its target is not known before it runs; it may be a narrow one
    ("", "ConvTranspose"): _always,  # fails on groups
    ("", "GlobalMaxPool"): _always,  # but on four axes
    ("", "LpNormalization"): _always,  # of order 1 without absolute values
    ("", "MaxPool"): _always,  # fails on several paddings
    ("", "GRU"): _is_special_recurrence,
    ("", "Hardmax"): _takes_several_axes,
    ("", "LogSoftmax"): _takes_several_axes,
    ("", "LSTM"): _is_special_recurrence,
    ("", "RNN"): _is_special_recurrence,
    ("", "Softmax"): _takes_several_axes,
}
"""Operators for which onnx's reference evaluator 1.23 is wrong, and when: it is tried last."""

SLOW: frozenset[tuple[str, str]] = frozenset(
    {("", "DeformConv"), ("", "GridSample"), ("", "NonMaxSuppression"), ("", "RoiAlign")}
)
"""Operators that it computes element by element in Python: onnxruntime in float64 is tried first."""
