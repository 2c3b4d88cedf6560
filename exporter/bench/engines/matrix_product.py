"""A square float32 matrix product, as a target: what the roofline is measured with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def library() -> str:
    """Import numpy and torch."""
    import numpy as np
    import torch

    return f"numpy {np.__version__}, torch {torch.__version__}"


def load(job: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], list[Any]]:
    """Return a product of two `size` x `size` matrices by `product`: `numpy` or `torch`."""
    import numpy as np
    import torch

    torch.set_num_threads(job["threads"])
    generator = np.random.default_rng(0)
    a, b = (generator.random((job["size"], job["size"]), dtype=np.float32) for _ in range(2))
    out: Any = np.empty_like(a)
    x, y, z = map(torch.from_numpy, (a, b, out))

    def by_numpy(_feeds: Mapping[str, Any]) -> list[Any]:
        np.matmul(a, b, out=out)
        return [out[:1, :1]]

    def by_torch(_feeds: Mapping[str, Any]) -> list[Any]:
        torch.mm(x, y, out=z)
        return [out[:1, :1]]

    return by_numpy if job["product"] == "numpy" else by_torch
