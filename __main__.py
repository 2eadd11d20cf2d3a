"""`batch-scoring-studio` and `python -m batch_scoring_studio`, where the program is installed: there this folder has that name.

Its modules are found by this process only: `services` and `pages` are no names to take from other programs.
"""

import sys
from pathlib import Path


def main() -> int:
    """The command's entry point; returns the exit code."""
    sys.path.insert(0, str(Path(__file__).parent))
    import launcher

    return launcher.main()


if __name__ == "__main__":
    sys.exit(main())
