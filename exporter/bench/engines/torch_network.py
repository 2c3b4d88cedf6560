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
    from models.c3d import C3D

    device, config = job["device"], job["network"]
    if device == "cuda" and not torch.cuda.is_available():
        raise ImportError("the installed torch cannot use CUDA here; it takes a CUDA build and an NVIDIA driver")
    compiler = os.environ.get("CXX", "g++")
    if job["compile"] and device == "cpu" and shutil.which(compiler) is None:
        raise ImportError(f"inductor needs a C++ compiler, and there is no {compiler}; apt-get install g++")
    torch.set_num_threads(job["threads"])
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    with torch.device("meta"):
        network = C3D(config["num_classes"], batch_norm=config["batch_norm"], pool5=config["pool5"])
    network.load_state_dict(torch.load(job["path"], weights_only=True), assign=True)
    network = network.eval().requires_grad_(requires_grad=False).to(device)
    stages: Any = network.forward_features
    if job["compile"]:
        import torch._inductor.config as inductor

        inductor.freezing = True
        stages = torch.compile(network.forward_features, dynamic=False)

    def call(feeds: Mapping[str, Any]) -> list[Any]:
        (clips,) = feeds.values()
        with torch.no_grad():
            fc6, fc7, logits = stages(torch.from_numpy(clips).to(device))
            answers = {"fc6": fc6, "fc7": fc7, "logits": logits}
            if "probabilities" in job["outputs"]:
                answers["probabilities"] = torch.softmax(logits, dim=1)
            if device == "cuda":
                torch.cuda.synchronize()
            return [answers[name].cpu().numpy() for name in job["outputs"]]

    return call
