"""What a `.pt2` file states of its weights, as JSON.

Sources: `torch/export/pt2_archive/_package_weights.py` and `torch/_export/serde/schema.py` of torch 2.9 and later.
"""

from __future__ import annotations

import msgspec

from models.checkpoints.dtypes import DTYPES, DType

WEIGHTS_CONFIG = "data/weights/model_weights_config.json"
"""The member that describes parameters and buffers."""

_NAMES = ["uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]
SCALAR_TYPES: dict[int, DType] = {
    **{number: DTYPES[name] for number, name in enumerate(_NAMES, 1)},
    12: DTYPES["bool"],
    13: DTYPES["bfloat16"],
}
"""{number of a `ScalarType`: dtype}."""


class Number(msgspec.Struct):
    """A size. `as_int` is None where it is free, an expression."""

    as_int: int | None = None


class TensorMeta(msgspec.Struct):
    """A tensor: the number of its dtype, and its sizes, in numbers."""

    dtype: int
    sizes: list[Number]
    strides: list[Number]
    storage_offset: Number

    @property
    def shape(self) -> list[int | None]:
        """Its sizes; None for a free one."""
        return [size.as_int for size in self.sizes]

    @property
    def stride(self) -> list[int | None]:
        """From one index of each axis to the next; None for a free one."""
        return [step.as_int for step in self.strides]

    @property
    def offset(self) -> int | None:
        """Of its first number in the storage."""
        return self.storage_offset.as_int


class Weight(msgspec.Struct):
    """A weight: the member with its numbers in the config's folder, and whether that member is a pickle."""

    path_name: str
    use_pickle: bool
    tensor_meta: TensorMeta


class WeightsConfig(msgspec.Struct):
    """The content of such a member: {name: weight}."""

    config: dict[str, Weight]
