"""A command runs in a process of its own, and another one watches it: no file can hang, crash or overfill the tool.

Libraries in C and C++ read and run files from untrusted sources. If they loop forever, divide by zero or fill the
memory, no exception or signal handler of Python can help. So the command line is two processes: the *worker* does
everything, the *supervisor* waits for it, measures its memory and its time, and ends it. Both see a `Board`, on
which the worker keeps what it is doing: which library works on which file, and until when (`native_call`).

This package imports nothing but the standard library before a command is at work: `--help` must not wait.
"""
