"""TorchScript archives in torch, on the CPU or CUDA. Loading one runs its code."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def library() -> str:
    """Import torch."""
    import torch

    return f"TorchScript in torch {torch.__version__}"


def load(job: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], list[Any]]:
    """Load the archive, through `optimize_for_inference` where `optimise` says that it is meant to be."""
    import torch

    device = job["device"]
    if device == "cuda" and not torch.cuda.is_available():
        raise ImportError("the installed torch cannot use CUDA here; it takes a CUDA build and an NVIDIA driver")
    torch.set_num_threads(job["threads"])
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module: Any = torch.jit.load(job["path"], map_location=device).eval()
        if job.get("optimise") and device == "cpu":
            module = torch.jit.optimize_for_inference(module)

    def call(feeds: Mapping[str, Any]) -> list[Any]:
        with torch.inference_mode():
            answer = module(*(torch.from_numpy(value).to(device) for value in feeds.values()))
            values = answer if isinstance(answer, tuple) else (answer,)
            if device == "cuda":
                torch.cuda.synchronize()
            return [value.cpu().numpy() for value in values]

    return call
