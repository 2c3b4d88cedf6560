"""The only place that opens, edits or writes ONNX files.

Modules: `load` (an `onnx.ModelProto`, with or without its weights), `reader` (an `onnx_ir.Model` whose weights are
mapped from the file), `writer`, `signature`, `precision`, `external_data`, `all_outputs`, `cast`, `dtypes`,
`subgraphs`.
"""
