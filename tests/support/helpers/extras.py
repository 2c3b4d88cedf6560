"""Marks of tests that need an extra of this package, or a compiler."""

import shutil
from importlib.util import find_spec

import pytest

needs_openvino = pytest.mark.skipif(
    find_spec("openvino") is None, reason="OpenVINO is an extra: pip install 'c3d-export[openvino]'"
)
needs_cxx_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler; apt-get install g++")
