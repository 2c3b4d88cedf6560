"""Operators without a kernel of this package, in the forms of old and new opsets, equal onnxruntime's.

onnx's evaluator has one form of most operators, and ignores some attributes. What it computes otherwise than engines
do would be a wrong reference.
"""

from typing import Any

import numpy as np
import pytest
from helpers.evaluated import assert_equal_to_onnxruntime
from onnx import helper

GENERATOR = np.random.default_rng(0)
Arrays = dict[str, Any]
Form = tuple[str, int, Arrays, Arrays, str]
"""Operator, opset, attributes, inputs, outputs."""


def normal(*shape: int) -> Any:
    return GENERATOR.standard_normal(shape).astype(np.float32)


def floats(*values: float) -> Any:
    return np.array(values, np.float32)


def numbers(*values: int) -> Any:
    return np.array(values, np.int64)


X = normal(2, 4, 6, 6)
ROUND, POSITIVE, PLANE, BYTES = np.round(X), np.abs(X), X[0, 0], GENERATOR.integers(0, 255, (3, 4)).astype(np.uint8)
HALF = {"kernel_shape": [2, 2], "strides": [2, 2]}
BOXES = {"x": X, "rois": np.array([[0, 0, 3.7, 4.2], [1, 1, 5, 5]], np.float32), "batch": numbers(0, 1)}
GRID = {"x": X, "grid": GENERATOR.uniform(-1.5, 1.5, (2, 3, 3, 2)).astype(np.float32)}
ALIGN = {"output_height": 2, "output_width": 2, "sampling_ratio": 2}
ONE_HOT = {"d": np.array(3), "v": floats(0, 1)}
TABLE = {"mode": "TF", "min_gram_length": 1, "max_gram_length": 1, "max_skip_count": 0}
WEIGHT = {"x": X, "w": normal(4, 3, 3, 3)}
ADDED = {"i": np.array([[0, 0]]), "u": np.array([[9, 8]], np.float32)}


def elementwise() -> list[Form]:
    unary = {
        **{"Elu": 7, "HardSigmoid": 7, "Selu": 6, "ThresholdedRelu": 10, "Shrink": 9, "Celu": 12, "HardSwish": 14},
        **{"Mish": 18, "Softsign": 7, "Sign": 9, "Asinh": 9, "Swish": 24, "Softplus": 7, "Round": 11},
    }
    forms: list[Form] = [(name, opset, {}, {"x": X * 3}, "y") for name, opset in unary.items()]
    return [
        *forms,
        ("Clip", 6, {}, {"x": X}, "y"),
        ("Clip", 7, {"min": -0.5}, {"x": X}, "y"),
        ("Clip", 11, {}, {"x": X, "low": np.float32(-0.5)}, "y"),
        ("Dropout", 7, {}, {"x": X}, "y"),
        ("Dropout", 10, {"ratio": 0.5}, {"x": X}, "y"),
        ("HardSigmoid", 7, {"alpha": 0.3, "beta": 0.4}, {"x": X}, "y"),
        ("Selu", 7, {"alpha": 1.5, "gamma": 1.2}, {"x": X}, "y"),
        ("Mean", 8, {}, {"x": X, "w": X[:1], "v": X[:, :1]}, "y"),
        ("Max", 8, {}, {"x": X, "w": X[:1]}, "y"),
        ("Pow", 12, {}, {"x": POSITIVE, "p": np.array(3)}, "y"),
        ("Mod", 10, {"fmod": 1}, {"x": X, "d": POSITIVE + np.float32(0.1)}, "y"),
        ("IsInf", 10, {"detect_negative": 0}, {"x": floats(1, np.inf, -np.inf)}, "y"),
        ("Where", 9, {}, {"c": X > 0, "x": X, "w": X[:1]}, "y"),
        ("QuantizeLinear", 10, {}, {"x": X, "s": np.float32(0.1), "z": np.uint8(7)}, "y"),
        ("DequantizeLinear", 10, {}, {"x": BYTES, "s": np.float32(0.1), "z": np.uint8(7)}, "y"),
    ]


def reductions() -> list[Form]:
    names = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
    forms: list[Form] = [
        (f"Reduce{name}", 11, attributes, {"x": POSITIVE}, "y")
        for name in names
        for attributes in ({}, {"axes": [1, 2], "keepdims": 0}, {"axes": [-1]})
    ]
    return [
        *forms,
        ("ArgMax", 7, {"axis": 1}, {"x": ROUND}, "y"),
        ("ArgMax", 12, {"axis": 1, "select_last_index": 1}, {"x": ROUND}, "y"),
        ("ArgMin", 11, {"axis": 1, "keepdims": 0}, {"x": ROUND}, "y"),
        ("TopK", 9, {"k": 2, "axis": -1}, {"x": X}, "y i"),
        ("TopK", 10, {"axis": 1}, {"x": X, "k": numbers(2)}, "y i"),
        ("TopK", 11, {"axis": 1, "largest": 0}, {"x": X, "k": numbers(2)}, "y i"),
        ("CumSum", 11, {"exclusive": 1, "reverse": 1}, {"x": X, "a": np.array(1)}, "y"),
        ("Unique", 11, {}, {"x": ROUND}, "y i v c"),
        ("Det", 11, {}, {"x": X}, "y"),
        ("NegativeLogLikelihoodLoss", 12, {"reduction": "sum"}, {"x": X[:, :, 0], "l": np.ones((2, 6), int)}, "y"),
        ("SoftmaxCrossEntropyLoss", 12, {"ignore_index": 0}, {"x": X[:, :, 0, 0], "l": numbers(0, 3)}, "y"),
    ]


def moves() -> list[Form]:
    pads, edges = [0, 0, 1, 1, 0, 0, 1, 1], numbers(0, 0, 1, 1, 0, 0, 1, 1)
    return [
        ("Flatten", 9, {"axis": 0}, {"x": X}, "y"),
        ("Flatten", 11, {"axis": -1}, {"x": X}, "y"),
        ("Squeeze", 11, {"axes": [0]}, {"x": X[:1]}, "y"),
        ("Squeeze", 11, {}, {"x": X[:1]}, "y"),
        ("Unsqueeze", 11, {"axes": [0]}, {"x": X}, "y"),
        ("Pad", 10, {"pads": pads, "mode": "reflect"}, {"x": X}, "y"),
        ("Pad", 7, {"pads": [0, 0, -1, 1, 0, 0, 1, -1], "value": 2.0}, {"x": X}, "y"),
        ("Pad", 11, {"mode": "edge"}, {"x": X, "p": edges}, "y"),
        ("Pad", 19, {"mode": "wrap"}, {"x": X, "p": edges}, "y"),
        ("Slice", 9, {"starts": [1], "ends": [3], "axes": [1]}, {"x": X}, "y"),
        ("Slice", 10, {}, {"x": X, "s": numbers(5), "e": numbers(-7), "a": numbers(2), "t": numbers(-2)}, "y"),
        ("Split", 11, {"axis": 1, "split": [1, 3]}, {"x": X}, "a b"),
        ("Split", 7, {"axis": 1}, {"x": X}, "a b"),
        ("Gather", 11, {"axis": 1}, {"x": X, "i": numbers(0, -1)}, "y"),
        ("GatherND", 11, {}, {"x": X, "i": np.array([[0, 1], [1, -1]])}, "y"),
        ("GatherND", 12, {"batch_dims": 1}, {"x": X, "i": np.array([[1], [2]])}, "y"),
        ("Scatter", 9, {"axis": 1}, {"x": PLANE, "i": np.array([[0, 1]]), "u": ADDED["u"]}, "y"),
        ("ScatterElements", 11, {"axis": 1}, {"x": PLANE, "i": np.array([[0, -1]]), "u": ADDED["u"]}, "y"),
        ("ScatterElements", 16, {"axis": 1, "reduction": "add"}, {"x": PLANE, **ADDED}, "y"),
        ("ScatterElements", 18, {"axis": 1, "reduction": "max"}, {"x": PLANE, **ADDED}, "y"),
        ("ScatterND", 16, {"reduction": "mul"}, {"x": PLANE, "i": np.array([[1], [1]]), "u": normal(2, 6)}, "y"),
        ("DepthToSpace", 7, {"blocksize": 2}, {"x": X}, "y"),
        ("DepthToSpace", 11, {"blocksize": 2, "mode": "CRD"}, {"x": X}, "y"),
        ("SpaceToDepth", 7, {"blocksize": 2}, {"x": X}, "y"),
        ("OneHot", 9, {"axis": -1}, {"i": numbers(0, 2, 1), **ONE_HOT}, "y"),
        ("OneHot", 11, {"axis": -1}, {"i": numbers(0, -2, 1), **ONE_HOT}, "y"),
        ("ReverseSequence", 10, {"batch_axis": 0, "time_axis": 1}, {"x": X[:, :, 0], "l": numbers(2, 3)}, "y"),
        ("Trilu", 14, {"upper": 0}, {"x": X, "k": np.array(1)}, "y"),
        ("Compress", 9, {"axis": 1}, {"x": X, "c": np.array([True, False, True])}, "y"),
        ("EyeLike", 9, {"k": 1}, {"x": PLANE}, "y"),
        ("CenterCropPad", 18, {"axes": [2, 3]}, {"x": X, "s": numbers(3, 9)}, "y"),
        ("Col2Im", 18, {}, {"x": normal(1, 8, 9), "i": numbers(4, 4), "b": numbers(2, 2)}, "y"),
        ("TfIdfVectorizer", 9, {**TABLE, "ngram_counts": [0], "ngram_indexes": [0, 1], "pool_int64s": [2, 3]}, {"x": numbers(2, 3, 3)}, "y"),
    ]  # fmt: skip


def windows() -> list[Form]:
    return [
        ("AveragePool", 7, {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": 1}, {"x": X}, "y"),
        ("AveragePool", 19, {**HALF, "dilations": [2, 2], "ceil_mode": 1}, {"x": X}, "y"),
        ("AveragePool", 11, {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]}, {"x": X}, "y"),
        ("MaxPool", 8, HALF, {"x": X}, "y i"),
        ("MaxPool", 11, {**HALF, "ceil_mode": 1, "storage_order": 1}, {"x": X}, "y i"),
        ("MaxPool", 11, {"kernel_shape": [3, 3], "auto_pad": "SAME_LOWER", "strides": [2, 2]}, {"x": X}, "y"),
        ("MaxUnpool", 11, HALF, {"x": normal(1, 1, 2, 2), "i": np.array([[[[0, 3], [10, 13]]]])}, "y"),
        ("GlobalLpPool", 7, {}, {"x": X}, "y"),
        ("LpPool", 11, {"kernel_shape": [2, 2], "auto_pad": "SAME_UPPER"}, {"x": X}, "y"),
        ("LpPool", 18, {"kernel_shape": [2, 2], "p": 1}, {"x": X}, "y"),
        ("RoiAlign", 10, ALIGN, BOXES, "y"),
        ("RoiAlign", 16, ALIGN, BOXES, "y"),
        ("GridSample", 16, {"mode": "bilinear"}, GRID, "y"),
        ("GridSample", 16, {"mode": "bicubic", "align_corners": 1}, GRID, "y"),
        ("GridSample", 16, {"mode": "nearest", "padding_mode": "border"}, GRID, "y"),
        ("GridSample", 20, {"mode": "cubic", "padding_mode": "reflection", "align_corners": 1}, GRID, "y"),
        ("Conv", 11, {"auto_pad": "SAME_LOWER", "strides": [2, 2]}, {"x": X, "w": normal(3, 4, 3, 3)}, "y"),
        ("ConvTranspose", 11, {"strides": [2, 2], "output_padding": [1, 1], "group": 2}, WEIGHT, "y"),
        ("ConvTranspose", 11, {"strides": [2, 2], "auto_pad": "SAME_UPPER"}, WEIGHT, "y"),
        ("ConvTranspose", 11, {"strides": [2, 2], "output_shape": [12, 13]}, WEIGHT, "y"),
        ("DFT", 17, {"axis": 1}, {"x": normal(1, 8, 3, 1)}, "y"),
        ("DFT", 17, {"axis": 2, "onesided": 1}, {"x": normal(1, 8, 6, 1)}, "y"),
        ("STFT", 17, {"onesided": 1}, {"x": normal(1, 32, 1), "s": np.array(4), "w": normal(16)}, "y"),
        ("BlackmanWindow", 17, {"periodic": 0}, {"n": np.array(8)}, "y"),
    ]


def products() -> list[Form]:
    forms: list[Form] = [
        ("Gemm", 7, {"alpha": 0.5, "beta": 2.0, "transA": 1}, {"x": PLANE, "w": X[0, 1], "c": X[0, 2, :1]}, "y"),
        ("Gemm", 9, {"transB": 1}, {"x": PLANE, "w": X[0, 1], "c": normal(6)}, "y"),
        ("Gemm", 11, {}, {"x": PLANE, "w": X[0, 1]}, "y"),
        ("MatMul", 9, {}, {"x": X, "w": PLANE}, "y"),
        ("Einsum", 12, {"equation": "nchw,ncdw->nhd"}, {"x": X, "w": X}, "y"),
        ("MatMulInteger", 10, {}, {"a": BYTES, "b": BYTES.T, "z": np.uint8(3)}, "y"),
        ("AffineGrid", 20, {"align_corners": 1}, {"x": normal(2, 2, 3), "s": numbers(2, 1, 3, 4)}, "y"),
    ]
    for name, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
        for attributes in ({}, {"direction": "reverse"}, {"direction": "bidirectional"}):
            both = 2 if attributes.get("direction") == "bidirectional" else 1
            sizes = {"x": (4, 2, 3), "w": (both, gates * 5, 3), "r": (both, gates * 5, 5), "b": (both, gates * 10)}
            feeds = {key: normal(*size) for key, size in sizes.items()}
            forms.append((name, 14, {**attributes, "hidden_size": 5}, feeds, "y h"))
    sizes = {"x": (4, 2, 3), "w": (1, 15, 3), "r": (1, 15, 5), "b": (1, 30)}
    feeds = {key: normal(*size) for key, size in sizes.items()}
    return [*forms, ("GRU", 14, {"hidden_size": 5, "linear_before_reset": 1}, feeds, "y h")]


FORMS = [*elementwise(), *reductions(), *moves(), *windows(), *products()]


@pytest.mark.heavy
@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form[0]}-{form[1]}")
def test_the_form_equals_onnxruntime_s(form: Form) -> None:
    operator, opset, attributes, given, outputs = form
    feeds = {name: np.asarray(value) for name, value in given.items()}
    node = helper.make_node(operator, [*feeds], outputs.split(), **attributes)
    assert_equal_to_onnxruntime(node, feeds, opset, error=2e-5, kernel=False)
