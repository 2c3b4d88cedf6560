"""A file of any origin becomes {canonical name: tensor}, completely or not at all.

`sources.py` finds or downloads the file; `readers/` converts a file format to a tree of tensors and never executes what
it reads; `contents.py` gives each tensor a path. `layouts.py` is the table of origins, `detection.py` finds the
networks in a file by its rows, `selection.py` chooses one of them, `extra_tensors.py` accounts for every other
tensor; `unsupported.py` names what is no C3D. `checkpoint.py` brings these together, `loading.py` fills a network.
"""
