"""The float64 reference on the workers of a Ray cluster is the one of this process."""

import json
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers.run import run
from helpers.videos import moving, write_video

from exporter.errors import LimitError, UsageError
from exporter.inference import ray_reference
from exporter.inference.ray_pool import Lost
from exporter.inference.ray_reference import reference_on_ray
from exporter.inference.types import RayOptions
from exporter.parity.golden import GoldenOutputs
from exporter.parity.input_set import InputSet
from exporter.parity.sources import FileSource, NetworkSource
from exporter.types import ParityOptions
from exporter.workflows.export import ExportResult
from exporter.workflows.verify import verify_parity
from models.built_model import BuiltModel


def in_this_process(open_task: Any, items: Sequence[Any], *_: Any, **__: Any) -> Iterator[Any]:
    """Do what workers do: everything is pickled on its way."""
    task = pickle.loads(pickle.dumps(open_task))(Path())
    for item in items:
        yield pickle.loads(pickle.dumps(task(pickle.loads(pickle.dumps(item)))))


def test_rows_of_a_worker_have_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, golden: GoldenOutputs, inputs: InputSet, narrow: BuiltModel
) -> None:
    monkeypatch.setattr(ray_reference, "map_on_ray", in_this_process)
    elsewhere = GoldenOutputs(NetworkSource(narrow), inputs, run_rows=reference_on_ray(RayOptions()))
    rows = range(len(inputs.names))
    elsewhere.compute(rows)
    assert elsewhere.computed == len(rows)
    assert elsewhere.notes == golden.notes
    for output in ("logits", "fc6"):
        assert elsewhere.float64(output, rows).tobytes() == golden.float64(output, rows).tobytes()
        assert elsewhere.float32(output, rows).tobytes() == golden.float32(output, rows).tobytes()


def test_an_input_on_which_workers_end_is_a_limit(
    monkeypatch: pytest.MonkeyPatch, inputs: InputSet, narrow: BuiltModel
) -> None:
    monkeypatch.setattr(ray_reference, "map_on_ray", lambda *_, **__: (Lost() for _ in range(1)))  # pyright: ignore
    elsewhere = GoldenOutputs(NetworkSource(narrow), inputs, run_rows=reference_on_ray(RayOptions()))
    with pytest.raises(LimitError, match=f"{inputs.names[0]}: 3 worker processes ended"):
        elsewhere.compute([0])


def test_a_file_as_reference_and_fail_fast_are_refused(
    narrow_artifacts: ExportResult, inputs: InputSet, theirs: Path
) -> None:
    path = narrow_artifacts.artifacts[0].path
    with pytest.raises(UsageError, match="--against"):
        verify_parity([path], ParityOptions(against=path), ray=RayOptions())
    with pytest.raises(UsageError, match="--fail-fast"):
        verify_parity([path], ParityOptions(fail_fast=True), ray=RayOptions())
    with pytest.raises(UsageError, match="--against"):
        GoldenOutputs(FileSource(theirs, "onnx"), inputs, run_rows=reference_on_ray(RayOptions())).compute([0])


@pytest.mark.cluster
def test_parity_on_ray_reports_what_a_local_run_does(narrow_artifacts: ExportResult, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    for number in range(3):
        write_video(tmp_path / "clips" / f"{number}.mkv", moving(20 + number))
    command = ["parity", narrow_artifacts.artifacts[0].path, "--clip", "clips", "--inputs", "quick", "--json"]
    local = run("verify", *command, cwd=tmp_path, OMP_NUM_THREADS="1")
    ray = run("verify", *command, "--runner", "ray", cwd=tmp_path)
    assert (ray.returncode, ray.stderr) == (local.returncode, local.stderr) == (0, "")
    found, expected = (_without_seconds(json.loads(done.stdout)) for done in (ray, local))
    assert found == expected
    assert {"0.mkv", "1.mkv", "2.mkv"} <= {row["input"] for row in expected["reports"][0]["comparisons"]}


def _without_seconds(report: dict[str, Any]) -> dict[str, Any]:
    for each in report["reports"]:
        del each["seconds"]
    return report
