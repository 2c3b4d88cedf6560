"""The only place that opens, edits or writes ONNX files."""
