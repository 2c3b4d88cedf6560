"""A manifest for tests in which the network does not matter, and files that it describes."""

from dataclasses import replace
from pathlib import Path

from exporter.artifacts.files import file_entry
from exporter.artifacts.manifest import Manifest
from exporter.artifacts.manifest_fields import MANIFEST_VERSION, NetworkRecord
from exporter.artifacts.publication import publish
from exporter.artifacts.store import staging
from models.config import C3DConfig
from models.preprocessing.profiles import UNKNOWN

CONFIG = C3DConfig()

MANIFEST = Manifest(
    version=MANIFEST_VERSION,
    producer="c3d-export 0",
    name="c3d",
    format="onnx",
    network=NetworkRecord("C3D", CONFIG.describe(), CONFIG.settings(), {"pool5": "default"}, 1, "0" * 64),
    checkpoint=None,
    preprocessing=UNKNOWN,
    signature=CONFIG.signature(("logits",), None),
    options={},
    versions={},
)


def publish_content(folder: Path, content: str, data_name: str | None = None) -> None:
    """Publish an artifact whose model and manifest state `content`; its data's name does too, unless one is given."""
    with staging(folder) as stage:
        model, data = stage / "c3d.onnx", stage / (data_name or f"c3d.onnx.{content * 16}.data")
        model.write_text(content)
        data.write_text(content * 3)
        files = (file_entry(model), file_entry(data))
        publish(stage, folder, replace(MANIFEST, name=content, options={"external_data": True}, files=files))
