"""`verify self-test` in pieces: every fault of the table, planted in the artifact of seed 0.

The same functions as the command, in an order that makes what is done so far a sample of the whole.
"""

import zlib
from collections import Counter
from dataclasses import asdict

from measure import machine
from pieces import Pieces, pieces

from exporter.artifacts.store import staging
from exporter.fault_injection.harness import OPTIONS, set_up
from exporter.fault_injection.results import SelfTestOptions
from exporter.fault_injection.runner import Fault, list_faults, run_faults
from exporter.fault_injection.split import temp_folder
from exporter.formats import load_artifact
from exporter.parity.golden import GoldenOutputs, require_cache
from exporter.parity.inputs import make_network_inputs
from exporter.parity.run_specs import make_run_spec
from exporter.parity.sources import NetworkSource
from exporter.requests import ExportRequest
from exporter.types import QUICK, ParityOptions
from exporter.workflows.export import export
from models import build
from models.options import BuildOptions

FAULTS_PER_BATCH = 8
"""Faults between two looks at the clock."""


def main() -> None:
    """Measure what is left, and print what is known."""
    kept = pieces(__doc__ or "", "localize")
    options = SelfTestOptions(localize="localize" in kept.flags)
    artifacts = kept.path.parent / "artifacts"
    if not (artifacts / "c3d.onnx").is_file():
        export(ExportRequest(("onnx",), output_dir=artifacts, verify=False))
    with staging(temp_folder(artifacts / "c3d.onnx")) as folder:
        built = build(BuildOptions(seed=0))
        pool = make_network_inputs(built, ParityOptions(input_types=QUICK))
        require_cache(kept.path.parent / "golden")
        golden = GoldenOutputs(NetworkSource(built), pool, kept.path.parent / "golden")
        artifact = load_artifact(artifacts / "c3d.onnx")
        harness = set_up(artifact, golden, make_run_spec(artifact, OPTIONS, built), folder)
        faults = sorted(list_faults(harness.graph), key=lambda fault: zlib.crc32(title(fault).encode()))
        left = [fault for fault in faults if title(fault) not in kept.done]
        while left and not kept.over:
            some, left = left[:FAULTS_PER_BATCH], left[FAULTS_PER_BATCH:]
            for fault, found in zip(some, run_faults(harness, some, options), strict=True):
                kept.keep(title(fault), asdict(found))
    print(machine())
    print(f"{len(kept.done)} of {len(faults)} faults")
    report(kept)


def title(fault: Fault) -> str:
    """Return a fault's name in the file."""
    return f"{fault.fault_type.name}: {fault.site.where}"


def report(kept: Pieces) -> None:
    """Print how many were detected, and which were not."""
    print("kinds", len({fault["kind"] for fault in kept.done.values()}))
    print("outcome", Counter(fault["outcome"] for fault in kept.done.values()))
    print("located", Counter(fault["located"] for fault in kept.done.values() if fault["outcome"] == "detected"))
    for name, fault in kept.done.items():
        if fault["outcome"] != "detected" or fault["located"] == "elsewhere":
            reported = (
                fault["outcome"],
                fault["budget_used"],
                fault["float64_budget_used"],
                fault["named"],
                fault["reason"],
            )
            print(f"{name:<60}", *reported)


if __name__ == "__main__":
    main()
