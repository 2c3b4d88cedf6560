"""Convolutions of 3x3x3 taps with a third to an eighth of the multiplications, in standard ONNX operators.

In short: a 3-tap filter slid over six neighbouring inputs gives four outputs with twelve products. The same four
numbers take six products if the inputs are transformed (by a fixed 6x6 matrix), the taps are transformed (ahead of
time), both are multiplied element by element, and the result is transformed again (by a fixed 4x6 matrix). In three
axes at once a tile of 4x4x4 outputs takes 6x6x6 = 216 products instead of 64 x 27 = 1728: an eighth. Summed over input
channels, the products at one position of the tile are one matrix product, inputs (tiles, C) by weights (C, K), which
processors compute efficiently.

* `cook_toom`: the fixed matrices, and how accurate they are.
* `pattern`: which convolutions can be rewritten, with the ReLU and max pool after them.
* `tile_shape`: the tile shapes; `tiling`: the tiles of one convolution.
* `emit`: the operators of a rewritten convolution, in order; `emit_frames`: those where time alone is transformed.
* `cost`: the predicted time of each tile shape; `measure`: its measured time; `rounding_error`: its error.
* `rewrite`: the pass.
* `torch_module`: the same convolution as a PyTorch module, for TorchScript.
"""
