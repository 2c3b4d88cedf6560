"""The parts of `optimize()`: its files, the rewriting, the comparison of speed, and which candidate is kept."""
