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
LOADING = (f"{ARTIFACTS}/test_files.py", f"{ARTIFACTS}/test_loading.py")
MANIFESTS = (f"{ARTIFACTS}/test_manifest.py", f"{ARTIFACTS}/test_manifest_v1.py")
PARITY = "tests/exporter/parity"
INPUT_ROLES = tuple(f"{PARITY}/input_roles/test_{name}.py" for name in ("roles", "indices", "image_sizes"))
ONNX_IO = "tests/exporter/onnx_io"
CHECKPOINTS = "tests/models/checkpoints"
PREPROCESSING = tuple(f"tests/models/preprocessing/test_{name}.py" for name in ("files", "mean", "profiles"))
RESIZING = (*PREPROCESSING, "tests/models/preprocessing/test_module.py")
HTTP = "tests/models/http"
TRANSFERS = (f"{HTTP}/test_transfer.py", f"{HTTP}/test_bodies.py", f"{HTTP}/test_client.py")
REMOTE = "tests/exporter/remote"
REMOTE_FILES = (f"{REMOTE}/test_files.py", f"{REMOTE}/test_http.py", "tests/exporter/test_storage.py")
PASSES = "tests/exporter/passes"
CLASS_NAMES = ("tests/models/class_names/test_class_names.py", "tests/models/class_names/test_reading.py")

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
    "exporter/isolation/worker.py": (f"{ISOLATION}/test_worker.py",),
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
    "models/checkpoints/file_tensor.py": (f"{CHECKPOINTS}/test_tensors.py", f"{PICKLES}/test_reader.py"),
    "models/checkpoints/readers/zip_archive.py": (
        f"{READERS}/test_zip_archive.py",
        f"{READERS}/test_npz.py",
        f"{READERS}/test_damaged_torch.py",
        f"{READERS}/test_archives.py",
        f"{READERS}/test_torch.py",
    ),
    "exporter/artifacts/files.py": (f"{ARTIFACTS}/test_files.py",),
    "exporter/artifacts/folders.py": (f"{ARTIFACTS}/test_folders.py",),
    "exporter/artifacts/loading.py": LOADING,
    "exporter/artifacts/manifest_fields.py": MANIFESTS,
    "exporter/artifacts/manifest_rules.py": MANIFESTS,
    "exporter/artifacts/provenance.py": (f"{ARTIFACTS}/test_provenance.py",),
    "exporter/artifacts/store.py": (
        f"{ARTIFACTS}/test_store.py",
        f"{ARTIFACTS}/test_folders.py",
        f"{ISOLATION}/test_worker.py",
    ),
    "exporter/artifacts/publication.py": PUBLISHING,
    "exporter/parity/evaluate.py": tuple(f"{PARITY}/test_{name}.py" for name in ("evaluate", "evidence", "pairing")),
    "exporter/parity/discrete.py": (f"{PARITY}/test_discrete.py",),
    "exporter/parity/near_ties.py": (f"{PARITY}/test_near_ties.py",),
    "exporter/parity/moved_weights.py": (f"{PARITY}/test_moved_weights.py",),
    "exporter/parity/conditioning.py": (f"{PARITY}/test_conditioning.py",),
    "exporter/parity/input_roles/roles.py": INPUT_ROLES,
    "exporter/parity/input_roles/sizes.py": INPUT_ROLES,
    "exporter/parity/input_roles/indices.py": INPUT_ROLES,
    "exporter/onnx_io/external_data.py": (f"{ONNX_IO}/test_external_data.py",),
    "exporter/onnx_io/writer.py": (f"{ONNX_IO}/test_writer.py", f"{ONNX_IO}/test_external_data.py"),
    "exporter/onnx_io/reader.py": (f"{ONNX_IO}/test_reader.py", f"{ONNX_IO}/test_external_data.py"),
    "exporter/onnx_io/cast.py": (f"{ONNX_IO}/test_cast.py",),
    "exporter/video/sampling.py": ("tests/exporter/video/test_sampling.py",),
    "models/checkpoints/key_map.py": (f"{CHECKPOINTS}/test_key_map.py",),
    "models/checkpoints/detection.py": (f"{CHECKPOINTS}/test_detection.py", f"{CHECKPOINTS}/test_layouts.py"),
    "models/checkpoints/layout.py": (
        f"{CHECKPOINTS}/test_layout.py",
        f"{CHECKPOINTS}/test_layouts.py",
        f"{CHECKPOINTS}/test_detection.py",
    ),
    "models/checkpoints/selection.py": (f"{CHECKPOINTS}/test_selection.py", f"{CHECKPOINTS}/test_layouts.py"),
    "models/checkpoints/loading.py": (f"{CHECKPOINTS}/test_loading.py",),
    "models/pooling.py": ("tests/models/test_variants.py",),
    "models/preprocessing/recipe.py": RESIZING,
    "models/preprocessing/files.py": PREPROCESSING,
    "models/preprocessing/mean.py": PREPROCESSING,
    "models/preprocessing/resize.py": RESIZING,
    "models/class_names/__init__.py": CLASS_NAMES,
    "models/class_names/reading.py": CLASS_NAMES,
    "models/http/addresses.py": (f"{HTTP}/test_addresses.py",),
    "models/http/bodies.py": TRANSFERS,
    "models/http/client.py": TRANSFERS,
    "models/http/transfer.py": TRANSFERS,
    "exporter/remote/errors.py": (f"{REMOTE}/test_errors.py", *REMOTE_FILES),
    "exporter/remote/files.py": REMOTE_FILES,
    "exporter/remote/http.py": (f"{REMOTE}/test_http.py",),
    "exporter/passes/fold_batch_norm.py": (
        f"{PASSES}/test_fold_batch_norm.py",
        f"{PASSES}/test_fold_batch_norm_forward.py",
    ),
    "exporter/passes/winograd/replace.py": (f"{PASSES}/winograd/test_replace.py",),
    "exporter/passes/winograd/rewrite.py": (f"{PASSES}/winograd/test_rewrite.py", f"{PASSES}/winograd/test_replace.py"),
}
"""{module: its tests}."""
