"""The networks that can be built again from a manifest. torch is not imported here.

A new network is a module with its configuration, its `nn.Module`, and a line in `ARCHITECTURES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

import msgspec

from models.built_model import Setting
from models.config import ARCHITECTURE, C3DConfig
from models.errors import UsageError

ARCHITECTURES: Mapping[str, type[C3DConfig]] = {ARCHITECTURE: C3DConfig}
"""{architecture, as a manifest records it: its configuration}."""


def parse_settings(architecture: str, settings: Mapping[str, Setting]) -> C3DConfig:
    """Return the configuration that a manifest records.

    Raises:
        UsageError: an unknown architecture, or settings it does not have.
    """
    if architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise UsageError(f"this release cannot build {architecture or 'this network'} again; it knows {known}")
    unknown = settings.keys() - {setting.name for setting in fields(ARCHITECTURES[architecture])}
    if unknown:
        raise UsageError(f"a {architecture} has no settings {', '.join(sorted(unknown))}")
    try:
        config = msgspec.convert(dict(settings), ARCHITECTURES[architecture], strict=True)
    except msgspec.ValidationError as error:
        raise UsageError(f"not the settings of a {architecture}: {error}") from error
    if fault := config.fault():
        raise UsageError(f"not the settings of a {architecture}: {fault}")
    return config
