"""How long a user waits for `c3d-export --help`."""

from pathlib import Path

from measure import BIN, machine, run, spread

RUNS = 20


def main() -> None:
    """Measure and print."""
    print(machine())
    for command in (["c3d-export", "--help"], ["verify", "parity", "--help"]):
        runs = [run([str(BIN / command[0]), *command[1:]], Path.cwd()) for _ in range(RUNS + 1)][1:]
        seconds, memory = spread([r.seconds for r in runs]), spread([r.megabytes for r in runs])
        print(f"{' '.join(command):<24} {seconds} s, {memory} MB")


if __name__ == "__main__":
    main()
