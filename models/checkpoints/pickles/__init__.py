"""A restricted reader of pickles: PyTorch's files of every format, NumPy's and Paddle's pickles, Python 2's.

A pickle is a program. This package runs it on a machine of its own, on which nothing can be imported or called: names
stay names (`values.Global`), calls are looked up in a literal table of this package's functions (`rules`), everything
else becomes a `NotBuilt` record whose arguments and state stay reachable. The way of a file:

    reader                  the pickles of one file, in the order of its format
    torch_zip, legacy, torch_tar, persistent      PyTorch's formats
    machine, opcodes, literals, containers, keys, limits      the stack machine, and what a file may cost
    rules, plain, arrays, joblib, storages, hazards       what the names in a file mean here
    resolve                 in the end, the content: where each tensor's numbers are
"""
