"""Settings of torch: in force while a runtime is open, and restored."""

import pytest
import torch

from exporter.engines.base import RuntimeOptions
from exporter.engines.torch_settings import apply_settings


def test_settings_are_restored_after_an_error() -> None:
    before = torch.get_num_threads(), torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    with pytest.raises(RuntimeError, match="stop"), apply_settings(RuntimeOptions(threads=1)):
        assert torch.get_num_threads() == 1
        assert not torch.backends.cudnn.allow_tf32
        raise RuntimeError("stop")
    assert (torch.get_num_threads(), torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == before
