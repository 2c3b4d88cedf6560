"""The modules that are changed, and the tests that are to notice it."""

from __future__ import annotations

PICKLES = "tests/models/checkpoints/pickles"
READERS = "tests/models/checkpoints/readers"
ARTIFACTS = "tests/exporter/artifacts"
ISOLATION = "tests/exporter/isolation"
SUPERVISED = (
    f"{ISOLATION}/test_supervisor.py",
    f"{ISOLATION}/test_worker.py",
    f"{ISOLATION}/test_meter.py",
    "tests/exporter/cli/test_limits.py",
)
PICKLE_READING = (
    f"{PICKLES}/test_opcodes.py",
    f"{PICKLES}/test_reader.py",
    f"{PICKLES}/test_rules.py",
    f"{PICKLES}/test_hazards.py",
    f"{PICKLES}/test_joblib.py",
)
PUBLISHING = (f"{ARTIFACTS}/test_publication.py", f"{ARTIFACTS}/test_store.py", f"{ARTIFACTS}/test_full_disks.py")
LOADING = (f"{ARTIFACTS}/test_files.py", f"{ARTIFACTS}/test_loading.py", "tests/exporter/workflows/test_integrity.py")
MANIFESTS = (f"{ARTIFACTS}/test_manifest.py", f"{ARTIFACTS}/test_manifest_v1.py")

TESTS: dict[str, tuple[str, ...]] = {
    "exporter/parity/compare.py": ("tests/exporter/parity/test_compare.py", "tests/exporter/parity/test_evaluate.py"),
    "exporter/parity/tolerance.py": (
        "tests/exporter/parity/test_tolerance.py",
        "tests/exporter/parity/test_evaluate.py",
    ),
    "exporter/isolation/board.py": SUPERVISED,
    "exporter/isolation/environment.py": (f"{ISOLATION}/test_environment.py",),
    "exporter/isolation/memory.py": (f"{ISOLATION}/test_memory.py", "tests/exporter/cli/test_limits.py"),
    "exporter/isolation/meter.py": SUPERVISED,
    "exporter/isolation/outcomes.py": (f"{ISOLATION}/test_outcomes.py",),
    "exporter/isolation/streams.py": (f"{ISOLATION}/test_streams.py",),
    "exporter/isolation/supervisor.py": SUPERVISED,
    "exporter/isolation/worker.py": SUPERVISED,
    "exporter/trust.py": ("tests/exporter/test_trust.py", "tests/exporter/engines/test_torchscript.py"),
    "exporter/signing.py": ("tests/exporter/test_signing.py",),
    "exporter/file_state.py": ("tests/exporter/test_file_state.py",),
    "models/checkpoints/pickles/rules.py": (
        *PICKLE_READING,
        f"{PICKLES}/test_plain.py",
        f"{PICKLES}/test_arrays.py",
    ),
    "models/checkpoints/pickles/limits.py": (f"{PICKLES}/test_limits.py",),
    "models/checkpoints/pickles/machine.py": PICKLE_READING,
    "models/checkpoints/pickles/opcodes.py": PICKLE_READING,
    "models/checkpoints/pickles/hazards.py": (*PICKLE_READING, f"{PICKLES}/test_hostile.py"),
    "models/checkpoints/readers/zip_archive.py": (
        f"{READERS}/test_npz.py",
        f"{READERS}/test_damaged_torch.py",
        f"{READERS}/test_archives.py",
        f"{READERS}/test_torch.py",
    ),
    "exporter/artifacts/files.py": LOADING,
    "exporter/artifacts/folders.py": (f"{ARTIFACTS}/test_folders.py", *PUBLISHING),
    "exporter/artifacts/loading.py": LOADING,
    "exporter/artifacts/manifest.py": MANIFESTS,
    "exporter/artifacts/manifest_rules.py": MANIFESTS,
    "exporter/artifacts/provenance.py": (f"{ARTIFACTS}/test_provenance.py",),
    "exporter/artifacts/store.py": PUBLISHING,
    "exporter/artifacts/publication.py": PUBLISHING,
}
"""{module: its tests}."""
