"""What a feature folder records of itself, so that a run can continue another and never mixes features of two kinds.

`features.json` states how the features were made. A file for each video that is complete states which files it has and
which video it is of; it is published after them. Both are JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import msgspec

from exporter.errors import OutputError
from exporter.inference.features.types import Aggregate, FeatureFormat
from models.paths import is_plain_name
from models.preprocessing.recipe import Preprocessing

VERSION = 1
Record = TypeVar("Record")


@dataclass(frozen=True)
class FeatureRecord:
    """How the features of a folder were made.

    Attributes:
        version: version of this record.
        producer: name and version of the tool.
        model: file name of the model.
        model_sha256: SHA-256 of the model file.
        engine: the engine that ran it, its version and device.
        layers: {output of the model: shape of its values for one clip}.
        profile: the preprocessing profile, as `record_profile` returns it.
        sampling: how clips were taken from the videos.
        aggregate: what a row is.
        format: how the features are stored.
    """

    version: int
    producer: str
    model: str
    model_sha256: str
    engine: str
    layers: dict[str, tuple[int, ...]]
    profile: dict[str, Any]
    sampling: dict[str, int | str | None]
    aggregate: Aggregate
    format: FeatureFormat

    def differences(self, wanted: FeatureRecord) -> list[str]:
        """Return in which ways features made as `wanted` would not be the same, a few words each.

        The tool's version, the engine and the name of the model file do not count.
        """
        found: list[str] = []
        if self.version != wanted.version:
            found.append(f"version {self.version} of the record, not {wanted.version}")
        if self.model_sha256 != wanted.model_sha256:
            found.append(f"model {self.model_sha256[:16]}…, not {wanted.model_sha256[:16]}…")
        if self.layers != wanted.layers:
            found.append(f"layer {', '.join(self.layers)}, not {', '.join(wanted.layers)}")
        old, new = self.profile, wanted.profile
        if old.get("name") != new.get("name"):
            found.append(f"profile {old.get('name')}, not {new.get('name')}")
        elif changed := _changed(old, new):
            found.append(f"profile {new.get('name')} with another {', '.join(changed)}")
        for name in _changed(self.sampling, wanted.sampling):
            found.append(f"{name} {self.sampling.get(name)}, not {wanted.sampling.get(name)}")
        for name in ("aggregate", "format"):
            old, new = getattr(self, name), getattr(wanted, name)
            if old != new:
                found.append(f"{name} {old}, not {new}")
        return found


def _changed(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    return [name for name in {**old, **new} if old.get(name) != new.get(name)]


def record_profile(profile: Preprocessing) -> dict[str, Any]:
    """Return a profile as a record has it: without what does not change a number."""
    recorded = msgspec.to_builtins(replace(profile, source=""))
    if profile.mean_cube is not None:
        recorded["mean_cube"] = {"sha256": profile.mean_cube.sha256}
    return msgspec.json.decode(msgspec.json.encode(recorded))


@dataclass(frozen=True)
class VideoRecord:
    """A video whose features are complete.

    Attributes:
        video: where it is: an absolute path, or a URL.
        name: its name among the files, which stay in the folder whatever a record of another's says: a plain name, as
            those of its files.
        bytes: its size when it was read; None where that is not known.
        modified_ns: when it was last changed, in nanoseconds since 1970; None where that is not known.
        rows: rows that were written.
        clips: clips that they were made of.
        files: {name in the folder: bytes}; empty for Parquet, where the rows are in the table.
        notes: what the user should know about the video.
        complete: whether all files are there.

    Raises:
        ValueError: a name that is not plain.
    """

    video: str
    name: str
    bytes: int | None
    modified_ns: int | None
    rows: int
    clips: int
    files: dict[str, int] = field(default_factory=dict[str, int])
    notes: tuple[str, ...] = ()
    complete: bool = True

    def __post_init__(self) -> None:
        for name in (self.name, *self.files):
            if not is_plain_name(name):
                raise ValueError(f"{name!r} is not a file's name in its folder")


def to_json(record: FeatureRecord | VideoRecord) -> bytes:
    """Return a record as JSON: keys in the order of the attributes, two spaces, a newline at the end."""
    return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"


def from_json(text: bytes, kind: type[Record], where: str) -> Record:
    """Read a record.

    Raises:
        OutputError: it is none.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise OutputError(f"{where}: not a record of this tool ({error}); choose another output folder") from error
