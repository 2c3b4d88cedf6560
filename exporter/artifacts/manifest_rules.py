"""What every manifest holds to beyond the types of its fields: what no export writes is refused when it is read."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import cast

import msgspec

from exporter.artifacts.manifest_fields import (
    CLIP_SIZE,
    MIN_TOP1,
    PRECISION,
    TWO_FILES,
    WEIGHT_DTYPE,
    WITH_PREPROCESS,
    ManifestFields,
)
from exporter.errors import BadInputError, UsageError
from exporter.types import COMPUTE_PRECISIONS
from models.architectures import parse_settings
from models.class_names.reading import check_names
from models.errors import count
from models.specs import frames_input

_SHA256 = re.compile("[0-9a-f]{64}")


def find_fault(manifest: ManifestFields) -> str | None:
    """Return what no export would write: values that types alone do not rule out."""
    network, signature = manifest.network, manifest.signature
    if not 0 <= network.seed < 2**63:
        return f"seed {network.seed}"
    if not signature.inputs or not signature.outputs or (signature.batch is not None and signature.batch < 1):
        return f"signature {signature}"
    several = manifest.format in TWO_FILES or manifest.options.get("external_data") is True
    if manifest.files and several != (len(manifest.files) > 1):
        return f"{count(len(manifest.files), 'file')} of an artifact of {'several files' if several else 'one file'}"
    fault = _precision_fault(manifest) or _crop_fault(manifest) or _names_fault(manifest) or _tensors_fault(manifest)
    return fault or (_contradiction(manifest) if network.architecture else None)


def _precision_fault(manifest: ManifestFields) -> str | None:
    """Return an option that decides the tolerance and has a value that no export writes."""
    for option in (PRECISION, WEIGHT_DTYPE):
        stated = manifest.options.get(option, "fp32")
        if stated not in COMPUTE_PRECISIONS:
            return f"{option} {stated!r}"
    least = manifest.min_top1
    return None if least is None or 0 <= least <= 1 else f"{MIN_TOP1} {least:g}"


def _crop_fault(manifest: ManifestFields) -> str | None:
    """Return how the preprocessing contradicts the clip's rows and columns, where these are fixed."""
    if manifest.with_preprocess:
        if manifest.preprocessing is None or manifest.clip_size is None:
            return f"{WITH_PREPROCESS} without preprocessing, or without {CLIP_SIZE}"
        sizes = [*manifest.clip_size[1:]]
    else:
        sizes = [size for size in manifest.signature.inputs[0].shape[-2:] if isinstance(size, int)]
    if manifest.preprocessing is None:
        return None
    return manifest.preprocessing.fault(*sizes) if len(sizes) == 2 else manifest.preprocessing.value_fault()


def _names_fault(manifest: ManifestFields) -> str | None:
    """Return how the class names contradict the outputs: each names a value of one of them."""
    if manifest.class_names is None:
        return None
    try:
        check_names(manifest.class_names)
    except BadInputError as error:
        return f"class_names: {error}"
    sizes = [output.shape[1] for output in manifest.signature.outputs if len(output.shape) == 2]
    if len(manifest.class_names) in sizes:
        return None
    return f"{count(len(manifest.class_names), 'class name')} for {', '.join(map(str, manifest.signature.outputs))}"


def _contradiction(manifest: ManifestFields) -> str | None:
    """Return how a signature differs from that of the network that is recorded with it."""
    network, signature = manifest.network, manifest.signature
    names = tuple(output.name for output in signature.outputs)
    try:
        expected = parse_settings(network.architecture, network.settings).signature(names, signature.batch)
    except UsageError as error:
        return str(error)
    if manifest.with_preprocess:
        (clip,) = expected.inputs
        if manifest.clip_size != clip.shape[2:]:
            return f"{CLIP_SIZE} {manifest.options.get(CLIP_SIZE)}; a {network.description} takes {clip}"
        expected = replace(expected, inputs=(frames_input(clip),))
    return None if signature == expected else f"signature {signature}; a {network.description} has {expected}"


def _tensors_fault(manifest: ManifestFields) -> str | None:
    """Return a tensor whose hash is none."""
    wrong = [name for name, digest in (manifest.tensors or {}).items() if not _SHA256.fullmatch(digest)]
    return f"tensors: {wrong[0]!r} has no SHA-256" if wrong else None


def is_as_written(text: bytes, manifest: ManifestFields) -> bool:
    """Return whether a manifest's text is what a release of this tool wrote: nothing is added, repeated or reformatted.

    Args:
        text: the file's bytes.
        manifest: what was read from them. A field that its release did not know may be missing.
    """
    stated = msgspec.json.decode(text)
    if stated.get("version") != manifest.version:  # read from version 1, whose form is another
        return True
    known = msgspec.json.decode(manifest.to_json())
    form = msgspec.json.format(msgspec.json.encode(stated, order="sorted"), indent=2) + b"\n"
    return form == text and _is_part(stated, known)


def _is_part(stated: object, known: object) -> bool:
    if isinstance(stated, dict) and isinstance(known, dict):
        fields, others = cast("dict[str, object]", stated), cast("dict[str, object]", known)
        return all(name in others and _is_part(value, others[name]) for name, value in fields.items())
    return stated == known
