"""`c3d-export features`: the features of videos, in files."""

from pathlib import Path
from typing import Any

import click

from exporter.cli.network_options import geometry_options, selection_options, take_build_options
from exporter.cli.options import choice_option, json_options, limit_options, take
from exporter.cli.sections import SectionedCommand
from exporter.cli.values import parse_names, parse_source
from exporter.cli.video_options import (
    clip_options,
    engine_options,
    runner_options,
    take_clip_options,
    take_ray_options,
)
from exporter.inference.features.types import AGGREGATES, FEATURE_FORMATS
from models.config import FEATURES_OUTPUT


@click.command("features", cls=SectionedCommand, sections={"Video": ("clips",)})
@click.argument("model", type=parse_source, metavar="MODEL")
@click.argument("videos", nargs=-1, required=True, metavar="VIDEO...")
@click.option(
    "--layer",
    "layers",
    type=parse_names,
    default=FEATURES_OUTPUT,
    metavar="NAMES",
    help="Outputs of MODEL to write, separated by commas.",
)
@click.option(
    "-o",
    "--output",
    default="features",
    metavar="FOLDER",
    help="Folder or URL to write to; created if missing. A run that was interrupted is continued.",
)
@choice_option(
    "--format",
    FEATURE_FORMATS,
    "npy",
    "An array and a CSV table of its rows for each video; one Parquet file; or the binary files of Facebook's C3D.",
)
@choice_option(
    "--aggregate",
    AGGREGATES,
    "clips",
    "A row for each clip; the mean over the clips with Euclidean norm 1; or 32 segments for anomaly detection, as "
    "Sultani et al. or ekosman's port place them.",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Compute videos again that are there, and replace features that were made in another way.",
)
@clip_options
@engine_options
@runner_options
@selection_options
@geometry_options
@limit_options()
@json_options
@click.pass_context
def features_command(
    context: click.Context, model: str | Path, videos: tuple[str, ...], as_json: bool, **options: Any
) -> None:
    """Run MODEL over each VIDEO and write the values of a layer.

    MODEL is a model file of this tool (.onnx, .xml, .pt, .pt2) that returns the layer, another tool's ONNX or
    OpenVINO file (with --preprocess), or a checkpoint, which is exported with the layer first and kept for the next
    time. VIDEO is a file, a folder of videos, or a list of them (.txt, one path a line). Needs the [video] extra;
    --format parquet also [parquet].

    Each file appears complete or not at all. A second run with the same options does what the first has not done.

    Exit code 3 if a video could not be read (the others are done, and it is listed at the end), 1 if the network
    returned NaN or an infinity.

    \b
    Examples:
      c3d-export features artifacts/c3d.onnx videos/ --layer fc6 \\
          --window 16 --step 8 -o features/
      c3d-export features c3d.pth videos/ --aggregate mean --format parquet
      c3d-export features sports1m.caffemodel videos/ --format c3d --layer fc6,fc7
      c3d-export features artifacts/c3d.onnx videos/ --aggregate segments
    """
    from exporter.cli.given_files import check_given_files
    from exporter.output_targets import check_output_folder

    check_output_folder(options["output"], "--output")
    check_given_files(context.params)

    from exporter.inference.features.types import FeatureFiles, FeatureRequest
    from exporter.inference.types import InferenceOptions
    from exporter.reports.console import progress_on_terminal, show, stdout
    from exporter.reports.features import features_to_dict, print_end, print_head, print_video
    from exporter.workflows.features import open_features

    files = FeatureFiles(options.pop("output"), options.pop("format"), options.pop("overwrite"))
    request = FeatureRequest(
        model,
        videos,
        inference=take(InferenceOptions, options),  # first: --preprocess is that of the model that runs
        build=take_build_options(options),
        clips=take_clip_options(options),
        ray=take_ray_options(options),
        **options,
    )
    console = stdout()
    with progress_on_terminal() as progress, open_features(request, files, progress) as run:
        if not as_json:
            print_head(run, console)
        for ready in run:
            if not as_json:
                with progress.paused():
                    print_video(ready, console)
        progress("completing the folder")
        result = run.result()
    show(result, features_to_dict, print_end, as_json=as_json)
    context.exit(result.exit_code)
