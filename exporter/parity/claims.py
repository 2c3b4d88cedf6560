"""What a manifest states of an artifact's precision, compared with what the file itself shows.

The tolerance of an artifact follows from its precision. So a manifest must not state a coarser one than the file has:
a float32 file with wrong weights would pass as int8. The manifest inside a file is no better than the one beside it;
only a signature shows who wrote them.
"""

from __future__ import annotations

from pathlib import Path

from exporter.artifacts.manifest import Manifest
from exporter.artifacts.manifest_fields import PRECISION, WEIGHT_DTYPE
from exporter.formats.openvino_model import HINT_OPTION
from exporter.onnx_io.precision import detect_computed_precision, detect_precision
from exporter.openvino_ir import BFLOAT16, read_ir
from exporter.results import Precision
from exporter.types import ComputePrecision, FormatName

FULL_PRECISION: tuple[Precision, ...] = ("float32", "float64")
"""The precisions whose artifacts are also run on edge cases."""
LOW_PRECISIONS: dict[Precision, ComputePrecision] = {"float16": "fp16", "bfloat16": "bf16", "int8": "int8"}
"""{what results call a precision below float32: what options call it}, the finest first."""


def stated_precision(manifest: Manifest | None) -> Precision | None:
    """Return what an artifact is compared as: what it computes in; of float32, what its weights are stored in.

    None where the manifest, of an earlier release, does not say: then the weights in the file decide.
    """
    if manifest is None or PRECISION not in manifest.options:
        return None
    stored = manifest.options.get(WEIGHT_DTYPE)
    stated = str(stored) if manifest.precision == "fp32" else manifest.precision
    found: list[Precision] = [name for name, option in LOW_PRECISIONS.items() if option == stated]
    return found[0] if found else "float32"


def held_precision(path: Path, format_name: FormatName, manifest: Manifest | None) -> Precision | None:
    """Return what an artifact is compared as, unless the file is finer: as stated, if the file allows it.

    Where float32 is stated, or nothing, fewer bits may only be those that weights are stored in. A file that computes
    in fewer is compared as float32: otherwise it would avoid the accuracy that its own precision is held to.

    Raises:
        ArtifactError: the file cannot be read.
    """
    stated = stated_precision(manifest)
    if manifest is None or manifest.precision != "fp32" or stated in FULL_PRECISION:
        return stated
    if format_name == "onnx":
        return "float32" if is_quantised_since(path, format_name, manifest) else stated
    if format_name == "openvino":  # int8 is never only how weights are stored there
        return "float32" if read_ir(path).precision == "int8" else stated
    return "float32"  # the other formats store weights in what they compute in


def is_quantised_since(path: Path, format_name: FormatName, manifest: Manifest | None) -> bool:
    """Return whether an ONNX file computes in fewer bits than its manifest states, or stores its weights so.

    A tool that quantises an artifact leaves the manifest inside it as it was.

    Raises:
        ArtifactError: the file cannot be read.
    """
    if manifest is None or manifest.precision != "fp32" or format_name != "onnx":
        return False
    if detect_computed_precision(path) not in FULL_PRECISION:
        return True
    return stated_precision(manifest) in FULL_PRECISION and detect_precision(path) not in FULL_PRECISION


def computed_precision(held: Precision | None, manifest: Manifest | None) -> Precision | None:
    """Return what a manifest states that an artifact computes in, whatever its weights are stored in.

    A file that states float32 with weights in int8 may have none that are large enough to be stored so: None then.

    Args:
        held: what `held_precision` returns of the artifact.
        manifest: the artifact's.
    """
    reduced = manifest is not None and manifest.precision != "fp32"
    return held if reduced or held in FULL_PRECISION else None


def finer_precision(stated: Precision | None, found: Precision) -> Precision:
    """Return the finer of a stated precision and the one found in the file: a statement must not loosen a tolerance."""
    if stated is None or stated in FULL_PRECISION:
        return stated or found
    order = list(LOW_PRECISIONS)
    return found if found in FULL_PRECISION or order.index(found) < order.index(stated) else stated


def describe_contradiction(stated: Precision | None, found: Precision) -> str | None:
    """Return that a file is not what its manifest states; None where it is, or where nothing is stated."""
    if stated in (None, found) or {stated, found} <= {*FULL_PRECISION}:
        return None
    return f"its manifest states {stated}, but the file is {found}"


def describe_comparison(contradiction: str | None, precision: Precision, found: Precision) -> tuple[str, ...]:
    """Return what a file that is not what its manifest states is compared as, and how to choose otherwise.

    Args:
        contradiction: what is stated; None where the file is that.
        precision: what it is compared as.
        found: what the file is.
    """
    if contradiction is None:
        return ()
    compared = f"{contradiction}; compared as {precision}"
    if precision in FULL_PRECISION and found not in FULL_PRECISION:
        return (f"{compared}. If it was quantised after the export, --min-snr DB compares it as {found}",)
    return (compared,)


def find_contradiction(path: Path, format_name: FormatName, manifest: Manifest | None) -> str | None:
    """Return `describe_contradiction` of a file that is only read; None for formats whose files must be loaded for it.

    Raises:
        ArtifactError: the file cannot be read.
    """
    if format_name not in ("onnx", "openvino"):
        return None
    stated = computed_precision(held_precision(path, format_name, manifest), manifest)
    if manifest is None or stated is None:
        return None
    if format_name == "onnx":
        return describe_contradiction(stated, detect_precision(path))
    found = read_ir(path).precision
    hinted = manifest.options.get(HINT_OPTION) == BFLOAT16 and found != "int8"
    return describe_contradiction(stated, "bfloat16" if hinted else found)
