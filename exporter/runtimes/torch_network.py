"""The network itself in PyTorch eager: float32, float64 (the truth), on the CPU or CUDA."""

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import torch
from torch import nn

from exporter.runtimes.base import Settings, Values
from exporter.runtimes.torchscript import float32_arithmetic, require_device, threads
from exporter.types import INPUT, Signature, c3d_signature
from exporter.verdicts import Arithmetic, Placement
from models.c3d import C3D
from models.spec import OUTPUTS, Output

if TYPE_CHECKING:
    from numpy.typing import NDArray

Precision = Literal["float32", "float64"]


class TorchNetwork:
    """A built network. It is converted in place on entry, because two copies would cost 0.9 GB.

    float32 weights survive the way to float64 and back exactly.
    """

    def __init__(self, network: C3D, precision: Precision, settings: Settings) -> None:
        self.network, self.precision, self.settings = network, precision, settings

    @property
    def title(self) -> str:
        """Return `PyTorch 2.13.0 float32 (cpu)`."""
        return f"PyTorch {torch.__version__} {self.precision} ({self.settings.device})"

    @property
    def signature(self) -> Signature:
        """Return every output the network can give, the batch free."""
        classes = self.network.config.num_classes
        names: tuple[Output, ...] = OUTPUTS if classes else ("fc6", "fc7")
        return c3d_signature(names, classes, None)

    @property
    def arithmetic(self) -> Arithmetic:
        """Return the precision it is run in."""
        return "float64" if self.precision == "float64" else "float32"

    @property
    def placement(self) -> Placement:
        """Return the module count; torch runs every one of them on the device or fails."""
        leaves = [module for module in self.network.modules() if not [*module.children()]]
        return Placement(self.settings.device, len(leaves))

    def __enter__(self) -> Self:
        """Move the network to its dtype and device; raises as `Runtime.__enter__` says."""
        require_device(self.settings.device)
        self.network.to(device=self.settings.device, dtype=getattr(torch, self.precision))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Bring the network back to the CPU."""
        self.network.to(device="cpu")

    def run(self, feeds: Values) -> "dict[str, NDArray[Any]]":
        """Run one batch; with `expose`, the answers are those of every layer."""
        first = next(self.network.parameters())
        clips = torch.from_numpy(feeds[INPUT]).to(device=first.device, dtype=first.dtype)
        layers: dict[str, torch.Tensor] = {}
        hooks = _listen(self.network, layers) if self.settings.expose else []
        try:
            with torch.inference_mode(), float32_arithmetic(), threads(self.settings.threads):
                fc6, fc7, logits = self.network.stages(clips)
        finally:
            for remove in hooks:
                remove()
        if self.settings.expose:
            return {name: value.cpu().numpy() for name, value in layers.items()}
        answers = {"logits": logits, "fc6": fc6, "fc7": fc7, "probabilities": torch.softmax(logits, dim=1)}
        return {output.name: answers[output.name].cpu().numpy() for output in self.signature.outputs}


def _listen(network: C3D, layers: dict[str, torch.Tensor]) -> list[Callable[[], None]]:
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
