"""`python -m services`: the command line, services/cli."""

import sys

from services.cli.main import run

if __name__ == "__main__":
    sys.exit(run())
