"""Classification accuracy of a trained network in every format and precision, on videos that training never saw.

    python benchmarks/train_motion.py motion-run
    python benchmarks/trained_accuracy.py motion-run [--only onnx:int8] [--min-snr DB]

Each artifact is exported as a user would (`--calibrate motion-run/calibration`, verification included) and run on the
videos of `motion-run/test` and `motion-run/noisy` by the engine that verifies it. Accuracy does not depend on how busy
the machine is. Writes `trained.md` and `trained.json` into the folder. What cannot be exported here stands in the table
with the reason.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from measure import machine
from motion_clips import CLASSES, DIRECTIONS, SPEEDS
from numpy.typing import NDArray
from train_motion import CHECKPOINT

from exporter.engines import find_verifying_engine
from exporter.engines.base import RuntimeOptions
from exporter.engines.pytorch import PyTorchRuntime
from exporter.errors import C3DExportError, UsageError
from exporter.formats import FORMATS, load_artifact, runtime_options
from exporter.formats.held_out import snr_db
from exporter.parity.calibration_sources import ProfileTransform
from exporter.requests import ExportRequest
from exporter.system import environment
from exporter.types import (
    COMPUTE_PRECISIONS,
    TARGETS,
    CalibrationOptions,
    ComputePrecision,
    FormatName,
    OptimizeOptions,
    PrecisionOptions,
    Target,
)
from exporter.video.reader import open_video
from exporter.video.sampling import Sampling
from exporter.workflows.export import export
from models.builder import build
from models.built_model import BuiltModel
from models.options import BuildOptions

BATCH = 8
OUTPUT = "logits"

Clips = NDArray[np.float32]
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """One network or artifact.

    Attributes:
        what: `float64 network`, or the options of the export.
        engine: what ran it.
        accuracy: the share of videos whose highest score is their class's.
        noisy_accuracy: the same for the noisy videos.
        agreement: the share of all videos whose highest score is that of the network in float64.
        lowest_snr: the lowest signal-to-noise ratio of a video's scores against float64, in decibels.
        median_snr: the median over the videos.
        raised: {layer in a higher precision: that precision}.
        missing: why there are no figures.
    """

    what: str
    engine: str = ""
    accuracy: float | None = None
    noisy_accuracy: float | None = None
    agreement: float | None = None
    lowest_snr: float | None = None
    median_snr: float | None = None
    raised: dict[str, str] = field(default_factory=dict[str, str])
    missing: str = ""


@dataclass(frozen=True, eq=False)
class Videos:
    """Clips (N, C, T, H, W) as the profile makes them, their classes (N,), and which of them are noisy (N,)."""

    clips: Clips
    labels: NDArray[np.int64]
    noisy: NDArray[np.bool_]


def read_videos(folders: Sequence[Path], model: BuiltModel) -> Videos:
    """Return the videos of the folders."""
    transform = ProfileTransform.of(model)
    assert transform is not None
    names = {name.replace(" ", "-"): label for label, name in enumerate(CLASSES)}
    clips: list[Clips] = []
    labels: list[int] = []
    noisy: list[bool] = []
    for path in (path for folder in folders for path in sorted(folder.glob("*.mp4"))):
        with open_video(path, transform.frame) as video:
            (clip,) = video.clips(Sampling(transform.size[0]))
        clips.append(transform.clip(clip.frames))
        labels.append(names[path.stem.partition("-")[2]])
        noisy.append(path.parent.name == "noisy")
    return Videos(np.stack(clips), np.array(labels), np.array(noisy))


def run_network(model: BuiltModel, precision: Literal["float32", "float64"], clips: Clips) -> tuple[Scores, str]:
    """Return PyTorch's scores (N, classes), and what computed them."""
    with PyTorchRuntime(model, precision, RuntimeOptions()) as runtime:
        parts = [runtime.run({model.input.name: part})[OUTPUT] for part in batches(clips)]
        return np.concatenate(parts).astype(np.float64), runtime.description


def run_artifact(path: Path, clips: Clips) -> tuple[Scores, str]:
    """Return an artifact's scores (N, classes) by the engine that verifies it, and what computed them."""
    artifact = load_artifact(path)
    assert artifact.manifest is not None
    engine = find_verifying_engine(artifact.format, None, artifact.manifest.precision)
    (given,) = artifact.manifest.signature.inputs
    with engine.open(path, runtime_options(artifact)) as runtime:
        parts = [runtime.run({given.name: part})[OUTPUT] for part in batches(clips)]
        return np.concatenate(parts).astype(np.float64), runtime.description


def batches(clips: Clips) -> Iterator[Clips]:
    """Yield the clips in batches."""
    for start in range(0, len(clips), BATCH):
        yield clips[start : start + BATCH]


def compare(what: str, engine: str, scores: Scores, exact: Scores, videos: Videos) -> Row:
    """Return the figures of one set of scores (N, classes)."""
    ratios = [snr_db(ours, theirs) for ours, theirs in zip(scores, exact, strict=True)]
    highest = scores.argmax(axis=1)
    return Row(
        what,
        engine,
        accuracy=float((highest == videos.labels)[~videos.noisy].mean()),
        noisy_accuracy=float((highest == videos.labels)[videos.noisy].mean()),
        agreement=float((highest == exact.argmax(axis=1)).mean()),
        lowest_snr=float(min(ratios)),
        median_snr=float(np.median(ratios)),
    )


def requests(only: str | None) -> Iterator[tuple[FormatName, ComputePrecision, Target]]:
    """Yield every format, precision and target that the formats list, or those of `only`."""
    for name, known in FORMATS.items():
        for precision in COMPUTE_PRECISIONS:
            wanted = only is None or f"{name}:{precision}".startswith(only)
            if wanted and known.precisions.get(precision) == "":
                for target in TARGETS:
                    yield name, precision, target


def measure(
    arguments: argparse.Namespace,
    key: tuple[FormatName, ComputePrecision, Target],
    videos: Videos,
    exact: Scores,
) -> Row | None:
    """Export one artifact into a temporary folder and run it on the videos.

    None where a target other than `portable` means nothing for the format and precision.
    """
    name, precision, target = key
    what = f"--format {name} --precision {precision} --target {target}"
    options = PrecisionOptions(precision)
    if precision != "fp32":
        calibration = CalibrationOptions((arguments.folder / "calibration",))
        options = PrecisionOptions(precision, min_snr=arguments.min_snr, calibration=calibration)
    model = BuildOptions(weights=arguments.folder / CHECKPOINT)
    with tempfile.TemporaryDirectory() as folder:
        try:
            request = ExportRequest(
                (name,), model, optimize=OptimizeOptions(target), precision=options, output_dir=Path(folder)
            )
            (artifact,) = export(request).artifacts
            scores, engine = run_artifact(artifact.path, videos.clips)
        except UsageError as error:
            return None if target != "portable" else Row(what, missing=str(error).splitlines()[0])
        except C3DExportError as error:
            return Row(what, missing=str(error).splitlines()[0])
        row = compare(what, engine, scores, exact, videos)
        raised = {layer: kept for layer, (kept, _) in artifact.manifest.raised_layers.items()}
        return replace(row, raised=raised)


def control_rows(model: BuiltModel, videos: Videos) -> dict[str, float]:
    """Return what the float64 network makes of clips whose motion is taken away or turned around."""
    clips, labels = videos.clips[~videos.noisy], videos.labels[~videos.noisy]
    still = np.repeat(clips[:, :, :1], clips.shape[2], axis=2)
    of_still = run_network(model, "float64", still)[0].argmax(axis=1)
    of_reversed = run_network(model, "float64", clips[:, :, ::-1].copy())[0].argmax(axis=1)
    opposite = (labels + len(CLASSES) // 2) % len(CLASSES)
    assert len(CLASSES) == len(DIRECTIONS) * len(SPEEDS)
    return {
        "accuracy on clips of the first frame, repeated": float((of_still == labels).mean()),
        "accuracy on clips played backwards": float((of_reversed == labels).mean()),
        "share of clips played backwards that get the opposite direction at the same speed": float(
            (of_reversed == opposite).mean()
        ),
    }


COLUMNS = ("network or artifact", "engine", "accuracy", "noisy videos", "top-1 as float64", "lowest SNR", "median SNR")


def to_markdown(rows: list[Row], controls: dict[str, float], videos: Videos) -> str:
    """Return the table and what stands around it."""
    lines = [
        f"{len(videos.labels)} videos, {videos.noisy.sum()} of them noisy; {len(CLASSES)} classes, so chance is "
        f"{1 / len(CLASSES):.2%}. {machine()}",
        "",
        f"| {' | '.join(COLUMNS)} | raised layers |",
        "|---" * (len(COLUMNS) + 1) + "|",
    ]
    for row in rows:
        if row.accuracy is None:
            lines.append(f"| `{row.what}` | not run: {row.missing.replace('|', '/')} |" + " |" * (len(COLUMNS) - 1))
            continue
        cells = [
            f"`{row.what}`",
            row.engine,
            f"{row.accuracy:.2%}",
            f"{row.noisy_accuracy:.2%}",
            f"{row.agreement:.2%}",
        ]
        cells += [f"{row.lowest_snr:.1f} dB", f"{row.median_snr:.1f} dB"]
        cells.append(", ".join(f"{layer} ({kept})" for layer, kept in row.raised.items()) or "none")
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"- {what}: {share:.2%}" for what, share in controls.items())]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and write the table after every row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what train_motion.py wrote")
    parser.add_argument("--only", metavar="FORMAT[:PRECISION]", help="only these")
    parser.add_argument("--min-snr", type=float, help="held by the exports below float32; default: the tool's")
    arguments = parser.parse_args()
    model = build(BuildOptions(weights=arguments.folder / CHECKPOINT))
    videos = read_videos((arguments.folder / "test", arguments.folder / "noisy"), model)
    exact, engine = run_network(model, "float64", videos.clips)
    controls = control_rows(model, videos)
    rows = [compare("float64 network", engine, exact, exact, videos)]
    single, engine = run_network(model, "float32", videos.clips)
    rows.append(compare("float32 network", engine, single, exact, videos))
    for key in requests(arguments.only):
        if (row := measure(arguments, key, videos, exact)) is None:
            continue
        rows.append(row)
        print(row, flush=True)
        (arguments.folder / "trained.md").write_text(to_markdown(rows, controls, videos))
        account = {"rows": [asdict(row) for row in rows], "controls": controls, "environment": environment()}
        (arguments.folder / "trained.json").write_text(json.dumps(account, indent=2, allow_nan=True) + "\n")


if __name__ == "__main__":
    main()
