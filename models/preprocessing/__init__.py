"""Preprocessing profiles: how each checkpoint origin turns frames into a clip.

A wrong profile gives wrong outputs without an error: mean, channel order and value range differ from origin to
origin and no shape shows which was used. Each layout in `models.checkpoints.layouts` names its profile; the manifest
records it.

`recipe` has the dataclass and `profiles` the table; `files` finds a profile by name or reads one from a file, and
`mean` reads mean files. What computes needs torch and is imported from its module: `module` (the torch module, also
what is exported) and `frames` (its two halves, NumPy in and out).
"""
