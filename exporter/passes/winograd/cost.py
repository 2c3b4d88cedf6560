"""What a form should cost: arithmetic at the rate of a matrix product, and every byte that moves between operators.

The model has two numbers, because two things were found to decide (docs/passes.md has the comparison with measured
times). Matrix products and convolutions reach `RATE`. Everything that is written by one operator and read by the next
passes through the last-level cache or memory at `BANDWIDTH`, because at these sizes nothing stays nearer; a transform
is all bytes, and so is a product whose weights outweigh its inputs. Small products count as the vectors they fill.

The numbers are those of two cores of a server CPU. Their ratio decides between forms, and differs little between
machines; where it matters, `--tune` measures.
"""

from math import prod

from exporter.passes.winograd.cook_toom import TAPS
from exporter.passes.winograd.forms import DIRECT, FORMS, PLAIN, Form
from exporter.passes.winograd.graph import tiling
from exporter.passes.winograd.sites import IMAGE, Site

RATE = 230e9
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


def predicted(site: Site) -> dict[str, float]:
    """Return {form: milliseconds for one clip}, `direct` first."""
    return {DIRECT: direct_ms(site)} | {form.title: form_ms(site, form) for form in FORMS if fits(site, form)}


def fits(site: Site, form: Form) -> bool:
    """Tell whether a form can be laid over a site: time is only transformed where there are taps along it."""
    if form.time == PLAIN:
        return True
    pairs = site.window[0] == 1 or form.time % 2 == 0
    # with two frames and their padding, a third of the taps fall on zeros: there is nothing left to save
    return site.taps == TAPS and pairs and site.convolved[0] >= max(form.time, TAPS)


def direct_ms(site: Site) -> float:
    """Return the time of the convolution as it stands, with its ReLU fused and its pool behind it."""
    outputs = site.outputs * prod(site.convolved)
    taps = site.taps * TAPS * TAPS
    rate = RATE * (BLOCKED if site.rank == IMAGE else 1)
    columns = prod(site.convolved)
    filled = _filled(-(-columns // CORES)) * CORES / columns
    moved = site.inputs * prod(site.size) + outputs + CORES * site.outputs * site.inputs * taps
    if site.pool is not None:
        moved += outputs + site.outputs * prod(site.result)
    return _ms(2 * outputs * site.inputs * taps * filled, moved, rate)


def form_ms(site: Site, form: Form) -> float:
    """Return the time of a form: its operators in order, each by its arithmetic and the numbers it reads and writes."""
    (times, rows, columns), places = tiling(site, form).tiles, form.space_points
    tiled = form.time > PLAIN
    a = form.time_points
    source = site.inputs * prod(site.size)
    frames = times if tiled else site.size[0]
    widened = a * site.inputs * frames * prod(site.size[1:]) if tiled else source
    cut = places * a * site.inputs * frames * rows * columns
    behind = times if tiled else site.convolved[0]
    columns_each = behind * rows * columns
    product = places * a * site.outputs * columns_each
    weights = places * a * site.outputs * site.inputs * (TAPS if site.taps == TAPS and not tiled else 1)
    spaced = form.space**2 * a * site.outputs * columns_each
    volume = form.space**2 * (form.time if tiled else 1) * site.outputs * columns_each
    total = _ms(2 * a * widened, source + widened) if tiled else 0.0
    total += _ms(2 * places * cut, widened + cut)
    gathered = 2 * TAPS * cut if not tiled and site.taps == TAPS else 0  # a grouped convolution lays its taps out
    filled = _filled(columns_each) / columns_each
    total += _ms(2 * weights * columns_each * filled, cut + gathered + weights + product)
    total += _ms(2 * places * spaced, product + spaced)
    total += _ms(2 * a * volume, spaced + volume) if tiled else 0.0
    left = volume // prod(site.window)
    if site.pool is not None:
        total += _ms(0, volume + left * (1 if site.window[0] == 1 else 3) + left)
    total += _ms(0, 2 * left * ((form.time > PLAIN) + (form.space // site.window[1] > 1) + 2))
    return total


def _filled(columns: int) -> int:
    """Return how many columns are computed for `columns` of them."""
    return -(-columns // VECTOR) * VECTOR


def _ms(operations: float, numbers: float, rate: float = RATE) -> float:
    return 1e3 * (operations / rate + SINGLE * numbers / BANDWIDTH)
