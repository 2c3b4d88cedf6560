"""AOTInductor packages (`.aoti.pt2`): a network compiled for one kind of processor, in torch.

A package holds a shared library, which is code. What it was compiled for is in its metadata, read before it is loaded.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import torch
from torch.utils._pytree import tree_leaves, treespec_loads

from exporter.engines.aoti_metadata import read_metadata, require_processor
from exporter.engines.base import WEIGHT_PRECISIONS
from exporter.engines.code_file import private_path
from exporter.engines.torch_files import UNKNOWN_SHAPE, TorchFileRuntime
from exporter.errors import UsageError
from exporter.results import Placement, Precision
from models.specs import Signature, TensorSpec

if TYPE_CHECKING:
    from torch.export.pt2_archive._package import AOTICompiledModel


CHECK_INPUTS = "AOTI_RUNTIME_CHECK_INPUTS"
"""Environment variable: compiled code then compares shapes and dtypes, which it otherwise takes for granted."""


class AotiRuntime(TorchFileRuntime):
    """An AOTInductor package in torch, on the CPU. Loading one loads its machine code."""

    format = "pt2-aoti"
    title = "AOTInductor package"
    load_errors = (RuntimeError,)
    _compiled: Any = None

    def load_model(self) -> None:
        """Load the package; raises as `Runtime.load` says.

        Raises:
            UsageError: intermediate values are asked for, which compiled code does not have.
        """
        if self.options.all_outputs or self.options.extra_outputs:
            raise UsageError(f"{self.path.name} is compiled code, which has no intermediate values; take --format pt2")
        super().load_model()

    def load_file(self, stream: BinaryIO) -> None:
        """Load the package, if it was compiled for this processor."""
        require_processor(self.path, read_metadata(self.path, stream))
        os.environ.setdefault(CHECK_INPUTS, "1")  # read once, at the first run
        with private_path(stream, ".pt2") as path:
            self._compiled = load_package(path)

    def release(self) -> None:
        """Release the package."""
        self._compiled = None

    def stated_signature(self) -> Signature:
        """Return as many inputs and outputs as the package states, unnamed."""
        assert self._compiled is not None, "enter the runtime first"
        taken, given = (treespec_loads(text).num_leaves for text in self._compiled.loader.get_call_spec())
        return Signature(
            tuple(TensorSpec(f"input{index}", "float32", UNKNOWN_SHAPE) for index in range(taken)),
            tuple(TensorSpec(f"output{index}", "float32", UNKNOWN_SHAPE) for index in range(given)),
        )

    @property
    def precision(self) -> Precision:
        """Return what the manifest says that it computes in; the compiled code does not state it."""
        return WEIGHT_PRECISIONS[self.options.precision]

    @property
    def placement(self) -> Placement:
        """Return the package as one node: the compiler has fused the operators."""
        return Placement(self.options.device, 1)

    def to_input(self, value: torch.Tensor) -> torch.Tensor:
        """Return a contiguous tensor whose axes of length 1 have the strides of a new tensor too.

        The compiled code compares all strides. An axis that is added by indexing a NumPy array (`x[np.newaxis]`) has
        the stride 0, and torch calls such a tensor contiguous all the same.
        """
        return value.contiguous().view(-1).view(value.shape)

    def call(self, inputs: Sequence[torch.Tensor]) -> Any:
        """Run the package."""
        assert self._compiled is not None, "enter the runtime first"
        return tree_leaves(self._compiled(*inputs))


def load_package(path: Path) -> AOTICompiledModel:
    """Load a package: a function of tensors.

    `torch._inductor.aoti_load_package` does the same, but first compiles test programs with the C++ compiler to find
    out which instruction sets compiler and processor have, and logs where the package's metadata says otherwise.
    `require_processor` compared them before. torch unpacks the package beside `path`, and removes that only if the
    process ends by itself: the folder must be one that is removed. What was loaded does not need it any more.

    Raises:
        RuntimeError, OSError: torch rejects it.
    """
    from torch.export.pt2_archive._package import AOTICompiledModel

    loader: Any = torch._C._aoti.AOTIModelPackageLoader  # pyright: ignore - what aoti_load_package calls
    with _native_temporary_folder(path.parent):
        return AOTICompiledModel(loader(str(path), "model", False, 1, -1))


@contextlib.contextmanager
def _native_temporary_folder(folder: Path) -> Generator[None]:
    """Have torch's C++ code write its temporary files into `folder`: it reads the environment, not `tempfile`."""
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before
