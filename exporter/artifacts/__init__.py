"""Artifacts on disk: their manifest, how they are published, how they are loaded."""
