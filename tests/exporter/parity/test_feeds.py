"""What is kept of a run holds no memory of the engine that returned it."""

import numpy as np

from exporter.parity.feeds import as_rows


def test_kept_outputs_are_copies() -> None:
    memory = np.zeros((4, 3), np.float32)
    for batched, shape in ((True, (2, 3)), (False, (1, 2, 3))):
        kept = as_rows({"y": memory[:2]}, batched=batched)["y"]
        assert kept.shape == shape
        assert not np.shares_memory(kept, memory)
    assert as_rows({"y": np.array(1.0)}, batched=True)["y"].shape == (1,)
