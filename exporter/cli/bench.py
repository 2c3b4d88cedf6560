"""`bench`: model files and other engines, side by side."""

from pathlib import Path
from typing import Any

import click

from exporter.bench.types import BENCH_ENGINE_NAMES, BenchRequest
from exporter.cli.options import EXISTING, Seed, Source, json_options
from exporter.cli.parity_options import Shape
from models.options import BuildOptions


class IntList(click.ParamType[tuple[int, ...]]):
    """Whole numbers separated by commas."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return the numbers; the library checks them."""
        if isinstance(value, tuple):
            return value  # pyright: ignore[reportUnknownVariableType]
        try:
            return tuple(int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not like 1,4", param, ctx)


class PeerPython(click.ParamType[tuple[str, Path]]):
    """`mnn=/opt/mnn/bin/python`."""

    name = "peer=path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Path]:
        """Return the peer and its interpreter; the library checks both."""
        if isinstance(value, tuple):
            return value  # pyright: ignore[reportUnknownVariableType]
        name, equals, path = str(value).partition("=")
        if not (name and equals and path):
            self.fail(f"{value!r} is not like mnn=PATH/bin/python", param, ctx)
        return name, Path(path)


@click.command("bench", short_help="Latency, throughput, load time and memory, side by side.")
@click.argument("artifacts", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--batch",
    "batches",
    type=IntList(),
    metavar="N,…",
    help="Batch sizes. [default: 1,4; the model's own if it is fixed]",
)
@click.option("--threads", type=IntList(), metavar="N,…", help="Thread counts. [default: the usable cores]")
@click.option("--rounds", type=int, default=20, show_default=True, help="Turns of each contestant.")
@click.option("--warmup", type=int, default=2, show_default=True, help="Calls before the first round.")
@click.option(
    "--seconds",
    type=float,
    default=120.0,
    show_default=True,
    help="Begin no round after these, for each batch size and thread count, once three are done.",
)
@click.option(
    "--load-rounds", type=int, default=3, show_default=True, help="Fresh processes that load each contestant."
)
@click.option("--seed", type=Seed(), default=0, show_default=True, help="Of the inputs and of the order of turns.")
@click.option(
    "--shape",
    "shapes",
    type=Shape(),
    multiple=True,
    metavar="INPUT=SIZES",
    help="The sizes of an input that the first artifact leaves free. Repeatable.",
)
@click.option("--device", type=click.Choice(("cpu", "cuda")), default="cpu", show_default=True, help="Where they run.")
@click.option(
    "--engines",
    is_flag=True,
    help="Add those installed of torch eager, torch inductor, onnxruntime on the plain graph, OpenVINO, MNN.",
)
@click.option(
    "--engine-python",
    "engine_python",
    type=PeerPython(),
    multiple=True,
    metavar="PEER=PATH",
    help=f"The interpreter that has a peer ({', '.join(BENCH_ENGINE_NAMES)}), where it is not this one. Repeatable.",
)
@click.option(
    "--engine-model",
    type=EXISTING,
    metavar="ONNX",
    help="The graph that peers run, where the first artifact is a rewritten one. [default: the first plain artifact, "
    "else exported anew]",
)
@click.option(
    "--weights",
    type=Source(),
    default=None,
    metavar="FILE|URL",
    help="The checkpoint, where peers need it and the manifest's is elsewhere now.",
)
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the tables and charts as a page.",
)
@json_options
@click.pass_context
def bench_command(
    context: click.Context, artifacts: tuple[Path, ...], machine: bool, html: Path | None, **options: Any
) -> None:
    """Measure ARTIFACTS (.onnx, .pt), each in a process of its own, in turns; ratios are to the first.

    Exit code 1 if one of them failed on the way; a peer that is absent or fails is told and costs nothing.

    \b
    Examples:
      c3d-export bench artifacts/c3d.onnx artifacts/c3d.pt
      c3d-export bench artifacts/c3d.onnx --engines --batch 1,4 --html bench.html
      c3d-export bench artifacts/c3d.onnx --engines --engine-python mnn=$HOME/mnn/bin/python
      c3d-export bench fast.onnx plain.onnx --threads 1,2 --shape input=1x3x224x224 --json
    """
    from exporter.reports.html import require_libraries, write_page
    from exporter.reports.output_files import check_output_path

    if html is not None:
        check_output_path(html, "--html")
        require_libraries()

    from exporter.bench import bench
    from exporter.reports.bench import print_bench
    from exporter.reports.console import echo, progress_on_terminal, stdout
    from exporter.reports.json_report import bench_object, dump

    pairs = {name: dict(options.pop(name)) for name in ("shapes", "engine_python")}
    request = BenchRequest(
        artifacts,
        peers=options.pop("engines"),
        plain=options.pop("engine_model"),
        reference=BuildOptions(weights=options.pop("weights")),
        **pairs,
        **options,
    )
    with progress_on_terminal() as progress:
        report = bench(request, progress)
    if html is not None:
        from exporter.reports.bench_page import bench_page

        write_page(html, lambda: bench_page(report))
    if machine:
        echo(dump(bench_object(report)))
    else:
        print_bench(report, stdout())
    context.exit(0 if report.complete else 1)
