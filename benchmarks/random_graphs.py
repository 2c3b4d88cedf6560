"""Do `optimize` and `verify parity` treat random graphs rightly? Every model is a function of its seed.

For each: onnxruntime returns the same for the model and for what every target makes of it, at batches of 2, 5 and 0;
`verify X --against X` passes; and a copy with one fault fails. Results are kept in a file: another call continues
there.

    python benchmarks/random_graphs.py --count 3000 --into random.json
"""

from __future__ import annotations

import argparse
import collections
import json
import sys
import tempfile
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))
from helpers.random_graphs import make_random_model
from helpers.random_graphs.checks import check_model


def main() -> None:
    """Check the models of a range of seeds, and print what was found by kind."""
    given = _arguments()
    warnings.simplefilter("ignore")
    done: dict[str, Any] = json.loads(given.into.read_text()) if given.into.is_file() else {}
    end = time.monotonic() + given.seconds
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(given.first, given.first + given.count):
            if str(seed) in done or time.monotonic() > end:
                continue
            made = make_random_model(seed)
            findings, counts = check_model(made, Path(folder))
            done[str(seed)] = {**counts, "findings": [asdict(found) for found in findings]}
            for found in findings:
                print(f"{seed}: {found.kind}: {found.detail}", file=sys.stderr, flush=True)
            if len(done) % 20 == 0:
                given.into.write_text(json.dumps(done))
    given.into.write_text(json.dumps(done))
    _report(done)


def _report(done: dict[str, Any]) -> None:
    rewritten = sum(record["rewritten"] for record in done.values())
    faults = sum(record["faults"] for record in done.values())
    print(f"{len(done)} models, {rewritten} rewritten files, {faults} faults that change the outputs clearly")
    kinds = collections.Counter(found["kind"] for record in done.values() for found in record["findings"])
    for kind, number in kinds.most_common():
        print(f"{number}  {kind}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, required=True, help="file of the results so far")
    parser.add_argument("--count", type=int, default=1000, help="number of seeds")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after this time; another call continues")
    return parser.parse_args()


if __name__ == "__main__":
    main()
