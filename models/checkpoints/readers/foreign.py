"""Files that are no checkpoints, and checkpoints of frameworks that are not read: what they are and what to do.

Nothing of them is parsed: their first bytes or their suffix say it.
"""

from __future__ import annotations

import shlex

from models.checkpoints.readers.base import MappedFile

NOT_WEIGHTS = {
    b"<": "a web page or XML: the download went wrong; look at the address in a browser",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself: run `git lfs pull` where it was cloned",
    b"7z\xbc\xaf": "a 7z archive: unpack it by `7z x {}`",
    b"Rar!": "a RAR archive: unpack it by `unrar x {}`",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it by `zstd -d {}`",
    b"\x04\x22\x4d\x18": "compressed by lz4: unpack it by `lz4 -d {}`",
    b"\x5d\0\0": "compressed by lzma: unpack it by `xz -F lzma -dc {} > unpacked`",
    b"ZF0x": "compressed by joblib before 0.10: where you trust it, load {} by joblib.load and write it by joblib.dump",
    b"\x1f\x9d": "compressed by compress: unpack it by `uncompress {}`",
}
"""{first bytes: what such a file is, with {} for its path}."""

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
_HEAD = 512


def describe_foreign(file: MappedFile) -> str | None:
    """Return what a file is that is not read here, and what to do; None for any other."""
    head = file.data[:_HEAD]
    for start, what in NOT_WEIGHTS.items():
        if head.lstrip().startswith(start):
            return f"not a checkpoint but {what.format(shlex.quote(str(file.path)))}"
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
