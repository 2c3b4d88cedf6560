"""The network itself in torch: eager, or compiled by inductor with frozen weights. Needs this project's `models`."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def library() -> str:
    """Import torch."""
    import torch

    return f"torch {torch.__version__}"


def load(job: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], list[Any]]:
    """Build the network that `network` describes around the weights in `path`; compile it where `compile` says so.

    inductor compiles at the first call of each batch size.
    """
    import torch

    if job["root"] not in sys.path:
        sys.path.append(job["root"])
    from models.builder import skeleton

    device = job["device"]
    if device == "cuda" and not torch.cuda.is_available():
        raise ImportError("the installed torch cannot use CUDA here; it takes a CUDA build and an NVIDIA driver")
    compiler = os.environ.get("CXX", "g++")
    if job["compile"] and device == "cpu" and shutil.which(compiler) is None:
        raise ImportError(f"inductor needs a C++ compiler, and there is no {compiler}; apt-get install g++")
    torch.set_num_threads(job["threads"])
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    model = skeleton(job["architecture"], job["settings"])
    model.network.load_state_dict(torch.load(job["path"], weights_only=True), assign=True)
    module: Any = (model.forward_all or model.network).eval().requires_grad_(requires_grad=False).to(device)
    if job["compile"]:
        import torch._inductor.config as inductor

        inductor.freezing = True
        module = torch.compile(module, dynamic=False)
    indices = [[output.name for output in model.outputs].index(name) for name in job["outputs"]]

    def call(feeds: Mapping[str, Any]) -> list[Any]:
        (clips,) = feeds.values()
        with torch.no_grad():
            returned = module(torch.from_numpy(clips).to(device))
            if device == "cuda":
                torch.cuda.synchronize()
            outputs = returned if isinstance(returned, tuple) else (returned,)
            return [outputs[index].cpu().numpy() for index in indices]

    return call
