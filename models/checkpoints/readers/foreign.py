"""Files that are no checkpoints, and checkpoints of frameworks that are not read: what they are and what to do.

Nothing of them is parsed: their first bytes or their suffix say it.
"""

from __future__ import annotations

from models.checkpoints.readers.base import MappedFile
from models.foreign_files import HEAD_BYTES, describe_start

FRAMEWORKS = {
    ".mat": ("MATLAB", "scipy.io.loadmat, or h5py from version 7.3 on"),
    ".t7": ("Lua Torch", "the package torchfile"),
    ".msgpack": ("Flax", "flax.serialization.msgpack_restore"),
    ".tflite": ("TensorFlow Lite", "tf.lite.Interpreter"),
    ".pb": ("TensorFlow (a graph; its checkpoint is read)", "tf.compat.v1.import_graph_def"),
    ".pdiparams": ("PaddlePaddle (for inference; its .pdparams is read)", "paddle.jit.load"),
    ".cmf": ("CNTK", "cntk.load_model"),
    ".dnn": ("CNTK", "cntk.load_model"),
}
"""{suffix: the framework whose file it is, and what reads it}."""
MINDSPORE = ("MindSpore", "mindspore.load_checkpoint")
STARTS = {b"MATLAB ": ".mat", b"\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1": ".t7"}
"""{first bytes: the suffix of such files}."""


def describe_foreign(file: MappedFile) -> str | None:
    """Return what a file is that is not read here, and what to do; None for any other."""
    head = file.data[:HEAD_BYTES]
    if (what := describe_start(head, file.path)) is not None:
        return f"not a checkpoint but {what}"
    suffix = next((suffix for start, suffix in STARTS.items() if head.startswith(start)), file.suffix)
    found = FRAMEWORKS.get(suffix)
    if suffix == ".ckpt" and head.startswith(b"\n") and b"Float" in head:  # protocol buffers: a name, a type
        found = MINDSPORE
    if found is None:
        return None
    framework, library = found
    return (
        f"a file of {framework}, which is not read: where it was made, load it by {library}, and save the arrays as "
        "conv1.weight, conv1.bias and so on, with torch's axes, by numpy.savez"
    )
