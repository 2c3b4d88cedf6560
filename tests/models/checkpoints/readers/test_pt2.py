"""`.pt2` files as checkpoints: weights, pool5 and the clip's size, of the JSON beside the numbers."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.built import checkpoint
from helpers.loaded import load_tensors
from helpers.small_files import refuse
from helpers.torch_programs import save_program

from exporter.requests import ExportRequest
from exporter.workflows.export import ExportResult, export
from models import C3D, build
from models.builder import state_sha256
from models.checkpoints.readers import read_file
from models.options import BuildOptions


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[C3D, Path]]:
    """{pool5: a network and its file}; the second is for other clips than the published."""
    folder = tmp_path_factory.mktemp("programs")
    found: dict[str, tuple[C3D, Path]] = {}
    sizes: dict[Any, tuple[int, int, int, int]] = {"symmetric": (3, 16, 112, 112), "right": (1, 16, 96, 96)}
    for pool5, size in sizes.items():
        network = C3D(5, pool5=pool5, base_channels=2, feature_dim=4, input_size=size).eval()
        found[pool5] = network, save_program(network, folder / f"{pool5}.pt2", torch.zeros(1, *size))
    return found


@pytest.mark.parametrize("pool5", ["symmetric", "right"])
def test_weights_pool5_and_the_size_of_a_clip(pool5: str, programs: dict[str, tuple[C3D, Path]]) -> None:
    network, path = programs[pool5]
    built = build(BuildOptions(weights=path))
    assert checkpoint(built).container == "pt2"
    assert (built.settings["pool5"], built.setting_sources["pool5"]) == (pool5, "file")
    assert built.input.shape[1:] == network.config.input.shape[1:]
    state = built.network.state_dict()
    assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())


def rewrite(path: Path, member: str, change: Callable[[Any], object]) -> None:
    """Change the JSON in one member."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            changed = json.dumps(change(json.loads(content))).encode() if name.endswith(member) else content
            archive.writestr(name, changed)


def with_meta(content: Any, **changes: Any) -> Any:
    content["config"]["conv1.weight"]["tensor_meta"].update(changes)
    return content


CONFIG = "model_weights_config.json"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: with_meta(c, sizes=[{"as_int": 1 << 40}] * 5), "reaches beyond its storage"),
        (lambda c: with_meta(c, sizes=[{"as_int": -1}] * 5), "no list of sizes"),
        (lambda c: with_meta(c, sizes=[{"as_expr": {"expr_str": "s0"}}] * 5), "no list of sizes"),
        (lambda c: with_meta(c, storage_offset={"as_int": 1}), "reaches beyond its storage"),
        (lambda c: with_meta(c, dtype=99), "conv1.weight is not there, or stored in a form that is not read"),
        (lambda c: c["config"]["conv1.weight"].update(use_pickle=True) or c, "in a form that is not read"),
        (lambda c: c["config"]["conv1.weight"].update(path_name="../weight_0") or c, "is not there"),
        (lambda c: {"config": []}, "not a valid .pt2 file"),
    ],
)
def test_what_the_numbers_are_not_is_refused(
    change: Callable[[Any], object], reason: str, programs: dict[str, tuple[C3D, Path]], tmp_path: Path
) -> None:
    (tmp_path / "c3d.pt2").write_bytes(programs["symmetric"][1].read_bytes())
    rewrite(tmp_path / "c3d.pt2", CONFIG, change)
    refuse(tmp_path / "c3d.pt2", reason)


def test_a_weight_that_is_a_part_of_a_storage_in_another_order(
    programs: dict[str, tuple[C3D, Path]], tmp_path: Path
) -> None:
    network, path = programs["symmetric"]
    (tmp_path / "c3d.pt2").write_bytes(path.read_bytes())

    def transpose(content: Any) -> Any:
        content["config"]["fc8.weight"]["tensor_meta"].update(
            sizes=[{"as_int": 3}, {"as_int": 5}], strides=[{"as_int": 1}, {"as_int": 4}], storage_offset={"as_int": 1}
        )
        return content

    rewrite(tmp_path / "c3d.pt2", CONFIG, transpose)
    expected = network.state_dict()["fc8.weight"].T[1:]
    assert torch.equal(load_tensors(tmp_path / "c3d.pt2")["fc8.weight"], expected)


@pytest.mark.parametrize("member", ["models/model.json", CONFIG])
def test_deep_json_is_refused(member: str, programs: dict[str, tuple[C3D, Path]], tmp_path: Path) -> None:
    with zipfile.ZipFile(programs["symmetric"][1]) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(tmp_path / "deep.pt2", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, b'{"graph_module": ' + b"[" * 100_000 if name.endswith(member) else content)
    refuse(tmp_path / "deep.pt2", "not a valid .pt2 file")


def test_an_own_export_states_its_conventions(tmp_path: Path) -> None:
    options = BuildOptions(num_classes=5, base_channels=2, feature_dim=8, preprocess="mmaction2", pool5="right")
    done: ExportResult = export(ExportRequest(("pt2",), options, verify=False, output_dir=tmp_path))
    again, before = build(BuildOptions(weights=done.artifacts[0].path)), build(options)
    assert state_sha256(again.network) == state_sha256(before.network)
    assert (again.preprocessing, again.settings) == (before.preprocessing, before.settings)


def with_pool(change: Callable[[Any], object], at: int = -1) -> Callable[[Any], Any]:
    """Return what changes a program at one of its pools."""

    def apply(program: Any) -> Any:
        nodes = program["graph_module"]["graph"]["nodes"]
        change([node for node in nodes if "max_pool3d" in node["target"]][at])
        return program

    return apply


@pytest.mark.parametrize(
    ("change", "stated"),
    [
        (with_pool(lambda n: n["metadata"].clear()), "symmetric"),  # the last of five
        (with_pool(lambda n: n["metadata"].update(nn_module_stack="a,,C3D;b,net.pool5,Pool")), "symmetric"),
        (with_pool(lambda n: n["metadata"].update(nn_module_stack="a,,C3D;b,pool5,Pool"), 3), None),  # two of that name
        (with_pool(lambda n: n.update(target="other")), None),
        (
            with_pool(
                lambda n: n["inputs"].append({"name": "dilation", "arg": {"as_ints": [2, 2, 2]}, "kind": 1}),
            ),
            None,
        ),
    ],
)
def test_which_pool_states_the_convention(
    change: Callable[[Any], object], stated: str | None, programs: dict[str, tuple[C3D, Path]], tmp_path: Path
) -> None:
    (tmp_path / "c3d.pt2").write_bytes(programs["symmetric"][1].read_bytes())
    rewrite(tmp_path / "c3d.pt2", "models/model.json", change)
    assert read_file(tmp_path / "c3d.pt2").conventions.pool5 == stated


def test_buffers_are_read(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.BatchNorm3d(2)).eval()
    read = read_file(save_program(network, tmp_path / "norm.pt2", torch.zeros(1, 2, 3, 3, 3)))
    assert read.tensors.keys() == network.state_dict().keys()
    assert read.conventions.input_size == (2, 3, 3, 3)


@pytest.mark.parametrize(
    ("state", "others"),
    [
        ("serialized_state_dict.json", ()),
        ("serialized_state_dict.pt", ("serialized_constants.pt", "serialized_example_inputs.pt")),
        ("archive/data/weights/model.pt", ("archive/data/constants/model.pt", "archive/data/sample_inputs/model.pt")),
    ],
)
def test_a_file_of_an_earlier_torch(state: str, others: tuple[str, ...], tmp_path: Path) -> None:
    """torch 2.1, 2.2 to 2.6, and 2.7 to 2.8 save the state_dict whole, beside other dicts of tensors."""
    network = C3D(5, base_channels=2, feature_dim=4)
    with zipfile.ZipFile(tmp_path / "c3d.pt2", "w") as archive:
        for name in (state, *others):
            content = io.BytesIO()
            torch.save(network.state_dict() if name == state else {"x": torch.ones(2)}, content)
            archive.writestr(name, content.getvalue())
        archive.writestr("serialized_exported_program.json", "{}")
    built = build(BuildOptions(weights=tmp_path / "c3d.pt2"))
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in built.network.state_dict().items())
