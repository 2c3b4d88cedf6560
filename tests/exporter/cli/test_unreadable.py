"""Models that cannot be read are refused without the imports that take seconds."""

from pathlib import Path

import pytest
from helpers import small_models
from helpers.run import python

from exporter.cli.unreadable import refuse_unreadable
from exporter.errors import ArtifactError

COMMANDS = """
import sys
for name in ("torch", "onnxruntime", "onnx_ir", "openvino"):
    sys.modules[name] = None  # importing it raises ImportError
from exporter.cli.main import cli
from exporter.errors import ArtifactError
for words in ("verify parity", "verify self-test", "bench", "inspect", "optimize", "predict"):
    arguments = [*words.split(), sys.argv[1], *["video.mp4"] * (words == "predict")]
    try:
        cli.main(arguments, standalone_mode=False)
        sys.exit(f"{words}: not refused")
    except ArtifactError as error:
        assert "not a complete ONNX file" in str(error), (words, error)
"""


def test_no_command_imports_torch_for_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(small_models.network(tmp_path / "whole.onnx").read_bytes()[:-40])
    (tmp_path / "video.mp4").touch()
    done = python(COMMANDS, str(cut), cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_what_is_left_to_the_command(tmp_path: Path) -> None:
    cut, whole = tmp_path / "cut.onnx", small_models.network(tmp_path / "whole.onnx")
    cut.write_bytes(whole.read_bytes()[:-40])
    refuse_unreadable(None, "openvino", whole, tmp_path)
    with pytest.raises(ArtifactError, match="no such file"):
        refuse_unreadable(tmp_path / "missing.onnx")
    with pytest.raises(ArtifactError, match="not a complete ONNX file"):
        refuse_unreadable(whole, cut)
    (tmp_path / "cut.onnx.json").touch()
    refuse_unreadable(cut)  # its hash is compared with its manifest's


def test_an_openvino_file_that_is_no_xml(tmp_path: Path) -> None:
    path = tmp_path / "m.xml"
    path.write_text("<net")
    with pytest.raises(ArtifactError, match="not an OpenVINO model"):
        refuse_unreadable(path)
