"""A built network in PyTorch eager: float32 or float64, on the CPU or CUDA."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import torch
from torch import nn

from exporter.engines.base import RuntimeOptions, Tensors
from exporter.engines.torchscript import disable_tf32, require_device, thread_count
from exporter.errors import CheckFailedError
from exporter.results import Placement, Precision
from models.built_model import BuiltModel
from models.specs import Signature

if TYPE_CHECKING:
    from numpy.typing import NDArray

Dtype = Literal["float32", "float64"]


class PyTorchRuntime:
    """A built network in PyTorch. Entering it copies the network where its dtype or device differ; the caller's stays.

    Args:
        model: the network.
        dtype: what it computes in.
        settings: device, threads, and whether every layer's output is returned.
    """

    def __init__(self, model: BuiltModel, dtype: Dtype, settings: RuntimeOptions) -> None:
        self.model, self.dtype, self.settings = model, dtype, settings
        self._network: nn.Module | None = None

    @property
    def description(self) -> str:
        """Return `PyTorch 2.13.0 float32 (cpu)`."""
        return f"PyTorch {torch.__version__} {self.dtype} ({self.settings.device})"

    @property
    def signature(self) -> Signature:
        """Return every output the network can give, the batch size dynamic."""
        return self.model.signature(tuple(output.name for output in self.model.outputs))

    @property
    def precision(self) -> Precision:
        """Return the dtype it is run in."""
        return "float64" if self.dtype == "float64" else "float32"

    @property
    def placement(self) -> Placement:
        """Return the module count; torch runs every one of them on the device or fails."""
        leaves = [module for module in self.model.network.modules() if not [*module.children()]]
        return Placement(self.settings.device, len(leaves))

    def __enter__(self) -> Self:
        """Copy the network to its dtype and device; raises as `Runtime.__enter__` says."""
        device, dtype = self.settings.device, getattr(torch, self.dtype)
        require_device(device)
        module = self.model.forward_all or self.model.network
        if device != "cpu" or self.dtype != "float32":
            # the copies are put in place of the tensors while the modules are copied: each is held once
            tensors = (*module.parameters(), *module.buffers())
            memo: dict[int, Any] = {id(tensor): _converted(tensor, device, dtype) for tensor in tensors}
            module = copy.deepcopy(module, memo)
        self._network = module
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the copy go."""
        self._network = None

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Run one batch; with `all_outputs`, every layer's output is returned instead of the network's."""
        assert self._network is not None, "enter the runtime first"
        (values,) = feeds.values()
        x = torch.from_numpy(values).to(self.settings.device)
        x = x.to(getattr(torch, self.dtype)) if x.is_floating_point() else x
        layers: dict[str, torch.Tensor] = {}
        hooks = _register_hooks(self._network, _depth(self.model), layers) if self.settings.all_outputs else []
        try:
            with torch.inference_mode(), disable_tf32(), thread_count(self.settings.threads):
                returned = self._network(x)
        finally:
            for remove in hooks:
                remove()
        if self.settings.all_outputs:
            return {name: value.cpu().numpy() for name, value in layers.items()}
        outputs = returned if isinstance(returned, tuple) else (returned,)
        if len(outputs) != len(self.model.outputs):
            raise CheckFailedError(
                f"{self.model.title} returned {len(outputs)} outputs, but {len(self.model.outputs)} are described"
            )
        return {spec.name: value.cpu().numpy() for spec, value in zip(self.model.outputs, outputs, strict=True)}


def _converted(tensor: torch.Tensor, device: str, dtype: torch.dtype) -> torch.Tensor:
    moved = tensor.detach().to(device, dtype) if tensor.is_floating_point() else tensor.detach().to(device)
    return nn.Parameter(moved, requires_grad=False) if isinstance(tensor, nn.Parameter) else moved


def _depth(model: BuiltModel) -> int:
    """Return how many leading parts of a module's name are not the network's own but the wrapper's around it."""
    if model.forward_all is None:
        return 0
    inside = next(name for name, module in model.forward_all.named_modules() if module is model.network)
    return len(inside.split(".")) if inside else 0


def _register_hooks(module: nn.Module, depth: int, layers: dict[str, torch.Tensor]) -> list[Callable[[], None]]:
    """Collect each layer's output under its name: conv1, conv1.relu, pool1, …, as exported graphs name theirs.

    A BatchNorm's output takes its convolution's name, because it is folded into it on export.
    """

    def hook_for(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, _arguments: Any, output: Any) -> None:
            if isinstance(module, nn.Identity | nn.Dropout) or not isinstance(output, torch.Tensor):
                return
            if isinstance(module, nn.ReLU) and layers:
                layers[f"{next(reversed(layers))}.relu"] = output
            elif isinstance(module, nn.BatchNorm3d) and layers:
                layers[next(reversed(layers))] = output
            else:
                layers[name] = output

        return hook

    named = [(".".join(name.split(".")[depth:]), leaf) for name, leaf in module.named_modules()]
    handles = [leaf.register_forward_hook(hook_for(name)) for name, leaf in named if name and not [*leaf.children()]]
    return [handle.remove for handle in handles]
