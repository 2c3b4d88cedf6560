"""HTTP for all that fetches something: addresses, passwords, redirects, time limits, and what may be taken for a file.

`client` is a client on the standard library, for checkpoints; `exporter.remote` applies the same rules to aiohttp.
"""
