"""The command line: parse, call, print. No logic of its own, and nothing heavy imported before a command runs."""

import signal
import sys
from pathlib import Path

if Path(sys.argv[0]).stem in ("c3d-export", "verify") and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C before the command has its own handlers needs no traceback
