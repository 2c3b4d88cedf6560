"""Videos: decoding, clip sampling, resizing."""
