"""How fast is C3D on an NVIDIA GPU: this project's ONNX files in onnxruntime against torch, float32 and float16?

    python benchmarks/gpu_speed.py                 batches 1, 8 and 32
    python benchmarks/gpu_speed.py --batches 1,16 --rounds 50

Inputs and outputs stay on the GPU; a time is that of one call with the device synchronised before and after it. All
ways run in one process, in interleaved rounds and a random order within each; TF32 is off except where a row says so.
The decibels are the signal-to-noise ratio of the logits on one random clip, relative to the network in float64.

Needs onnxruntime-gpu and a CUDA build of torch. Weights are random: no figure here is about accuracy on videos.
"""

import argparse
import contextlib
import io
import random
import tempfile
import warnings
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import onnxruntime
import torch
from measure import machine

from exporter.engines.onnxruntime import FLOAT16_CUDA_OPTIONS
from exporter.formats.held_out import snr_db
from exporter.requests import ExportRequest
from exporter.system import environment
from exporter.types import ComputePrecision, OptimizeOptions, ParityOptions, PrecisionOptions, Target
from exporter.workflows.export import export
from models.builder import build
from models.built_model import BuiltModel

WARM_UP, SHAPE = 5, (3, 16, 112, 112)
PRECISIONS: tuple[ComputePrecision, ...] = ("fp32", "fp16")
TARGETS: tuple[Target, ...] = ("portable", "cuda")
CUDA_GRAPH = {"enable_cuda_graph": "1"}
Call = Callable[[], torch.Tensor]


def torch_calls(model: BuiltModel, clips: torch.Tensor) -> Iterator[tuple[str, Call]]:
    """Yield each way to run the network in torch on clips (N, C, T, H, W) that are on the GPU."""
    float32 = model.network.cuda()
    yield "torch eager fp32", lambda: float32(clips)
    yield "torch eager fp32, TF32 on", lambda: with_tf32(lambda: float32(clips))
    yield "torch CUDA graph fp32", captured(float32, clips)
    yield "torch compiled fp32", compiled(float32, clips)
    half = build().network.cuda().half()
    half_clips = clips.half()
    yield "torch eager fp16", lambda: half(half_clips)
    last = build().network.cuda().half().to(memory_format=torch.channels_last_3d)  # pyright: ignore[reportCallIssue]
    last_clips = half_clips.to(memory_format=torch.channels_last_3d)
    yield "torch eager fp16, channels last", lambda: last(last_clips)
    yield "torch CUDA graph fp16, channels last", captured(last, last_clips)
    yield "torch compiled fp16, channels last", compiled(last, last_clips)


def with_tf32(call: Call) -> torch.Tensor:
    """Call with TF32 in convolutions and matrix products."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    try:
        return call()
    finally:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def compiled(network: torch.nn.Module, clips: torch.Tensor) -> Call:
    """Return the network compiled by inductor, replayed as a CUDA graph."""
    run: Any = torch.compile(network, mode="reduce-overhead", dynamic=False)
    return lambda: run(clips)


def captured(network: torch.nn.Module, clips: torch.Tensor) -> Call:
    """Return the network recorded as a CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            network(clips)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = network(clips)

    def call() -> torch.Tensor:
        graph.replay()
        return output

    return call


def onnx_call(path: Path, clips: torch.Tensor, cuda_options: dict[str, str]) -> Call:
    """Return a call of an ONNX file in onnxruntime's CUDA provider, with input and output in torch's GPU memory."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    with contextlib.redirect_stdout(io.StringIO()):
        onnxruntime.preload_dlls()
    providers = [("CUDAExecutionProvider", {"use_tf32": "0", **cuda_options})]
    session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    if session.get_providers()[0] != "CUDAExecutionProvider":
        raise SystemExit("onnxruntime cannot start its CUDA provider here")
    (given,), (returned,) = session.get_inputs(), session.get_outputs()
    output = torch.empty(len(clips), returned.shape[1], device="cuda")
    binding = session.io_binding()
    binding.bind_input(given.name, "cuda", 0, np.float32, tuple(clips.shape), clips.data_ptr())
    binding.bind_output(returned.name, "cuda", 0, np.float32, tuple(output.shape), output.data_ptr())

    def call() -> torch.Tensor:
        session.run_with_iobinding(binding)
        return output

    return call


def onnx_files(folder: Path) -> dict[str, Path]:
    """Export the network to ONNX in float32 and float16 for each target of a GPU, verified there: {options: file}."""
    files: dict[str, Path] = {}
    parity = ParityOptions(device="cuda", input_types=("random",))
    for precision, target in product(PRECISIONS, TARGETS):
        name = f"{precision} {target}"
        request = ExportRequest(
            ("onnx",),
            output_dir=folder / name,
            optimize=OptimizeOptions(target),
            precision=PrecisionOptions(precision),
            parity=parity,
        )
        files[name] = export(request).artifacts[0].path
    return files


def draw(batch: int) -> torch.Tensor:
    """Return random clips; the first is the same in every batch."""
    return torch.cat([torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(1 + i)) for i in range(batch)])


def measure(calls: dict[str, Call], rounds: int) -> dict[str, float]:
    """Return the median milliseconds of each call over interleaved rounds."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    with torch.inference_mode():
        for call in calls.values():
            for _ in range(WARM_UP):
                call()
        names = [*calls]
        order = random.Random(0)
        for _ in range(rounds):
            order.shuffle(names)
            for name in names:
                torch.cuda.synchronize()
                start = perf_counter()
                calls[name]()
                torch.cuda.synchronize()
                times[name].append(1e3 * (perf_counter() - start))
    return {name: median(values) for name, values in times.items()}


def main() -> None:
    """Measure at each batch size and print a table."""
    parser = argparse.ArgumentParser(description="C3D on an NVIDIA GPU, onnxruntime against torch")
    parser.add_argument("--batches", default="1,8,32", help="batch sizes, separated by commas")
    parser.add_argument("--rounds", type=int, default=30, help="interleaved rounds")
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile, which takes minutes")
    arguments = parser.parse_args()
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    onnxruntime.set_default_logger_severity(4)  # cuDNN refuses fused convolutions of float16, and others are taken
    warnings.simplefilter("ignore")
    print(f"{torch.cuda.get_device_name()}, {machine()}")
    print(", ".join(f"{name} {value}" for name, value in environment().items()), flush=True)
    with tempfile.TemporaryDirectory() as temporary, torch.inference_mode():
        files = onnx_files(Path(temporary))
        model = build()
        exact = build().network.double()(draw(1).double()).numpy()
        for batch in map(int, arguments.batches.split(",")):
            clips = draw(batch).cuda()
            calls = {
                name: call
                for name, call in torch_calls(model, clips)
                if not (arguments.no_compile and "compiled" in name)
            }
            for name, path in files.items():
                options = FLOAT16_CUDA_OPTIONS if name.startswith("fp16") else {}
                calls[f"onnxruntime {name}"] = onnx_call(path, clips, options)
                calls[f"onnxruntime {name}, CUDA graph"] = onnx_call(path, clips, {**options, **CUDA_GRAPH})
            calls["onnxruntime fp16 portable, its default options"] = onnx_call(files["fp16 portable"], clips, {})
            times = measure(calls, arguments.rounds)
            print(f"\nbatch {batch}, {arguments.rounds} rounds\n| | ms | clips/s | dB |\n|---|---:|---:|---:|")
            for name, milliseconds in sorted(times.items(), key=lambda item: item[1]):
                found = calls[name]()[:1].float().cpu().numpy()
                rate, decibels = 1e3 * batch / milliseconds, snr_db(found, exact)
                print(f"| {name} | {milliseconds:.2f} | {rate:.0f} | {decibels:.1f} |", flush=True)


if __name__ == "__main__":
    main()
