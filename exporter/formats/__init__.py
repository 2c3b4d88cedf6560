"""One module per artifact format. A new format is one module and one line of `FORMATS`."""

from collections.abc import Iterable
from pathlib import Path

from exporter.artifacts.loading import LoadedArtifact, by_suffix, find_model, wrong_file
from exporter.artifacts.loading import load_artifact as _load_artifact
from exporter.engines.base import RuntimeOptions
from exporter.formats.base import Format
from exporter.formats.onnx import OnnxFormat
from exporter.formats.openvino import OpenVinoFormat
from exporter.formats.openvino_model import HINT_OPTION
from exporter.formats.pt2 import Pt2Format
from exporter.formats.pt2_aoti import AotiFormat
from exporter.formats.tensorrt import TensorRtFormat
from exporter.formats.torchscript import OPTIMIZE_OPTION, TorchScriptFormat, is_plain_checkpoint
from exporter.load_checks import LoadChecks
from exporter.openvino_ir import BFLOAT16
from exporter.stored_tensors import hash_tensors
from exporter.types import Device, FormatName

FORMATS: dict[FormatName, Format] = {
    "onnx": OnnxFormat(),
    "torchscript": TorchScriptFormat(),
    "pt2": Pt2Format(),
    "tensorrt": TensorRtFormat(),
    "openvino": OpenVinoFormat(),
    "pt2-aoti": AotiFormat(),
}


def runtime_options(artifact: LoadedArtifact, device: Device = "cpu") -> RuntimeOptions:
    """Return how an artifact is opened: what its manifest states, and the engine's defaults without one."""
    if artifact.manifest is None:
        return RuntimeOptions(device, vouched=artifact.vouched, states=artifact.states)
    stated = artifact.manifest
    return RuntimeOptions(
        device,
        stated.signature,
        optimize_for_inference=stated.options.get(OPTIMIZE_OPTION) is True,
        precision="bf16" if stated.options.get(HINT_OPTION) == BFLOAT16 else stated.precision,
        vouched=artifact.vouched,
        states=artifact.states,
    )


def find_format(path: Path) -> Format | None:
    """Return the format of a model file by its suffix, the longest that fits; None where there is none."""
    return by_suffix(path, FORMATS.values())


def record_tensors(name: FormatName, model: Path) -> dict[str, str] | None:
    """Return the hash of each weight of a model file, as its manifest records them; None where none can be listed.

    Raises:
        ArtifactError: the file is not as its format's writer writes it.
    """
    stored = FORMATS[name].read_stored(model)
    return None if stored.tensors is None else hash_tensors(stored.tensors)


def load_artifact(path: Path, checks: LoadChecks | None = None, takes: Iterable[FormatName] = ()) -> LoadedArtifact:
    """Load a model file of any format and its manifest: see `exporter.artifacts.loading.load_artifact`.

    Args:
        path: the model file, or its manifest.
        checks: what it must be.
        takes: the formats that the caller takes, for the message of a file of none; () for all of them.

    Raises:
        ArtifactError: also of a checkpoint that has the suffix of TorchScript files.
    """
    taken = tuple(FORMATS[name] for name in takes) or tuple(FORMATS.values())
    model = find_model(path)
    if is_plain_checkpoint(model):
        raise wrong_file(model, taken)
    return _load_artifact(path, tuple(FORMATS.values()), checks, taken)
