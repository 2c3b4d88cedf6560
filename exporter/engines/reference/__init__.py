"""ONNX graphs evaluated node by node, in float64: the reference of a model file.

`graph` walks the nodes and frees every value after its last use. `operators` decides what computes a node: a kernel of
this package, onnx's reference evaluator, or onnxruntime on a model of that single node.
"""
