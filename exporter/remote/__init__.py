"""Files at a URL, through fsspec; HTTP by the rules of `models.http`. `exporter.storage` is what callers use."""
