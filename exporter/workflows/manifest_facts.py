"""What `inspect` says of an artifact that its manifest states."""

from __future__ import annotations

from collections import Counter

from exporter.artifacts.manifest import Manifest
from exporter.artifacts.manifest_fields import OptionValue, StructureRecord
from exporter.formats import FORMATS
from models.class_names import describe_class_names
from models.errors import count, join_limited
from models.preprocessing.profiles import NOT_KNOWN, UNKNOWN

MAX_ITEMS = 4
"""Items of an option that are listed."""
NOT_BESIDE = "only the manifest beside the file has them, and there is none"


def manifest_facts(manifest: Manifest) -> dict[str, str]:
    """Return {name: fact} of the network, its weights and preprocessing, and of the export."""
    network, checkpoint = manifest.network, manifest.checkpoint
    origin = (
        f"random, seed {network.seed}"
        if checkpoint is None
        else f"{checkpoint.file} ({checkpoint.layout} layout, {checkpoint.loaded} of {checkpoint.total} tensors, "
        f"SHA-256 {checkpoint.sha256[:16]}…)"
    )
    facts = {
        "network": f"{network.description}, {network.parameters:,} parameters",
        "weights": origin,
        "preprocessing": _describe_profile(manifest),
        "class names": describe_class_names(manifest.class_names) if manifest.class_names else "not known",
        **{f"option {name}": _describe_option(value) for name, value in sorted(manifest.options.items())},
        "versions": ", ".join(f"{name} {value}" for name, value in sorted(manifest.versions.items())),
    }
    if manifest.parity is not None:
        result = "passed" if manifest.parity.passed else "failed"
        facts["parity at export"] = (
            f"{result} in {manifest.parity.engine}, {manifest.parity.max_budget_used:.0%} of the budget used"
        )
        if manifest.parity.structure is not None:
            facts["graph at export"] = _describe_structure(manifest.parity.structure)
    return facts


def _describe_structure(record: StructureRecord) -> str:
    if record.passed is None or record.max_budget_used is None:
        return "not compared without its rounding"
    result = "equals" if record.passed else "differs from"
    used = f"{record.max_budget_used:.0%} of the budget used"
    weights = f"{record.originals} of {record.weights} weights in fewer bits are the network's, rounded"
    return f"{result} the network without its rounding, {used}; {weights}"


def signature_facts(
    manifest: Manifest | None, provenance: str, *, trusted: bool, valid: bool, beside: bool
) -> dict[str, str]:
    """Return {name: fact} of who signed a manifest, and of the hashes of weights in it.

    What the manifest states of weights and parity is called unverified unless it is signed by a key that the user
    trusts: the model file does not show it, so anyone who can write the files can change it.

    Args:
        manifest: the manifest; None where an artifact has none.
        provenance: who signed it, in words.
        trusted: the user named keys.
        valid: its signature, if it has one, holds.
        beside: it is a file beside the model; the one inside has no hashes.
    """
    if manifest is None:
        return {"manifest": provenance}
    stated = "weights" if manifest.parity is None else "weights, parity at export"
    return {
        "manifest": provenance if trusted else f"{provenance}; unverified: {stated}",
        "weight hashes": _describe_hashes(manifest, signed=manifest.signed is not None and valid, beside=beside),
    }


def _describe_hashes(manifest: Manifest, *, signed: bool, beside: bool) -> str:
    if manifest.tensors is None:
        missing = "the manifest is of a release that recorded none" if beside else NOT_BESIDE
        reason = FORMATS[manifest.format].hides_weights or missing
        return f"none: {reason}"
    covered = "covered by its signature" if signed else "covered by no signature"
    return f"{count(len(manifest.tensors), 'weight')} by SHA-256 in the manifest, {covered}"


def _describe_option(value: OptionValue) -> str:
    """Return an option's value: a list's items, or of many decisions on layers how often each was taken."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, list):
        return "none" if value is None else str(value)
    decisions = Counter(item.partition(": ")[2] for item in value)
    if len(value) > MAX_ITEMS and "" not in decisions and len(decisions) < len(value):
        return join_limited((f"{number} x {decision}" for decision, number in decisions.most_common()), MAX_ITEMS)
    return join_limited(value, MAX_ITEMS) or "none"


def _describe_profile(manifest: Manifest) -> str:
    profile = manifest.preprocessing
    if profile is None:
        return "none"
    if profile.name == UNKNOWN.name:
        return NOT_KNOWN
    stated = manifest.clip_size or manifest.signature.inputs[0].shape
    sizes = [size for size in stated[-2:] if isinstance(size, int)]
    return f"{profile.name}: {profile.describe(*sizes)} ({profile.source})"
