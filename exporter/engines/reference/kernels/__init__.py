"""The operators that this package computes itself, and those for which onnx's reference evaluator is not used first."""

from exporter.engines.reference.kernels import control_flow, convolution, normalization, optional, pooling
from exporter.engines.reference.kernels.types import ControlFlow, Kernel

KERNELS: dict[tuple[str, str], Kernel] = {
    ("", "AveragePool"): pooling.average_pool,
    ("", "BatchNormalization"): normalization.batch_normalization,
    ("", "Conv"): convolution.conv,
    ("", "ConvTranspose"): convolution.conv_transpose,
    ("", "GlobalAveragePool"): pooling.global_average_pool,
    ("", "GlobalMaxPool"): pooling.global_max_pool,
    ("", "GroupNormalization"): normalization.group_normalization,
    ("", "InstanceNormalization"): normalization.instance_normalization,
    ("", "LayerNormalization"): normalization.layer_normalization,
    ("", "LRN"): normalization.local_response_normalization,
    ("", "LpPool"): pooling.lp_pool,
    ("", "MaxPool"): pooling.max_pool,
    ("", "MeanVarianceNormalization"): normalization.mean_variance_normalization,
    ("", "Optional"): optional.optional,
    ("", "OptionalGetElement"): optional.get_element,
    ("", "OptionalHasElement"): optional.has_element,
}
"""{(domain, operator): kernel}. Each raises `UnsupportedError` for forms of its operator that it does not cover."""

CONTROL_FLOW: dict[tuple[str, str], ControlFlow] = {
    ("", "If"): control_flow.run_if,
    ("", "Loop"): control_flow.run_loop,
    ("", "Scan"): control_flow.run_scan,
}
"""{(domain, operator): kernel} of operators that run graphs."""

DISTRUSTED: frozenset[tuple[str, str]] = frozenset(
    {
        ("", "AveragePool"),  # wrong with ceil_mode and with dilations
        ("", "BatchNormalization"),  # takes the batch's statistics in opsets 6 to 13
        ("", "ConvTranspose"),  # fails on groups
        ("", "MaxPool"),  # fails on several paddings
    }
)
"""Operators for which onnx's reference evaluator 1.23 is wrong on some inputs: it is tried last."""

SLOW: frozenset[tuple[str, str]] = frozenset(
    {
        ("", "DeformConv"),
        ("", "GridSample"),
        ("", "NonMaxSuppression"),
        ("", "Resize"),
        ("", "RoiAlign"),
        ("", "Upsample"),
    }
)
"""Operators for which it takes Python's time for every element: onnxruntime in float64 is tried first."""
