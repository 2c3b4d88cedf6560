"""The network itself in PyTorch eager: float32, float64 (the truth), on the CPU or CUDA."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import torch
from torch import nn

from exporter.engines.base import RuntimeOptions, Tensors
from exporter.engines.torchscript import disable_tf32, require_device, thread_count
from exporter.results import Placement, Precision
from exporter.types import INPUT_NAME, Signature, c3d_signature
from models.c3d import C3D
from models.config import OUTPUTS, Output

if TYPE_CHECKING:
    from numpy.typing import NDArray

Dtype = Literal["float32", "float64"]


class PyTorchRuntime:
    """A built network. It is converted in place on entry, because two copies would cost 0.9 GB.

    float32 weights survive the way to float64 and back exactly.
    """

    def __init__(self, network: C3D, dtype: Dtype, settings: RuntimeOptions) -> None:
        self.network, self.dtype, self.settings = network, dtype, settings

    @property
    def title(self) -> str:
        """Return `PyTorch 2.13.0 float32 (cpu)`."""
        return f"PyTorch {torch.__version__} {self.dtype} ({self.settings.device})"

    @property
    def signature(self) -> Signature:
        """Return every output the network can give, the batch free."""
        classes = self.network.config.num_classes
        names: tuple[Output, ...] = OUTPUTS if classes else ("fc6", "fc7")
        return c3d_signature(names, classes, None)

    @property
    def precision(self) -> Precision:
        """Return the precision it is run in."""
        return "float64" if self.dtype == "float64" else "float32"

    @property
    def placement(self) -> Placement:
        """Return the module count; torch runs every one of them on the device or fails."""
        leaves = [module for module in self.network.modules() if not [*module.children()]]
        return Placement(self.settings.device, len(leaves))

    def __enter__(self) -> Self:
        """Move the network to its dtype and device; raises as `Runtime.__enter__` says."""
        require_device(self.settings.device)
        self.network.to(device=self.settings.device, dtype=getattr(torch, self.dtype))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Bring the network back to the CPU."""
        self.network.to(device="cpu")

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Run one batch; with `expose`, the answers are those of every layer."""
        first = next(self.network.parameters())
        clips = torch.from_numpy(feeds[INPUT_NAME]).to(device=first.device, dtype=first.dtype)
        layers: dict[str, torch.Tensor] = {}
        hooks = _register_hooks(self.network, layers) if self.settings.all_outputs else []
        try:
            with torch.inference_mode(), disable_tf32(), thread_count(self.settings.threads):
                fc6, fc7, logits = self.network.forward_features(clips)
        finally:
            for remove in hooks:
                remove()
        if self.settings.all_outputs:
            return {name: value.cpu().numpy() for name, value in layers.items()}
        answers = {"logits": logits, "fc6": fc6, "fc7": fc7, "probabilities": torch.softmax(logits, dim=1)}
        return {output.name: answers[output.name].cpu().numpy() for output in self.signature.outputs}


def _register_hooks(network: C3D, layers: dict[str, torch.Tensor]) -> list[Callable[[], None]]:
    """Collect each layer's output under its name: conv1, conv1.relu, pool1, … as exported graphs name theirs.

    A BatchNorm's output takes its convolution's name, because it is folded into it on export.
    """

    def hook(name: str) -> Callable[[nn.Module, Any, torch.Tensor], None]:
        def heard(module: nn.Module, _arguments: Any, output: torch.Tensor) -> None:
            if isinstance(module, nn.Identity | nn.Dropout):
                return
            if isinstance(module, nn.ReLU):
                layers[f"{next(reversed(layers))}.relu"] = output
            elif isinstance(module, nn.BatchNorm3d):
                layers[next(reversed(layers))] = output
            else:
                layers[name] = output

        return heard

    handles = [
        module.register_forward_hook(hook(name)) for name, module in network.named_modules() if not [*module.children()]
    ]
    return [handle.remove for handle in handles]
