"""A manifest with a hostile value in each of its fields is read, or refused in one line that names it."""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from helpers.manifests import MANIFEST

from exporter.artifacts.files import FileEntry
from exporter.artifacts.manifest import Manifest
from exporter.artifacts.manifest_fields import ParityRecord
from exporter.errors import ArtifactError
from exporter.signing import ManifestSignature
from models.preprocessing.profiles import JFZHANG95

WHOLE = replace(
    MANIFEST,
    preprocessing=JFZHANG95,
    options={"precision": "int8", "weight_dtype": "int8", "min_snr": 30.0, "min_top1": 0.9, "raised_layers": ["a: b"]},
    versions={"torch": "2"},
    files=(FileEntry("c3d.onnx", 1, "0" * 64),),
    parity=ParityRecord(True, "onnxruntime", "cpu", 8.0, 0.5),
    class_names=tuple(map(str, range(101))),
    tensors={"w": "0" * 64},
    signed=ManifestSignature("key", "value"),
)
TEXTS = ("", "../x", "/etc/passwd", "a\nb\u202e", "9" * 5000)
VALUES = (None, True, 0, -1, (1 << 63) - 1, 1 << 80, 1e308, 1e-320, float("nan"), *TEXTS, [], {}, [[]], {"": 0})
CASES = 1000


def fields(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    entries: Any = (
        content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    )
    for key, value in [*entries]:
        yield (*path, key)
        yield from fields(value, (*path, key))


def test_each_field_with_each_value() -> None:
    whole = WHOLE.to_json()
    paths = [path for path in fields(json.loads(whole)) if path[0] != "class_names" or path[-1] in ("class_names", 0)]
    cases = [(path, value) for path in paths for value in VALUES]
    refused = 0
    for path, value in random.Random(1).sample(cases, min(CASES, len(cases))):
        content: Any = json.loads(whole)
        parent: Any = content
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = value
        try:
            read = Manifest.from_json(json.dumps(content))
        except ArtifactError as error:
            refused += 1
            assert "not a manifest" in str(error) or "manifest version" in str(error)
        else:
            assert Manifest.from_json(read.to_json()) == read
    assert refused > CASES / 2


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_another_encoding_is_refused(encoding: str) -> None:
    with pytest.raises(ArtifactError, match="not a manifest"):
        Manifest.from_json(WHOLE.to_json().encode(encoding))
