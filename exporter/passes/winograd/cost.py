"""The predicted time of a tile shape: its arithmetic and every byte that moves between operators.

The model has two numbers, because two things decide (benchmarks/results/winograd.md compares its predictions with
measured times). Matrix products and convolutions reach `FLOPS`. Everything that one operator writes and the next reads
passes through the last-level cache or memory at `BANDWIDTH`, because at these sizes it does not fit in nearer caches. A
transform is all memory traffic, and so is a product whose weights are larger than its inputs. Small products count as
the vectors that they fill.

The numbers are those of two cores of a server CPU. Their ratio decides between tile shapes, and differs little between
machines; where it matters, `--autotune` measures.
"""

from math import prod

from exporter.passes.conv_pattern import VECTOR, ConvMatch
from exporter.passes.winograd.emit_frames import CHUNK_TILES, MAX_DENSE_FRAMES
from exporter.passes.winograd.tile_shape import DIRECT, PLAIN, TILE_SHAPES, TileShape
from exporter.passes.winograd.tiling import MAX_MATRIX_FRAMES, fits, tiling, time_transforms

FLOPS = 230e9
"""Floating-point operations a second of a large float32 matrix product, a multiply-add counted as two."""
BANDWIDTH = 20e9
"""Bytes a second between operators, written and read counted separately."""
BLOCKED = 1.6
"""Speed-up of 2-D convolutions by onnxruntime's blocked layout, which it does not have for 3-D ones."""
VOLUMES = 1.13
"""The rate of the products of a 3-D convolution, without the time to copy the taps of each output beside each other."""
TIME_TAPS = 1.2
"""Time of a direct convolution of 3x1x1 taps, which copies planes far apart, relative to what its numbers predict."""
TIME_TILES = 1.17
"""Time of tiles along time alone, relative to what their numbers predict; measured on whole networks. With 1.1
layers of 128 channels (16x16x16, 8x28x28) take these tiles too, with which they are no faster on an Intel Xeon and
slower by 1.4 on an AMD EPYC, where the blocked layout saves less (benchmarks/results/optimize.md)."""
TIME_TILES_POOLED = 2.0
"""The same before a pool, which tiles of all axes take on their way out: C3D with such tiles along time alone is 8 to
18 % slower than with tiles of all axes (benchmarks/results/optimize.md)."""
CORES = 2
"""A direct convolution divides its columns among the cores, each of which reads all weights."""
MAX_COST_RATIO = 0.9
"""The predicted time must be at most this fraction of the original's: the model is off by as much."""
MEASURE_MARGIN = 1.5
"""With `--autotune`, what is predicted within this factor of the best, or of the original, is measured."""
FLOAT32_BYTES = 4


def predict_ms(match: ConvMatch) -> dict[str, float]:
    """Return {tile shape: milliseconds for one clip}, `direct` first."""
    return {DIRECT: direct_ms(match)} | {
        shape.title: tile_shape_ms(match, shape) for shape in TILE_SHAPES if fits(match, shape)
    }


def direct_ms(match: ConvMatch) -> float:
    """Return the predicted time of the original convolution, with its ReLU fused and its pool after it."""
    outputs = match.outputs * prod(match.convolved)
    taps = prod(match.window.kernel)
    rate = FLOPS * (BLOCKED if match.image else VOLUMES)
    columns = prod(match.convolved)
    filled = fill_vectors(-(-columns // CORES)) * CORES / columns
    moved = match.inputs * prod(match.size) + outputs + CORES * match.outputs * match.inputs * taps
    if not match.image:
        moved += match.inputs * taps * columns
    if match.pool is not None:
        moved += outputs + match.outputs * prod(match.pooled)
    strided = TIME_TAPS if match.time_only else 1
    return strided * milliseconds(2 * outputs * match.inputs * taps * filled, moved, rate)


def tile_shape_ms(match: ConvMatch, tile_shape: TileShape) -> float:
    """Return the predicted time of a tile shape: the sum over its operators of arithmetic and memory traffic.

    The Transposes at either end are included, although those of a neighbour may cancel them.
    """
    if tile_shape.space == PLAIN:
        return _frames_ms(match, tile_shape)
    tiles = tiling(match, tile_shape)
    (times, rows, columns), a, s = tiles.tiles, tiles.time_points, tiles.space_points
    source = match.inputs * prod(match.size)
    total = milliseconds(0, 2 * source)
    widened = source
    if tiles.time is not None:
        widened = a * times * match.inputs * prod(match.size[1:])
        total += milliseconds(
            2 * widened * (match.size[0] if match.size[0] <= MAX_MATRIX_FRAMES else tiles.time.inputs), source + widened
        )
    positions = times * rows * columns
    transformed = a * s * match.inputs * positions
    total += milliseconds(2 * s * transformed, widened + transformed)
    if tiles.merged:
        total += milliseconds(0, 2 * transformed)
    product = a * s * match.outputs * positions
    weights = a * s * match.outputs * match.inputs
    read = weights * (1 if tiles.merged else times)
    total += milliseconds(2 * weights * positions * fill_vectors(tiles.rows) / tiles.rows, transformed + read + product)
    spaced = tile_shape.space**2 * a * match.outputs * positions
    volume = tile_shape.space**2 * (tiles.time.outputs if tiles.time is not None else 1) * match.outputs * positions
    total += milliseconds(2 * s * spaced, product + spaced)
    if tiles.time is not None:
        total += milliseconds(2 * a * volume, spaced + volume)
    pooled = volume // prod(match.pool_window)
    if match.pool is not None:
        total += milliseconds(0, volume + pooled * (1 if match.pool_window[0] == 1 else 3) + pooled)
    return total + milliseconds(0, 2 * pooled * 4)  # assembling tiles, bias, ReLU, channels first


def _frames_ms(match: ConvMatch, tile_shape: TileShape) -> float:
    """Return the predicted time where space is not transformed: products in the blocked layout, and its reordering."""
    time = time_transforms(match, tile_shape)
    times = -(-match.convolved[0] // time.outputs)
    source, volume = match.inputs * prod(match.size), match.outputs * prod(match.convolved)
    widened = time.points * times * match.inputs * prod(match.size[1:])
    product = time.points * times * match.outputs * prod(match.convolved[1:])
    taps = prod(match.window.kernel[1:])
    weights = time.points * match.outputs * match.inputs * taps
    total = milliseconds(0, 2 * source)
    multiplied, copied = match.size[0], 0
    if match.size[0] > MAX_DENSE_FRAMES:
        multiplied, copied = CHUNK_TILES * time.outputs + time.inputs - time.outputs, 2 * source
    total += milliseconds(2 * widened * multiplied, copied + source + widened)
    products = 2 * product * match.inputs * taps
    total += milliseconds(products, 3 * widened + weights + 3 * product, FLOPS * BLOCKED)
    total += milliseconds(2 * time.outputs * product, product + volume)
    if match.pool is not None:
        total += milliseconds(0, volume * (1 + 2 / match.pool_window[0]))
    total += milliseconds(0, 4 * volume // prod(match.pool_window))  # ReLU, channels first
    if match.time_only:
        return total
    return total * (TIME_TILES if match.pool is None else TIME_TILES_POOLED)


def fill_vectors(columns: int) -> int:
    """Return the columns that are computed for `columns` of them, which fill whole vectors."""
    return -(-columns // VECTOR) * VECTOR


def milliseconds(operations: float, numbers: float, rate: float = FLOPS) -> float:
    """Return the time of an operator: its operations at a rate, and the numbers that it reads and writes."""
    return 1e3 * (operations / rate + FLOAT32_BYTES * numbers / BANDWIDTH)
