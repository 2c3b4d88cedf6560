"""A built network in PyTorch: eager, or compiled by inductor; float32 or float64, on the CPU or CUDA."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from exporter.engines.base import Runtime, RuntimeOptions, Tensors
from exporter.engines.torch_settings import apply_settings, require_compiler, require_device
from exporter.errors import CheckFailedError, OutputError
from exporter.full_disks import full_disk_error
from exporter.results import Placement, Precision, ReferencePrecision
from models.builder import skeleton
from models.built_model import BuiltModel
from models.preprocessing.network import with_preprocessing
from models.preprocessing.recipe import Preprocessing
from models.specs import Signature


class PyTorchRuntime(Runtime):
    """A built network in PyTorch. Loading copies the network where its dtype or device differ; the caller's stays.

    Args:
        model: the network, or a function that returns it when the runtime is entered.
        dtype: what it computes in.
        options: device, threads, and whether every layer's output is returned.
    """

    library = "torch"
    reads_file = False

    def __init__(
        self, model: BuiltModel | Callable[[], BuiltModel], dtype: ReferencePrecision, options: RuntimeOptions
    ) -> None:
        self._source, self.dtype, self.options = model, dtype, options
        self._network: Callable[[torch.Tensor], Any] | None = None
        self._module: nn.Module | None = None
        self._output_names: list[str] = []
        self._settings = ExitStack()

    @property
    def description(self) -> str:
        """Return `PyTorch 2.13.0 float32 (cpu)`."""
        return f"PyTorch {torch.__version__} {self.dtype} ({self.options.device})"

    @property
    def model(self) -> BuiltModel:
        """The network; built at the first access where a function builds it."""
        if not isinstance(self._source, BuiltModel):
            self._source = self._source()
        return self._source

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
        return Placement(self.options.device, len(leaves))

    def load_model(self) -> None:
        """Copy the network to its dtype and device; raises as `Runtime.load` says."""
        device, dtype = self.options.device, getattr(torch, self.dtype)
        require_device(device)
        module = self.model.forward_all or self.model.network
        if device != "cpu" or self.dtype != "float32":
            # each tensor is cast once, and the copied modules share it
            tensors = (*module.parameters(), *module.buffers())
            memo: dict[int, Any] = {id(tensor): _converted(tensor, device, dtype) for tensor in tensors}
            module = copy.deepcopy(module, memo)
        self._output_names = [output.name for output in self.model.outputs]
        self._settings.enter_context(apply_settings(self.options))
        self._network = self._module = module

    def close(self) -> None:
        """Release the copy."""
        self._network = self._module = None
        self._settings.close()

    def run_batch(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Run one batch; with `all_outputs`, every layer's output is returned instead of the network's."""
        assert self._network is not None, "enter the runtime first"
        (values,) = feeds.values()
        x = torch.from_numpy(values).to(self.options.device)
        x = x.to(getattr(torch, self.dtype)) if x.is_floating_point() else x
        if self.options.all_outputs:
            return self._run_layers(x)
        with torch.inference_mode():
            returned = self._network(x)
        outputs = returned if isinstance(returned, tuple) else (returned,)
        if len(outputs) != len(self._output_names):
            raise CheckFailedError(
                f"{self.model.title} returned {len(outputs)} outputs, but {len(self._output_names)} are described"
            )
        return {name: value.cpu().numpy() for name, value in zip(self._output_names, outputs, strict=True)}

    def _run_layers(self, x: torch.Tensor) -> dict[str, NDArray[Any]]:
        assert self._module is not None
        layers: dict[str, torch.Tensor] = {}
        original = self.model.forward_all or self.model.network  # of which the module may be a copy
        removers = _register_hooks(self._module, network_prefix(original, self.model), layers)
        try:
            with torch.inference_mode():
                self._module(x)
        finally:
            for remove in removers:
                remove()
        return {name: value.cpu().numpy() for name, value in layers.items()}


class CompiledRuntime(PyTorchRuntime):
    """A built network compiled by inductor with frozen weights, at the first call of each batch size."""

    @property
    def description(self) -> str:
        """Return `inductor in PyTorch 2.13.0 float32 (cpu)`."""
        return f"inductor in {super().description}"

    def load_model(self) -> None:
        """Prepare the compilation; raises as `Runtime.load` says."""
        if self.options.device == "cpu":
            require_compiler("inductor")
        super().load_model()
        import torch._inductor.config as inductor

        self._settings.callback(setattr, inductor, "freezing", inductor.freezing)
        inductor.freezing = True
        compiled: Any = torch.compile(self._module, dynamic=False)
        self._network = compiled


def save_network(model: BuiltModel, path: Path) -> None:
    """Write what `open_network` needs: the network's architecture, settings and weights, and preprocessing inside it.

    Raises:
        OutputError: the file cannot be written.
    """
    content: dict[str, Any] = {
        "architecture": model.architecture,
        "settings": dict(model.settings),
        "weights": model.network.state_dict(),
    }
    if model.without_preprocessing is not None and model.preprocessing is not None:
        profile = asdict(replace(model.preprocessing, mean_cube=None))
        mean = None if model.mean_cube is None else torch.from_numpy(model.mean_cube)
        content["preprocessing"] = {"profile": profile, "mean": mean}
    try:
        torch.save(content, path)
    except RuntimeError as error:  # torch does not say why
        full = full_disk_error(error, path.parent)
        path.unlink(missing_ok=True)
        raise full or OutputError(f"cannot write {path}: {error}") from error


def open_network(path: Path, options: RuntimeOptions) -> PyTorchRuntime:
    """Return the network that `save_network` wrote, in float32."""
    return PyTorchRuntime(lambda: _load_network(path), "float32", options)


def open_compiled_network(path: Path, options: RuntimeOptions) -> PyTorchRuntime:
    """Return the network that `save_network` wrote, compiled by inductor."""
    return CompiledRuntime(lambda: _load_network(path), "float32", options)


def _load_network(path: Path) -> BuiltModel:
    content: Mapping[str, Any] = torch.load(path, weights_only=True)
    model = skeleton(content["architecture"], content["settings"])
    model.network.load_state_dict(content["weights"], assign=True)
    model.network.eval().requires_grad_(requires_grad=False)
    inside = content.get("preprocessing")
    if inside is None:
        return model
    mean = inside["mean"]
    profile = Preprocessing(**inside["profile"])
    return with_preprocessing(replace(model, preprocessing=profile, mean_cube=None if mean is None else mean.numpy()))


def _converted(tensor: torch.Tensor, device: str, dtype: torch.dtype) -> torch.Tensor:
    moved = tensor.detach().to(device, dtype) if tensor.is_floating_point() else tensor.detach().to(device)
    return nn.Parameter(moved, requires_grad=False) if isinstance(tensor, nn.Parameter) else moved


def network_prefix(module: nn.Module, model: BuiltModel) -> str:
    """Return what the names of the network's own modules begin with inside a module: ``, or `network.`.

    A module that does not contain the network itself contains a changed copy of it, the first module of its class.
    """
    named = [*module.named_modules()]
    own = (name for name, inner in named if inner is model.network)
    alike = (name for name, inner in named if type(inner) is type(model.network))
    inside = next(own, None) or next(alike, "")
    return f"{inside}." if inside else ""


def _register_hooks(module: nn.Module, prefix: str, layers: dict[str, torch.Tensor]) -> list[Callable[[], None]]:
    """Collect each layer's output under its name: conv1, conv1.relu, pool1, …, as exported graphs name theirs.

    A BatchNorm's output takes its convolution's name, because it is folded into it on export. `prefix` is what the
    names of the network's own modules begin with.
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

    named = [(name.removeprefix(prefix), leaf) for name, leaf in module.named_modules()]
    handles = [leaf.register_forward_hook(hook_for(name)) for name, leaf in named if name and not [*leaf.children()]]
    return [handle.remove for handle in handles]
