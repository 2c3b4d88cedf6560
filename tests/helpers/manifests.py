"""A manifest for tests in which the network does not matter."""

from exporter.artifacts.manifest import Manifest, WeightsRecord
from exporter.types import c3d_signature
from models.config import C3DConfig
from models.preprocessing import UNKNOWN

MANIFEST = Manifest(
    version=1,
    producer="c3d-export 0",
    name="c3d",
    format="onnx",
    network=C3DConfig(),
    pool5_source="default",
    parameters=1,
    state_sha256="0" * 64,
    weights=WeightsRecord("seed", 0),
    preprocessing=UNKNOWN,
    signature=c3d_signature(("logits",), 101, None),
    options={},
    versions={},
)
