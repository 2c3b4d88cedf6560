"""`build()`: the one way to get a ready network and to know where its weights came from."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from models.c3d import C3D
from models.checkpoints import Checkpoint, LoadResult, load_into, read_checkpoint
from models.config import DEFAULT_CLASSES, FEATURE_DIM, C3DConfig, Pool5
from models.preprocessing import UNKNOWN, Preprocessing
from models.progress import Progress, no_progress


@dataclass(frozen=True)
class CheckpointInfo:
    """The checkpoint that a network's weights came from.

    Attributes:
        path: where it was read.
        sha256: of its bytes.
        container: the kind of file.
        layout: the origin it was recognised as.
        coverage: how much of the network it gave.
        pool5: the convention that the file or its origin tells; None where neither does.
        url: where it was downloaded from, without what might be secret; None for a file of the user's.
        notes: what the user should know of how it was had.
    """

    path: Path
    sha256: str
    container: str
    layout: str
    coverage: LoadResult
    pool5: Pool5 | None = None
    url: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class BuiltModel:
    """A network in eval mode and the account of it.

    Attributes:
        network: float32, on the CPU, eval mode, no gradients.
        config: its structure.
        seed: of whatever was initialised randomly.
        weights: the checkpoint, or None where every parameter comes from the seed.
        pool5_source: who chose the pool5 convention: `default`, `layout`, `file` (it tells it itself) or `option`.
        preprocessing: what the weights expect of their pixels.
    """

    network: C3D
    config: C3DConfig
    seed: int
    weights: CheckpointInfo | None
    pool5_source: str
    preprocessing: Preprocessing

    @property
    def parameters(self) -> int:
        """Count of trainable numbers."""
        return sum(parameter.numel() for parameter in self.network.parameters())


def build(
    num_classes: int | None = None,
    *,
    batch_norm: bool = False,
    pool5: Pool5 | None = None,
    seed: int = 0,
    weights: str | Path | None = None,
    layout: str = "auto",
    new_head: bool = False,
    progress: Progress = no_progress,
) -> BuiltModel:
    """Construct C3D, initialise it from `seed`, load `weights` if there are any, and put it in eval mode.

    torch's global random state is left as it was.

    Args:
        num_classes: fc8's outputs; None takes the checkpoint's (0 where it has no fc8), or 101 without a checkpoint.
        batch_norm: the variant with a BatchNorm3d after each convolution; a checkpoint of that variant says so itself.
        pool5: pool5's convention; None takes the checkpoint's or its layout's, or `symmetric`.
        seed: of the initialisation.
        weights: a checkpoint: a file, `https://…[#sha256=…]`, or `hf://owner/repo/file[@revision]`. It must cover the
            network completely.
        layout: the checkpoint's origin, or `auto` to recognise it.
        new_head: initialise fc8 freshly where the checkpoint has none or another class count.
        progress: told while something is downloaded.

    Raises:
        models.errors.CheckpointError: the checkpoint is bad, of another network, or leaves anything uncovered.
        models.errors.UsageError: no such layout.
        models.errors.UnavailableError: a library is missing that reads or fetches such a checkpoint.
        ValueError: `num_classes` out of range.
    """
    if weights is None:
        classes = DEFAULT_CLASSES if num_classes is None else num_classes
        config = C3DConfig(classes, batch_norm, pool5 or "symmetric")
        network = _init_model(config, seed)
        source = "option" if pool5 else "default"
        return BuiltModel(_freeze(network), config, seed, None, source, UNKNOWN)

    checkpoint = read_checkpoint(weights, layout, progress)
    classes = _class_count(checkpoint, new_head=new_head) if num_classes is None else num_classes
    config = C3DConfig(classes, batch_norm or checkpoint.batch_norm, pool5 or checkpoint.pool5 or "symmetric")
    network, coverage = _load_model(config, seed, checkpoint, new_head=new_head)
    reported = "file" if checkpoint.raw.pool5 else "layout" if checkpoint.pool5 else "default"
    origin = CheckpointInfo(
        checkpoint.path,
        checkpoint.raw.sha256,
        checkpoint.raw.container,
        checkpoint.layout.name,
        coverage,
        checkpoint.pool5,
        checkpoint.file.url,
        checkpoint.file.notes,
    )
    return BuiltModel(_freeze(network), config, seed, origin, "option" if pool5 else reported, checkpoint.preprocessing)


def _class_count(checkpoint: Checkpoint, *, new_head: bool) -> int:
    return checkpoint.num_classes or (DEFAULT_CLASSES if new_head else 0)


def state_sha256(network: nn.Module) -> str:
    """Return one SHA-256 over every tensor of the network's state: name, dtype, shape and bytes, sorted by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(memoryview(tensor.detach().cpu().contiguous().numpy()).cast("B"))
    return digest.hexdigest()


def _construct(config: C3DConfig) -> C3D:
    return C3D(config.num_classes, batch_norm=config.batch_norm, pool5=config.pool5)


def _init_model(config: C3DConfig, seed: int) -> C3D:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _construct(config)


def _load_model(config: C3DConfig, seed: int, checkpoint: Checkpoint, *, new_head: bool) -> tuple[C3D, LoadResult]:
    # On the meta device nothing is allocated or drawn that the checkpoint would overwrite.
    with torch.device("meta"):
        network = _construct(config)
    coverage = load_into(network, checkpoint, new_head=new_head)
    if coverage.reinitialized:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network.fc8 = nn.Linear(FEATURE_DIM, config.num_classes)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.num_batches_tracked = torch.zeros((), dtype=torch.long)
    return network, coverage


def _freeze(network: C3D) -> C3D:
    return network.eval().requires_grad_(requires_grad=False)
