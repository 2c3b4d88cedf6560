"""The cases of `benchmarks/reliability.py`, a module for each family. The tests' helpers write the files."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HELPERS = ROOT / "tests" / "support"

for _folder in (HELPERS, ROOT):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))

FAMILIES = (
    "hostile",
    "claims",
    "checkpoints",
    "onnx_models",
    "names",
    "artifacts",
    "manifests",
    "videos",
    "option_files",
    "video_sources",
    "pages",
    "replays",
    "publishing",
    "suites",
)
"""Modules of this package with a function `families`, in the order of the table."""
