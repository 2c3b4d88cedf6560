"""Ways to store a weight in fewer bits, and what each costs in onnxruntime.

    python benchmarks/weight_storage.py                  fc6 in every form
    python benchmarks/weight_storage.py A.onnx B.onnx    whole models, against the first

All forms run in turn, a round after another; the figures are medians.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

INPUTS, OUTPUTS = 8192, 4096
ROUNDS = 9
Arrays = dict[str, NDArray[Any]]


def model(nodes: list[NodeProto], weights: Arrays) -> bytes:
    """Return a model of x (n, 8192) and y (n, 4096)."""
    ports = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", INPUTS]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", OUTPUTS]),
    ]
    held = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    graph = helper.make_graph(nodes, "fc6", ports[:1], ports[1:], held)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


def forms(weight: NDArray[np.float32]) -> dict[str, bytes]:
    """Return fc6 (out, in) stored in each way."""
    node = helper.make_node
    gemm = node("Gemm", ["x", "f"], ["y"], transB=1)
    made = {
        "float32, Gemm": model([node("Gemm", ["x", "w"], ["y"], transB=1)], {"w": weight}),
        "float16, Cast, Gemm": model([node("Cast", ["w"], ["f"], to=1), gemm], {"w": weight.astype(np.float16)}),
    }
    for block in (32, 128):
        blocks = weight.reshape(OUTPUTS, -1, block)
        scale = (np.abs(blocks).max(2) / 127).astype(np.float32)  # (out, in / block)
        whole = np.rint(blocks / scale[..., None]).astype(np.int8)  # (out, in / block, block)
        flat, across = whole.reshape(OUTPUTS, INPUTS), np.ascontiguousarray(whole.reshape(OUTPUTS, INPUTS).T)
        made[f"int8, blocks of {block}, DequantizeLinear, MatMul"] = model(
            [
                node("DequantizeLinear", ["w", "s"], ["f"], axis=0, block_size=block),
                node("MatMul", ["x", "f"], ["y"]),
            ],
            {"w": across, "s": np.ascontiguousarray(scale.T)},
        )
        made[f"int8, blocks of {block}, DequantizeLinear, Gemm transB"] = model(
            [node("DequantizeLinear", ["w", "s"], ["f"], axis=1, block_size=block), gemm], {"w": flat, "s": scale}
        )
        made[f"int8, blocks of {block}, Cast, Mul, Gemm"] = model(
            [
                node("Cast", ["w"], ["c"], to=1),
                node("Mul", ["c", "s"], ["m"]),
                node("Reshape", ["m", "shape"], ["f"]),
                gemm,
            ],
            {"w": whole, "s": scale[..., None], "shape": np.array([OUTPUTS, INPUTS])},
        )
        for level, name in ((0, "float32 arithmetic"), (4, "int8 arithmetic")):
            options: dict[str, Any] = {
                "K": INPUTS,
                "N": OUTPUTS,
                "bits": 8,
                "block_size": block,
                "accuracy_level": level,
            }
            made[f"MatMulNBits, blocks of {block}, {name}"] = model(
                [node("MatMulNBits", ["x", "w", "s"], ["y"], domain="com.microsoft", **options)],
                {"w": (whole.astype(np.int16) + 128).astype(np.uint8), "s": scale.reshape(-1)},
            )
    return made


def interleaved(runs: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Return the median milliseconds of each, measured in interleaved rounds."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            start = perf_counter()
            run()
            times[name].append(perf_counter() - start)
    return {name: 1e3 * median(taken[1:]) for name, taken in times.items()}


def opened(content: bytes | str) -> tuple[Any, float]:
    """Return a session and the seconds that opening it took."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    start = perf_counter()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session, perf_counter() - start


def layers() -> None:
    """Print the table of one layer."""
    generator = np.random.default_rng(0)
    weight = (generator.standard_normal((OUTPUTS, INPUTS)) * 0.02).astype(np.float32)
    made = forms(weight)
    sessions = {name: opened(content) for name, content in made.items()}
    for batch in (1, 4):
        x = generator.standard_normal((batch, INPUTS)).astype(np.float32)
        golden = x.astype(np.float64) @ weight.T.astype(np.float64)
        times = interleaved({name: (lambda s=s, x=x: s.run(None, {"x": x})) for name, (s, _) in sessions.items()})
        print(f"batch {batch}")
        for name, (session, load) in sessions.items():
            error = np.sqrt(np.mean((session.run(None, {"x": x})[0] - golden) ** 2) / np.mean(golden**2))
            size = len(made[name]) / 1e6
            print(f"  {name:52s} {times[name]:6.1f} ms  load {load:.2f} s  {size:4.0f} MB  error {error:.0e}")


def models(paths: list[Path]) -> None:
    """Print the table of whole models; the first one is the baseline."""
    sessions = {path: opened(str(path)) for path in paths}
    shape = [size if isinstance(size, int) else 1 for size in sessions[paths[0]][0].get_inputs()[0].shape]
    feed = {
        sessions[paths[0]][0].get_inputs()[0].name: np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    }
    outputs = {path: session.run(None, feed)[0].astype(np.float64) for path, (session, _) in sessions.items()}
    times = interleaved({str(path): (lambda s=s: s.run(None, feed)) for path, (s, _) in sessions.items()})
    for path, (_, load) in sessions.items():
        noise = np.linalg.norm(outputs[path] - outputs[paths[0]])
        ratio = 20 * np.log10(np.linalg.norm(outputs[paths[0]]) / noise) if noise else np.inf
        size = path.stat().st_size / 1e6
        print(f"{path.name:20s} {times[str(path)]:6.1f} ms  load {load:.2f} s  {size:5.0f} MB  {ratio:.0f} dB")


if __name__ == "__main__":
    named = [Path(argument) for argument in sys.argv[1:]]
    models(named) if named else layers()
