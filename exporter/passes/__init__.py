"""Passes: an ONNX model in, the same function out, faster. docs/reference/passes.md describes how one is written.

One file each, with its condition and its reason; `pipelines.py` lists which run for which target.
"""
