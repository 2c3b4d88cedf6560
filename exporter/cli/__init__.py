"""The command line: parse, call, print. No logic of its own, and nothing heavy imported before a command runs."""
