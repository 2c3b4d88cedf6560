"""What tests ask of a built C3D."""

from models import C3D
from models.built_model import BuiltModel
from models.checkpoints.info import CheckpointInfo


def c3d(model: BuiltModel) -> C3D:
    """Return the network as the C3D that it is."""
    assert isinstance(model.network, C3D)
    return model.network


def checkpoint(model: BuiltModel) -> CheckpointInfo:
    """Return where the parameters came from."""
    assert model.checkpoint is not None
    return model.checkpoint


def profile(model: BuiltModel) -> str:
    """Return the name of the preprocessing profile."""
    assert model.preprocessing is not None
    return model.preprocessing.name
