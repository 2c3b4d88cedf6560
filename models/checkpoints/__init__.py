"""A file of any origin becomes {canonical name: tensor}, completely or not at all.

`sources.py` finds or downloads the file; `readers/` describes what a file holds as a tree of `FileTensor`s, without
torch, and never executes what it reads; `contents.py` gives each of them a path. `layouts.py` is the table of origins,
`detection.py` finds the networks in a file by its rows, `selection.py` chooses one of them, `extra_tensors.py` accounts
for every other tensor; `unsupported.py` names what is no C3D. `checkpoint.py` brings these together; from there on
there are torch's tensors, which `tensors.py` makes, and `loading.py` fills a network.
"""
