"""`python -m keeper` and the `keeper` command."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command line; expected trouble becomes one line and an exit code, never a traceback."""
    # To a keeper that runs they mean something; they end none that has not come so far, nor any other command.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGUSR2})
    try:
        from keeper.cli import run_cli

        sys.exit(run_cli(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.stderr.write("keeper: interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
