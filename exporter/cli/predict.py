"""`c3d-export predict`: class scores of videos."""

from pathlib import Path
from typing import Any

import click

from exporter.cli.error_handling import write_last
from exporter.cli.network_options import geometry_options, selection_options, take_build_options
from exporter.cli.options import check_output_files, json_options, limit_options, take
from exporter.cli.sections import SectionedCommand
from exporter.cli.values import Choice, parse_source
from exporter.cli.video_options import (
    clip_options,
    inference_options,
    runner_options,
    take_clip_options,
    take_ray_options,
)

PAGE_FRAMES = 12
"""Frames of each video on the page."""


@click.command("predict", cls=SectionedCommand, sections={"Video": ("clips",)})
@click.argument("model", type=parse_source, metavar="MODEL")
@click.argument("videos", nargs=-1, required=True, metavar="VIDEO...")
@click.option("--top", type=int, default=5, metavar="K", help="Classes of each video.")
@click.option("--per-clip", is_flag=True, help="Also the classes of each clip, with its time in the video.")
@click.option(
    "--average",
    type=Choice(("probabilities", "scores")),
    help="What is averaged over a video's clips: softmax of the scores, or the scores as they are. "
    "[default: the profile's]",
)
@clip_options
@inference_options
@runner_options
@click.option(
    "--csv",
    type=parse_source,
    metavar="FILE|URL",
    help="Also write a CSV file: a row for each video (--per-clip: and clip) and rank.",
)
@click.option(
    "--html",
    type=parse_source,
    metavar="FILE|URL",
    help="Also write a page with frames, classes and charts over time. Needs the [report] extra.",
)
@selection_options
@geometry_options
@limit_options()
@json_options
@click.pass_context
def predict_command(
    context: click.Context,
    model: str | Path,
    videos: tuple[str, ...],
    as_json: bool,
    csv: str | Path | None,
    html: str | Path | None,
    **options: Any,
) -> None:
    """Run MODEL over each VIDEO and print its highest classes.

    MODEL is a model file of this tool (.onnx, .xml, .pt, .pt2), another tool's ONNX or OpenVINO file (with
    --preprocess), or a checkpoint, which is exported and verified first and kept for the next time. VIDEO is a file, a
    folder of videos, or a list of them (.txt, one path a line). Needs the [video] extra.

    Exit code 3 if a video could not be read (the others are done, and it is listed at the end), 1 if the network
    returned NaN or an infinity.

    \b
    Examples:
      c3d-export predict artifacts/c3d.onnx video.mp4
      c3d-export predict artifacts/c3d.onnx videos/ --per-clip --csv scores.csv
      c3d-export predict artifacts/c3d.onnx videos/ --html classes.html
      c3d-export predict c3d-pretrained.pth video.mp4 --top 3
      c3d-export predict other.onnx video.mp4 --preprocess mmaction2 \\
          --labels kinetics.txt --json
    """
    from exporter.cli.given_files import check_given_files

    check_output_files({"--csv": csv, "--html": html}, (model, *videos))
    check_given_files(context.params)

    from exporter.inference.predictions import PredictRequest
    from exporter.inference.types import InferenceOptions
    from exporter.output_targets import write_file
    from exporter.reports.console import progress_on_terminal, show, stdout
    from exporter.reports.html import write_page
    from exporter.reports.predict import PredictPrinter, predict_to_csv, predict_to_dict, print_end
    from exporter.reports.predict_page import predict_page
    from exporter.workflows.predict import open_predict

    request = PredictRequest(
        model,
        videos,
        inference=take(InferenceOptions, options),  # first: --labels are those of the model that runs
        build=take_build_options(options),
        clips=take_clip_options(options),
        previews=PAGE_FRAMES if html is not None else 0,
        ray=take_ray_options(options),
        **options,
    )
    with progress_on_terminal() as progress:
        printer = None if as_json else PredictPrinter(stdout(), progress)
        with open_predict(request, progress, printer and printer.print_clip) as run:
            if printer is not None:
                printer.print_head(run)
            for ready in run:
                if printer is not None:
                    printer.print_result(ready)
            result = run.result()
    show(result, predict_to_dict, print_end, as_json=as_json)
    files = (
        (csv, lambda file: write_file(file, predict_to_csv(result), "--csv")),
        (html, lambda file: write_page(file, lambda: predict_page(result))),
    )
    context.exit(write_last(files, as_json=as_json) or result.exit_code)
