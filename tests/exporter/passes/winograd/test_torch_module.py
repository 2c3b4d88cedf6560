"""The Winograd convolution as a torch module, against a convolution computed in numpy from its definition."""

import io
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from helpers.reference import convolve, max_pool
from torch import nn
from torch.profiler import ProfilerActivity, profile

from exporter.passes.winograd import torch_module
from exporter.passes.winograd.tile_shape import TILE_SHAPES, TileShape
from exporter.passes.winograd.torch_module import ExportableWinogradConv, SliceMaxPool, WinogradConv

SIZES = ((1, 4, 8, 8), (2, 7, 9, 6), (3, 5, 13, 10))
"""(N, T, H, W): whole tiles; tiles that hang over along every axis; sizes that a pool does not divide."""


def made(dtype: torch.dtype = torch.float32) -> nn.Conv3d:
    torch.manual_seed(5)
    return nn.Conv3d(3, 5, 3, padding=1).to(dtype).eval()


def expected(conv: nn.Conv3d, x: torch.Tensor, pooled: int) -> np.ndarray:
    assert conv.bias is not None
    weight, bias = conv.weight.detach().double().numpy(), conv.bias.detach().double().numpy()
    rows = [convolve(row, weight, bias) for row in x.double().numpy()]
    if pooled:
        whole = [size // step * step for size, step in zip(rows[0].shape[1:], (pooled, 2, 2), strict=True)]
        rows = [max_pool(row[:, : whole[0], : whole[1], : whole[2]], (pooled, 2, 2)) for row in rows]
    return np.stack(rows)


def error(output: torch.Tensor, golden: np.ndarray) -> float:
    assert output.shape == golden.shape
    return float(np.abs(output.double().numpy() - golden).max() / np.abs(golden).max())


@pytest.mark.parametrize("pooled", [0, 1, 2])
@pytest.mark.parametrize(
    "tile_shape", [shape for shape in TILE_SHAPES if shape.space > 1], ids=lambda tile_shape: tile_shape.title
)
def test_every_form_answers_as_the_convolution(tile_shape: TileShape, pooled: int) -> None:
    if pooled and tile_shape.time % pooled:
        with pytest.raises(ValueError, match="a max pool of 2 frames does not fit the tiles of winograd 1x"):
            WinogradConv(made(), tile_shape, pooled)
        return
    for batch, *size in SIZES:
        x = torch.randn(batch, 3, *size)
        for dtype, bound in ((torch.float32, 6e-6), (torch.float64, 1e-13)):
            conv = made(dtype)
            output = WinogradConv(conv, tile_shape, pooled)(x.to(dtype))
            assert error(output, expected(conv, x, pooled)) < bound


@pytest.mark.parametrize("pooled", [0, 1, 2])
def test_two_frames_between_zeros_take_fewer_products_and_answer_as_the_convolution(pooled: int) -> None:
    for batch, *size in ((1, 2, 8, 8), (3, 2, 7, 9)):
        x = torch.randn(batch, 3, *size)
        for dtype, bound in ((torch.float32, 6e-6), (torch.float64, 1e-13)):
            conv = made(dtype)
            module = WinogradConv(conv, TileShape(2, 2), pooled, two_frames=True)
            assert error(module(x.to(dtype)), expected(conv, x, pooled)) < bound
            assert 4 * len(module.weight) == 3 * len(WinogradConv(conv, TileShape(2, 2), pooled).weight)


def test_two_frames_are_rejected_with_other_tiles_and_inputs() -> None:
    with pytest.raises(ValueError, match="two frames are no tile of winograd 4x2x2"):
        WinogradConv(made(), TileShape(4, 2), two_frames=True)
    with pytest.raises(ValueError, match=r"this convolution takes 2 frames \(got 3\)"):
        WinogradConv(made(), TileShape(2, 2), two_frames=True)(torch.zeros(1, 3, 3, 4, 4))


def test_gradients_are_the_convolutions() -> None:
    conv, x = made(torch.float64), torch.randn(2, 3, 5, 6, 6).double().requires_grad_()
    outputs = (WinogradConv(conv, TileShape(2, 4), 0)(x), conv(x))
    (mine, wanted) = (torch.autograd.grad((output**2).sum(), x)[0] for output in outputs)
    assert torch.allclose(mine, wanted, rtol=0, atol=1e-11)


@pytest.mark.parametrize("at_once", [1, 1 << 30])
def test_the_parts_make_no_difference(at_once: int) -> None:
    conv, x = made(torch.float64), torch.randn(2, 3, 9, 8, 8).double()
    module = WinogradConv(conv, TileShape(2, 4), 1)
    module.max_elements = at_once
    assert error(module(x), expected(conv, x, 1)) < 1e-13


@pytest.mark.heavy
@pytest.mark.parametrize("loop", [True, False])
def test_exported_for_a_batch_of_two_it_takes_any_and_its_parts_grow_only_without_a_loop(
    monkeypatch: pytest.MonkeyPatch, *, loop: bool
) -> None:
    monkeypatch.setattr(torch_module, "MIN_TOGETHER", 1 << 30)
    conv = made()
    module = ExportableWinogradConv(conv, TileShape(2, 4), 1, loop=loop).eval()
    dims = ({0: torch.export.Dim("batch")},)
    with torch.no_grad():
        program = torch.export.export(module, (torch.zeros(2, 3, 5, 8, 9),), dynamic_shapes=dims, strict=False)
        rows: list[int] = []
        for batch in (1, 2, 7):
            x = torch.randn(batch, 3, 5, 8, 9)
            with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiled:
                output = program.module()(x)
            shapes = [event.input_shapes for event in profiled.events() or () if event.name == "aten::bmm"]
            rows.append(max(left[1] for left, *_ in shapes))
            assert error(output, expected(conv, x, 1)) < 6e-6
    assert [count / rows[0] for count in rows] == ([1, 1, 1] if loop else [1, 2, 7])


@pytest.mark.parametrize(("fits", "together"), [(3.9, False), (4.0, True)])
def test_in_small_layers_all_clips_are_processed_together(
    monkeypatch: pytest.MonkeyPatch, fits: float, *, together: bool
) -> None:
    looped: list[int] = []

    def map_clips(convolve: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        looped.append(len(x))
        return torch.stack([convolve(clip) for clip in x])

    monkeypatch.setattr(torch_module, "map_clips", map_clips)
    conv, x = made(), torch.randn(3, 3, 4, 8, 8)
    module = ExportableWinogradConv(conv, TileShape(2, 4), loop=True)
    module.max_elements = int(fits * len(module.weight) * 2 * 2 * 2 * 5)  # points, tiles, channels
    assert error(module(x), expected(conv, x, 0)) < 6e-6
    assert looped == ([] if together else [3])


def test_scripted_frozen_saved_and_loaded_it_answers_the_same() -> None:
    module, stream = WinogradConv(made(), TileShape(4, 2), 2).eval(), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.freeze(torch.jit.script(module)), stream)
        stream.seek(0)
        loaded = torch.jit.load(stream)
    for batch, *size in SIZES:
        x = torch.randn(batch, 3, *size)
        assert torch.equal(loaded(x), module(x))


@pytest.mark.parametrize(
    "changed",
    [{"stride": 2}, {"padding": 0}, {"dilation": 2}, {"bias": False}, {"kernel_size": 1}, {"padding_mode": "circular"}],
    ids=str,
)
def test_other_convolutions_are_refused(changed: dict[str, int | bool | str]) -> None:
    arguments: dict[str, int | bool | str] = {"kernel_size": 3, "padding": 1} | changed
    with pytest.raises(ValueError, match="only a 3x3x3 convolution with stride 1, padding 1 and a bias"):
        WinogradConv(nn.Conv3d(3, 5, **arguments), TileShape(2, 2))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("frames", [1, 2])
def test_the_pool_answers_as_torch_does_number_for_number(frames: int) -> None:
    x = torch.randn(2, 3, 7, 9, 6)
    assert torch.equal(SliceMaxPool(frames)(x), nn.MaxPool3d((frames, 2, 2))(x))


@pytest.mark.parametrize(("tiles", "parts"), [(1, 4), (2, 2), (4, 1)])
def test_a_part_has_as_many_tiles_in_time_as_fit(tiles: int, parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    conv = nn.Conv3d(3, 5, 3, padding=1)
    layer = WinogradConv(conv, TileShape(4, 4))
    # a tile of 4x4x4 outputs has 6 points along each axis; 8x8 positions are 2x2 tiles
    layer.max_elements = tiles * 6 * 6 * 6 * 2 * 2 * 5
    calls: list[int] = []
    whole = layer.multiply_tiles

    def multiply_tiles(y: torch.Tensor, x: torch.Tensor) -> None:
        calls.append(y.size(1))
        whole(y, x)

    monkeypatch.setattr(layer, "multiply_tiles", multiply_tiles)
    layer(torch.randn(1, 3, 16, 8, 8))
    assert calls == [tiles] * parts
