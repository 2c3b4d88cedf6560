"""Preprocessing profiles: how each checkpoint origin turns frames into a clip.

A wrong profile gives wrong outputs without an error: mean, channel order and value range differ from origin to
origin and no shape shows which was used. Each layout in `models.checkpoints.layouts` names its profile; the manifest
records it.

`recipe` has the dataclass and `profiles` the table; `files` finds a profile by name or reads one from a file, and
`mean` reads mean files. What computes needs torch and is imported from its module: `module` (the torch module, also
what is exported) and `frames` (its two halves, NumPy in and out).
"""

from models.preprocessing.files import find_profile, format_profile
from models.preprocessing.profiles import (
    C3D_KERAS,
    CAFFE,
    DAVIDEA,
    EKOSMAN,
    GLUONCV,
    HX173149,
    JFZHANG95,
    MMACTION2,
    NOT_KNOWN,
    PROFILES,
    UNKNOWN,
)
from models.preprocessing.recipe import (
    COLOURS,
    CROP_SIZE,
    INTERPOLATIONS,
    Average,
    Channels,
    Interpolation,
    MeanFile,
    Preprocessing,
    Rounding,
)

__all__ = [
    "C3D_KERAS",
    "CAFFE",
    "COLOURS",
    "CROP_SIZE",
    "DAVIDEA",
    "EKOSMAN",
    "GLUONCV",
    "HX173149",
    "INTERPOLATIONS",
    "JFZHANG95",
    "MMACTION2",
    "NOT_KNOWN",
    "PROFILES",
    "UNKNOWN",
    "Average",
    "Channels",
    "Interpolation",
    "MeanFile",
    "Preprocessing",
    "Rounding",
    "find_profile",
    "format_profile",
]
