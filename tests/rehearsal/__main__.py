"""``python -m tests.rehearsal --minutes 30``: play a rehearsal and print what it came to. Exit 1 when something is wrong."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from dataclasses import replace

from tests.rehearsal.play import rehearse
from tests.rehearsal.terms import LONG, SHORT


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.rehearsal", description="Rehearse the daemon.")
    parser.add_argument("--minutes", type=float, help="how long; default: the short one of some seconds")
    parser.add_argument("--seed", type=int, default=LONG.seed)
    arguments = parser.parse_args()
    terms = SHORT if arguments.minutes is None else replace(LONG, seconds=int(60 * arguments.minutes))
    report = asyncio.run(rehearse(replace(terms, seed=arguments.seed), _say))
    sys.stdout.write(json.dumps({**report.figures, "problems": list(report.problems)}, indent=1) + "\n")
    return 1 if report.problems else 0


def _say(what: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {what}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
