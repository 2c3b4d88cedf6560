"""What is kept of a run holds no memory of the engine that returned it."""

import numpy as np

from exporter.parity.feeds import as_batch, as_items


def test_kept_outputs_are_copies() -> None:
    memory = np.zeros((4, 3), np.float32)
    for keep, shape in ((as_batch, (2, 3)), (as_items, (1, 2, 3))):
        kept = keep({"y": memory[:2]})["y"]
        assert kept.shape == shape
        assert not np.shares_memory(kept, memory)
    assert as_batch({"y": np.array(1.0)})["y"].shape == (1,)
