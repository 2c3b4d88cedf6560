"""What a form should cost: arithmetic at the rate of a matrix product, and every byte that moves between operators.

The model has two numbers, because two things were found to decide (benchmarks/results/winograd.md
compares them with measured times). Matrix products and convolutions reach `FLOPS`.
Everything that is written by one operator and read by the next
passes through the last-level cache or memory at `BANDWIDTH`, because at these sizes nothing stays nearer; a transform
is all bytes, and so is a product whose weights outweigh its inputs. Small products count as the vectors they fill.

The numbers are those of two cores of a server CPU. Their ratio decides between forms, and differs little between
machines; where it matters, `--autotune` measures.
"""

from math import prod

from exporter.passes.winograd.cook_toom import TAPS
from exporter.passes.winograd.pattern import IMAGE, ConvMatch
from exporter.passes.winograd.tile_shape import DIRECT, TILE_SHAPES, TileShape
from exporter.passes.winograd.tiling import MAX_MATRIX_FRAMES, fits, tiling

FLOPS = 230e9
"""Floating-point operations a second of a large float32 matrix product, a multiply-add counted as two."""
BANDWIDTH = 20e9
"""Bytes a second between operators, written and read counted apart."""
BLOCKED = 1.6
"""How much faster onnxruntime's blocked layout makes convolutions of pictures, which it does not have for volumes."""
CORES = 2
"""Among which a plain convolution shares out its columns, so that each reads all of the weights."""
VECTOR = 16
"""Columns of a product that are computed at once."""
SINGLE = 4
"""Bytes of a float32."""


def predicted(site: ConvMatch) -> dict[str, float]:
    """Return {form: milliseconds for one clip}, `direct` first."""
    return {DIRECT: direct_ms(site)} | {
        form.title: tile_shape_ms(site, form) for form in TILE_SHAPES if fits(site, form)
    }


def direct_ms(site: ConvMatch) -> float:
    """Return the time of the convolution as it stands, with its ReLU fused and its pool behind it."""
    outputs = site.outputs * prod(site.convolved)
    taps = site.taps * TAPS * TAPS
    rate = FLOPS * (BLOCKED if site.rank == IMAGE else 1)
    columns = prod(site.convolved)
    filled = _filled(-(-columns // CORES)) * CORES / columns
    moved = site.inputs * prod(site.size) + outputs + CORES * site.outputs * site.inputs * taps
    if site.pool is not None:
        moved += outputs + site.outputs * prod(site.result)
    return _ms(2 * outputs * site.inputs * taps * filled, moved, rate)


def tile_shape_ms(site: ConvMatch, form: TileShape) -> float:
    """Return the time of a form: its operators in order, each by its arithmetic and the numbers it reads and writes.

    The Transposes at either end are counted, though a neighbour with channels last cancels them.
    """
    laid = tiling(site, form)
    (times, rows, columns), a, places = laid.tiles, laid.steps, laid.places
    source = site.inputs * prod(site.size)
    total = _ms(0, 2 * source)
    widened = source
    if laid.time is not None:
        widened = a * times * site.inputs * prod(site.size[1:])
        total += _ms(
            2 * widened * (site.size[0] if site.size[0] <= MAX_MATRIX_FRAMES else laid.time.inputs), source + widened
        )
    positions = times * rows * columns
    cut = a * places * site.inputs * positions
    total += _ms(2 * places * cut, widened + cut)
    if laid.merged:
        total += _ms(0, 2 * cut)
    product = a * places * site.outputs * positions
    weights = a * places * site.outputs * site.inputs
    read = weights * (1 if laid.merged else times)
    total += _ms(2 * weights * positions * _filled(laid.rows) / laid.rows, cut + read + product)
    spaced = form.space**2 * a * site.outputs * positions
    volume = form.space**2 * (laid.time.outputs if laid.time is not None else 1) * site.outputs * positions
    total += _ms(2 * places * spaced, product + spaced)
    if laid.time is not None:
        total += _ms(2 * a * volume, spaced + volume)
    left = volume // prod(site.window)
    if site.pool is not None:
        total += _ms(0, volume + left * (1 if site.window[0] == 1 else 3) + left)
    return total + _ms(0, 2 * left * 4)  # tiles put together, bias, ReLU, channels first


def _filled(columns: int) -> int:
    """Return how many columns are computed for `columns` of them."""
    return -(-columns // VECTOR) * VECTOR


def _ms(operations: float, numbers: float, rate: float = FLOPS) -> float:
    return 1e3 * (operations / rate + SINGLE * numbers / BANDWIDTH)
