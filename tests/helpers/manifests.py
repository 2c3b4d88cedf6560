"""A manifest for tests in which the network does not matter."""

from exporter.artifacts.manifest import MANIFEST_VERSION, Manifest, NetworkRecord
from models.config import C3DConfig
from models.preprocessing import UNKNOWN

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
