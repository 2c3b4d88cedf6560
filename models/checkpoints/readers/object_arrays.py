"""What NumPy pickles inside `.npy` and `.npz` files: arrays of objects, mostly one dict of arrays."""

from __future__ import annotations

from typing import cast

from models.checkpoints.contents import NotBuilt
from models.checkpoints.file_tensor import FileTensor

ARRAY = "numpy.ndarray"


def unwrap_objects(content: object) -> object:
    """Return the elements of an object array, as a list; of an array of one element, that element."""
    if isinstance(content, NotBuilt) and content.name == ARRAY and content.parts:
        content = content.parts[-1]  # the list of its elements
    while isinstance(content, list) and len(items := cast("list[object]", content)) == 1:
        content = items[0]
    return content


def number_arrays(content: object) -> object:
    """Return a plain list of arrays, such as Lasagne's, under the names that `numpy.savez` gives it."""
    items = cast("list[object]", content) if isinstance(content, list) else []
    if items and all(isinstance(item, FileTensor) for item in items):
        return {f"arr_{index}": item for index, item in enumerate(items)}
    return content
