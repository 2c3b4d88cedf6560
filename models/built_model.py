"""The interface between a network and the exporter: everything that `exporter` needs to know of what it exports.

`models.build` returns one for C3D. To export a network of your own, construct one around its `nn.Module`:

    model = BuiltModel(
        network=MyNet().eval(),
        input=TensorSpec("clip", "float32", ("batch", 3, 8, 64, 64)),
        outputs=(OutputSpec("scores", (10,)),),
    )
    exporter.export(ExportRequest(formats=("onnx",), model=model))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from models.errors import UsageError
from models.specs import ConvHint, OutputSpec, Signature, TensorSpec, make_signature

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from models.checkpoints.info import CheckpointInfo
    from models.preprocessing.recipe import Preprocessing

Setting = int | str | bool


@dataclass(frozen=True)
class BuiltModel:
    """A network in eval mode, and what an exporter needs to know about it.

    Attributes:
        network: float32, on the CPU, in eval mode, without gradients. The exporter never changes it.
        input: its input; the first axis is the batch, named by a string.
        outputs: every output it can return.
        architecture: the name under which `models.rebuild` knows it; empty for a network that it does not know.
        description: the network in a few words; empty for the class name.
        settings: what `models.rebuild` needs to construct it again, as a manifest records it.
        setting_sources: {setting: who chose it}, for the settings that a checkpoint's origin can decide.
        default_outputs: what is exported unless other outputs are asked for; empty for all.
        unavailable_outputs: {output that this network cannot return: why, and what to do}.
        preprocessing: what the weights expect of decoded frames; None for a network that does not take video.
        mean_cube: (3, T, h, w), float32: what is subtracted from a clip instead of the profile's channel means; None
            unless `preprocessing.mean_cube` names its file.
        class_names: a name for each class, in the order of the scores; None where they are not known.
        seed: seed of the random initialisation.
        checkpoint: where the parameters came from; None where they come from the seed, or from the caller.
        notes: what the user should know about the network, a sentence each.
        forward_all: a module that returns every output, in the order of `outputs`, as a tuple (a tensor if there is
            one output); None where `network` does.
        fuse: returns `forward_all` with batch normalisation folded into the convolutions, for export; None where
            there is nothing to fold.
        conv_hints: {convolution: how a rewritten TorchScript module computes it}; empty to leave them as they are.
        without_preprocessing: the same network taking clips, where this one takes frames and has its preprocessing
            inside (`models.preprocessing.network.with_preprocessing`); None where it takes clips itself.
    """

    network: nn.Module
    input: TensorSpec
    outputs: tuple[OutputSpec, ...]
    architecture: str = ""
    description: str = ""
    settings: Mapping[str, Setting] = field(default_factory=dict[str, Setting])
    setting_sources: Mapping[str, str] = field(default_factory=dict[str, str])
    default_outputs: tuple[str, ...] = ()
    unavailable_outputs: Mapping[str, str] = field(default_factory=dict[str, str])
    preprocessing: Preprocessing | None = None
    mean_cube: NDArray[np.float32] | None = None
    class_names: tuple[str, ...] | None = None
    seed: int = 0
    checkpoint: CheckpointInfo | None = None
    notes: tuple[str, ...] = ()
    forward_all: nn.Module | None = None
    fuse: Callable[[], nn.Module] | None = None
    conv_hints: Mapping[str, ConvHint] = field(default_factory=dict[str, ConvHint])
    without_preprocessing: BuiltModel | None = None

    @property
    def title(self) -> str:
        """The network in a few words."""
        return self.description or type(self.network).__name__

    @property
    def parameters(self) -> int:
        """The number of trainable values."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def select(self, names: tuple[str, ...] | None = None) -> tuple[OutputSpec, ...]:
        """Return the outputs called `names`, in that order; the default ones for None.

        Raises:
            UsageError: the network has no such output.
        """
        known = {output.name: output for output in self.outputs}
        for name in names or ():
            if name not in known:
                reason = self.unavailable_outputs.get(name, f"it returns {', '.join(known)}")
                raise UsageError(f"{self.title} has no output {name}: {reason}")
        return tuple(known[name] for name in names or self.default_outputs or known)

    def find_class_names(self, names: tuple[str, ...] | None = None) -> tuple[str, ...] | None:
        """Return the class names if one of these outputs has a score for each class, otherwise None."""
        scores = [output for output in self.select(names) if output.kind != "features"]
        return self.class_names if any(output.shape == (len(self.class_names or ()),) for output in scores) else None

    def signature(self, names: tuple[str, ...] | None = None, batch: int | None = None) -> Signature:
        """Return the signature of an artifact with these outputs; `batch` None leaves the batch size dynamic.

        Raises:
            UsageError: the network has no such output.
        """
        selected = tuple(output.name for output in self.select(names))
        return make_signature(self.input, self.outputs, selected, batch)
