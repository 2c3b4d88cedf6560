"""What a manifest states, and what that means; `exporter.artifacts.manifest` reads one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

import msgspec

from exporter.calibration_clips import PACKAGED_CLIPS
from exporter.signing import SIGNED, ManifestSignature
from exporter.types import BLOCKED_OPSET, COMPUTE_PRECISIONS, MAX_OPSET, MIN_OPSET, ComputePrecision, FormatName
from models.checkpoints.info import CheckpointInfo
from models.preprocessing.recipe import Preprocessing
from models.specs import Signature

MANIFEST_VERSION = 2

WITH_PREPROCESS, CLIP_SIZE = "with_preprocess", "clip_size"
"""Options of an artifact with its preprocessing inside: that it has, and the clip's size as TxHxW."""
_CLIP_SIZE = re.compile(r"([1-9]\d{0,5})x([1-9]\d{0,5})x([1-9]\d{0,5})")

OPSET, EXTERNAL_DATA = "opset", "external_data"
"""Options of an ONNX file: its opset, and whether its weights are in a file of their own."""
PRECISION, WEIGHT_DTYPE = "precision", "weight_dtype"
"""Options: what the artifact computes in (`ComputePrecision`), how its weights are stored."""
MIN_SNR, MIN_TOP1, CALIBRATION = "min_snr", "min_top1", "calibration"
"""Options below float32: the minimum signal-to-noise ratio in decibels, and the minimum fraction of equal highest
classes, that it reached on held-out clips, if it was verified; and `sha256:… description` of the calibration clips."""
RAISED_LAYERS = "raised_layers"
"""Option: the layers that compute in a higher precision than the artifact does, an entry of `raised_entry` each."""

TWO_FILES: tuple[FormatName, ...] = ("openvino",)
"""Formats whose weights are in a file of their own, whatever the options."""

OPTIONAL_FIELDS = ("class_names", "tensors", SIGNED)
"""Fields that later releases added: left out of the JSON where they are None."""
STRUCTURE = "structure"
"""The field of `parity` of which that is true, too."""

OptionValue = str | int | float | bool | list[str] | None
_ENTRY = re.compile(r"(.+): (fp32|fp16|bf16|int8), \+?(-?(?:\d+(?:\.\d+)?|inf)) dB", re.DOTALL)


def raised_entry(layer: str, precision: ComputePrecision, gain_db: float) -> str:
    """Return the entry of a layer: `fc6: fp32, +3.2 dB`."""
    return f"{layer}: {precision}, {gain_db:+.1f} dB"


def parse_raised(entries: Iterable[str]) -> dict[str, tuple[ComputePrecision, float]]:
    """Return {layer: (what it computes in, decibels that raising it gained)}; what is no entry is left out."""
    known: dict[str, ComputePrecision] = {name: name for name in COMPUTE_PRECISIONS}
    found = map(_ENTRY.fullmatch, entries)
    return {entry[1]: (known[entry[2]], float(entry[3])) for entry in found if entry}


@dataclass(frozen=True)
class FileEntry:
    """A file of the artifact: its name in the manifest's folder, size in bytes and SHA-256."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class NetworkRecord:
    """The network that an artifact was exported from.

    Attributes:
        architecture: the name under which `models.rebuild` knows it; empty for the user's own network.
        description: the network in a few words.
        settings: what `models.rebuild` needs to construct it again.
        setting_sources: {setting: who chose it}: `default`, `layout` (the checkpoint's origin), `file` (the checkpoint
            states it), `shapes` (no other fits the checkpoint's shapes) or `option`.
        parameters: the number of trainable values.
        state_sha256: SHA-256 of the network's state, see `models.builder.state_sha256`.
        seed: seed of the random initialisation.
    """

    architecture: str
    description: str
    settings: dict[str, int | str | bool]
    setting_sources: dict[str, str]
    parameters: int
    state_sha256: str
    seed: int = 0


@dataclass(frozen=True)
class StructureRecord:
    """How the graph of an artifact below float32 was compared with the network, without its rounding.

    Attributes:
        passed: whether it equals it; None where that could not be compared.
        max_budget_used: the largest part of the error budget that it used; None where it was not compared.
        weights: the number of its weights in fewer bits than float32.
        originals: of these, the number that are roundings of the network's.
    """

    passed: bool | None
    max_budget_used: float | None
    weights: int
    originals: int


@dataclass(frozen=True)
class ParityRecord:
    """The result of the parity check at export.

    Attributes:
        passed: whether it passed.
        engine: the engine and its version.
        device: where it ran.
        factor: how many times PyTorch's own float32 error was allowed.
        max_budget_used: the largest part of the error budget that a comparison used; 1 is all of it.
        structure: the comparison without rounding; None in float32, and where an earlier release did not record it.
    """

    passed: bool
    engine: str
    device: str
    factor: float
    max_budget_used: float
    structure: StructureRecord | None = None


@dataclass(frozen=True)
class ManifestFields:
    """The fields of a manifest, which `exporter.artifacts.manifest.Manifest` explains, and what its options mean."""

    version: int
    producer: str
    name: str
    format: FormatName
    network: NetworkRecord
    checkpoint: CheckpointInfo | None
    preprocessing: Preprocessing | None
    signature: Signature
    options: dict[str, OptionValue]
    versions: dict[str, str]
    files: tuple[FileEntry, ...] = ()
    parity: ParityRecord | None = None
    class_names: tuple[str, ...] | None = None
    tensors: dict[str, str] | None = None
    signed: ManifestSignature | None = None

    def to_json(self) -> str:
        """Return the manifest as JSON: keys sorted, two spaces, a newline at the end.

        The optional fields without a value are left out, so that such a manifest is what earlier releases wrote.
        """
        fields = msgspec.to_builtins(self, order="sorted")
        for name in OPTIONAL_FIELDS:
            if getattr(self, name) is None:
                fields.pop(name, None)  # what was decoded from JSON has no attribute for a default
        if self.parity is not None and self.parity.structure is None:
            fields["parity"].pop(STRUCTURE, None)
        return msgspec.json.format(msgspec.json.encode(fields), indent=2).decode() + "\n"

    @property
    def with_preprocess(self) -> bool:
        """Whether the model file has its preprocessing inside and takes frames."""
        return self.options.get(WITH_PREPROCESS) is True

    @property
    def precision(self) -> ComputePrecision:
        """What it computes in; artifacts of releases that did not record it compute in float32."""
        known: dict[object, ComputePrecision] = {name: name for name in COMPUTE_PRECISIONS}
        return known.get(str(self.options.get(PRECISION)), "fp32")

    @property
    def min_snr(self) -> float | None:
        """The signal-to-noise ratio that it was held to on held-out clips, in decibels; None where it was to none.

        A ratio that nothing can miss, as no export writes it, is none.
        """
        stated = self._number(MIN_SNR)
        return stated if stated is not None and stated > 0 else None

    @property
    def min_top1(self) -> float | None:
        """The fraction of held-out clips whose highest class had to be float64's; None without such a limit."""
        return self._number(MIN_TOP1)

    @property
    def verified_on_packaged_clip(self) -> bool:
        """Whether it was held to `min_snr` on the packaged clip, because its user gave no clips."""
        return str(self.options.get(CALIBRATION)).endswith(PACKAGED_CLIPS)

    @property
    def opset(self) -> int | None:
        """The ONNX opset that an ONNX file was asked for; None for another format, or where it is not known.

        Nor is it known of int8 weights, which raise an older opset to the one that they need.
        """
        stated = self.options.get(OPSET)
        if self.format != "onnx" or isinstance(stated, bool) or not isinstance(stated, int):
            return None
        raised = self.options.get(WEIGHT_DTYPE) == "int8" and stated == BLOCKED_OPSET
        return stated if MIN_OPSET <= stated <= MAX_OPSET and not raised else None

    @property
    def external_data(self) -> bool:
        """Whether an ONNX file has its weights in a file of their own."""
        return self.format == "onnx" and self.options.get(EXTERNAL_DATA) is True

    def _number(self, option: str) -> float | None:
        stated = self.options.get(option)
        return float(stated) if isinstance(stated, (int, float)) and not isinstance(stated, bool) else None

    @property
    def raised_layers(self) -> dict[str, tuple[ComputePrecision, float]]:
        """{layer in a higher precision: (that precision, decibels that raising it gained)}, in the order raised."""
        stated = self.options.get(RAISED_LAYERS)
        return parse_raised(stated if isinstance(stated, list) else ())

    @property
    def clip_size(self) -> tuple[int, ...] | None:
        """(time, height, width) of the clip, where the preprocessing that makes it is inside the model file."""
        text = self.options.get(CLIP_SIZE)
        found = _CLIP_SIZE.fullmatch(text) if isinstance(text, str) else None
        return None if found is None else tuple(map(int, found.groups()))

    def embedded(self) -> Self:
        """Return what goes inside the model file: nothing that depends on the file's bytes or its location."""
        checkpoint = None if self.checkpoint is None else replace(self.checkpoint, path=None)
        profile = None if self.preprocessing is None else self.preprocessing.without_path()
        bare = replace(self, files=(), parity=None, tensors=None, signed=None)
        return replace(bare, checkpoint=checkpoint, preprocessing=profile)
