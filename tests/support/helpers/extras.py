"""Marks of tests that need an extra of this package."""

from importlib.util import find_spec

import pytest

needs_openvino = pytest.mark.skipif(
    find_spec("openvino") is None, reason="OpenVINO is an extra: pip install 'c3d-export[openvino]'"
)
