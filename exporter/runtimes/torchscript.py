"""TorchScript files in torch, on the CPU or CUDA."""

import contextlib
import warnings
from collections.abc import Generator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from exporter.errors import ArtifactError, CheckFailedError, UnavailableError
from exporter.types import Device, Placement, Signature

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

MISSING_CUDA = (
    "--device cuda: the installed torch cannot use CUDA here; "
    "pip install a CUDA build of torch on a machine with an NVIDIA driver"
)


class TorchScriptRuntime:
    """A TorchScript archive in torch's interpreter. Loading one runs its code: check its hash first."""

    def __init__(self, path: Path, device: Device, signature: Signature, optimised: bool = False) -> None:
        self.path = path
        self.device: Device = device
        self.signature = signature  # an archive states none itself
        self.optimised = optimised and device == "cpu"
        self._module: torch.jit.ScriptModule | None = None

    @property
    def title(self) -> str:
        """Return `TorchScript in torch 2.13.0 (cpu)`."""
        import torch

        form = ", optimize_for_inference" if self.optimised else ""
        return f"TorchScript in torch {torch.__version__} ({self.device}{form})"

    def __enter__(self) -> Self:
        """Load the module; raises as `Runtime.__enter__` says."""
        import torch

        require_device(self.device)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                module = torch.jit.load(str(self.path), map_location=self.device)
                self._module = torch.jit.optimize_for_inference(module.eval()) if self.optimised else module
            except (RuntimeError, ValueError) as error:
                reason = (str(error).strip().splitlines() or ["unknown"])[0]
                raise ArtifactError(f"{self.path}: torch refuses it: {reason}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the module go."""
        self._module = None

    @property
    def placement(self) -> Placement:
        """Return the graph's operator count; torch runs every one of them on the device or fails."""
        assert self._module is not None, "enter the runtime first"
        operators = [node for node in self._module.inlined_graph.nodes() if node.kind().startswith("aten::")]
        return Placement(self.device, len(operators))

    def run(self, clips: "NDArray[np.float32]") -> "dict[str, NDArray[np.float32]]":
        """Run one batch."""
        import torch

        assert self._module is not None, "enter the runtime first"
        names = [output.name for output in self.signature.outputs]
        with torch.inference_mode(), _float32_arithmetic():
            try:
                answer = self._module(torch.from_numpy(clips).to(self.device))
            except RuntimeError as error:
                reason = str(error).strip().splitlines()[-1]
                raise CheckFailedError(f"{self.path}: fails on a clip batch {clips.shape}: {reason}") from error
        values = answer if isinstance(answer, tuple) else (answer,)
        kinds = [str(value.dtype) if isinstance(value, torch.Tensor) else type(value).__name__ for value in values]
        if kinds != ["torch.float32"] * len(names):
            raise CheckFailedError(f"{self.path}: answers {', '.join(kinds)}; its signature says {self.signature}")
        return {name: value.cpu().numpy() for name, value in zip(names, values, strict=True)}


def require_device(device: Device) -> None:
    """Refuse CUDA where the installed torch cannot use it.

    Raises:
        UnavailableError: with the package to install.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UnavailableError(MISSING_CUDA)


@contextlib.contextmanager
def _float32_arithmetic() -> Generator[None]:
    """Turn TF32 off on CUDA: it keeps 10 bits of mantissa, and float32 parity is judged on float32 arithmetic."""
    import torch

    cudnn, matmul = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = cudnn, matmul
