"""Reading manifests of version 1, which release 0.1 wrote: only C3D, and other names for the same facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from exporter.errors import UsageError
from models.architectures import parse_settings
from models.config import ARCHITECTURE

OPTION_NAMES = {
    "tune": "autotune",
    "prefer": "optimize_for",
    "weights_as": "weight_dtype",
    "choices": "decisions",
    "form": "variant",
}
"""{option of version 1: its name now}."""


def upgrade(old: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest of version 1 as the mapping that version 2 reads.

    Single values that are missing or of the wrong type stay so, for the reader of version 2 to name.

    Raises:
        msgspec.ValidationError: a part that must be an object is missing or something else.
    """
    new = {key: old[key] for key in ("producer", "name", "format", "preprocessing", "signature", "files") if key in old}
    network, weights = _mapping(old, "network"), _mapping(old, "weights")
    settings = {"base_channels": 64, "feature_dim": 4096} | network
    new["version"] = 2
    new["network"] = {
        "architecture": ARCHITECTURE,
        "description": _describe(network),
        "settings": settings,
        "setting_sources": {"pool5": old.get("pool5_source", "default")},
        "parameters": old.get("parameters"),
        "state_sha256": old.get("state_sha256"),
        "seed": weights.get("seed"),
    }
    new["checkpoint"] = _checkpoint(weights) if weights.get("source") == "file" else None
    new["options"] = {OPTION_NAMES.get(name, name): value for name, value in _mapping(old, "options").items()}
    new["versions"] = old.get("versions")
    if old.get("parity") is not None:
        record = _mapping(old, "parity")
        new["parity"] = {
            "passed": record.get("passed"),
            "engine": record.get("runtime"),
            "device": record.get("device"),
            "factor": record.get("factor"),
            "max_budget_used": record.get("worst_budget_share"),
        }
    return new


def _checkpoint(weights: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("file", "sha256", "container", "layout", "loaded", "total", "converted", "pool5", "url", "path")
    renamed = {"reinitialized": weights.get("fresh", ()), "ignored_keys": weights.get("aside", ())}
    return {key: weights[key] for key in kept if key in weights} | renamed | {"values": 0}


def _describe(network: Mapping[str, Any]) -> str:
    try:
        return parse_settings(ARCHITECTURE, network).describe()
    except UsageError:
        return "C3D"


def _mapping(old: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = old.get(key)
    if not isinstance(value, dict):
        raise msgspec.ValidationError(f"Expected `object`, got `{type(value).__name__}` - at `$.{key}`")
    return cast("dict[str, Any]", value)
