"""What NVIDIA's Triton Inference Server reads of a model: its configuration, as text."""
