"""Convolutions of 3x3x3 taps with a third to an eighth of the multiplications, in standard ONNX operators.

For who knows convolution but not Winograd: a 3-tap filter slid over six neighbouring inputs gives four outputs and
costs twelve products. There is a way to get the same four numbers with six: transform the inputs (a fixed 6x6 matrix),
transform the taps (ahead of time), multiply number by number, transform back (a fixed 4x6 matrix). In three axes at
once a tile of 4x4x4 outputs takes 6x6x6 = 216 products instead of 64 x 27 = 1728: an eighth. Summed over input
channels, the products of one place in the tile are one matrix product, inputs (tiles, C) by weights (C, K), which is
what processors do best.

* `cook_toom`: where the fixed matrices come from, and which are accurate.
* `matches`: which convolutions can be rewritten, and the ReLU and max pool that go with them.
* `tile_shape`: which tiles there are; `tiling`: how one lies over a convolution.
* `graph`: the operators of one tile shape, in order.
* `cost`: what each tile shape should cost.
* `micro`: one convolution alone in each tile shape, to be measured; `error`: how much a tile shape rounds.
* `rewrite`: the pass.
* `torch_module`: the same convolution as a module, for TorchScript.
"""
