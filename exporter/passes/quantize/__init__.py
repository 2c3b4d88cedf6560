"""Static quantisation of convolutions and linear layers to int8.

`layers` finds what can be quantised, `ranges` measures activations on calibration clips, `qdq` inserts QuantizeLinear
and DequantizeLinear.
"""
