"""The same results for people (`console`, `parity_page`), for machines (`machine`) and for CI (`junit`)."""
