"""First layers of 3-D networks in float16, in a shape that cuDNN computes on tensor cores.

*Given* `y = Conv(x, W, b)` of float16 volumes with C < 8 channels, and the ReLU and the max pool after it. *Result*:
the same sums, from a 2-D convolution of frames whose taps in time are channels (`exporter.passes.conv3d_as_conv2d`),
with further taps of zero weight on a frame of zeros, until there is a multiple of 8 channels: 24 for RGB and 3 taps.

cuDNN's tensor-core kernels read eight float16 channels (16 bytes) at once. For a 3-D convolution of three channels, and
of as many padded to eight, onnxruntime gets a kernel without tensor cores: more than a third of C3D's time on an H200
(benchmarks/results/gpu.md). *Source*: NVIDIA, Convolutional Layers User's Guide, "Channels In And Out".
"""

import onnx_ir as ir

from exporter.passes.base import PASSES_OPSET, NodePass
from exporter.passes.conv2d_emit import replace_by_conv2d
from exporter.passes.conv_pattern import CONV2D, match_constant

CHANNELS = 8
"""float16 numbers of 16 bytes, which a tensor core reads at once."""


class TensorCoreStem(NodePass):
    """A float16 convolution of volumes with few channels becomes a 2-D one with a multiple of 8."""

    name = "tensor-core-stem"
    condition = (
        f"A float16 Conv of volumes with one group, constant weights, a known size and fewer than {CHANNELS} channels."
    )
    reason = "cuDNN computes it on tensor cores only with a multiple of 8 input channels."
    min_opset = PASSES_OPSET
    operators = ("Conv",)

    def rewrite_node(self, model: ir.Model, node: ir.Node) -> bool:
        """See `NodePass`."""
        match = match_constant(node, ir.DataType.FLOAT16)
        if match is None or match.inputs >= CHANNELS:
            return False
        replace_by_conv2d(model, match, channels_last=True, multiple=CHANNELS)
        self.decide(node, CONV2D, f"taps in time become channels, a multiple of {CHANNELS}")
        return True
