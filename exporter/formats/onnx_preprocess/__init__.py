"""Preprocessing as ONNX operators before a network: from decoded frames of any size to the network's clip.

The pixels equal those of `models.preprocessing.module`, which computes the same in PyTorch: bit for bit where an origin
resizes with OpenCV. Only standard operators of opset 17 occur, all of them unchanged up to opset 28. Positions along an
axis are integers in 32 bits where that is possible, because some engines compute int64 as int32 and float64 as float32.
"""
