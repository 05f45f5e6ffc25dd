"""Run fuzzers for a while: `python -m tests.fuzz [NAME…] --seconds 60 --seed 1`."""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path

from tests.fuzz.targets import TARGETS, open_target


def main() -> None:
    """Run each target for its share of the time; the first finding ends the run."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*TARGETS, []], metavar="NAME")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each (default: 60)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--round", type=int, help="run only this round")
    args = parser.parse_args()
    for name in args.names or TARGETS:
        with tempfile.TemporaryDirectory() as folder, open_target(name, Path(folder)) as fuzz:
            start = time.monotonic()
            round_number = args.round or 0
            while time.monotonic() - start < args.seconds:
                try:
                    fuzz(random.Random(f"{name} {args.seed} {round_number}"))
                except BaseException:
                    print(f"{name}: --seed {args.seed} --round {round_number}")
                    raise
                round_number += 1
                if args.round is not None:
                    break
        print(f"{name}: {round_number} rounds from seed {args.seed} found nothing", flush=True)


if __name__ == "__main__":
    main()
