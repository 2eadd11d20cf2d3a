"""What a worker's interpreter executes. It is short because Python compiles such a file again each time; of worker.py, which it only
imports, it keeps what it compiled. Python 3.8 or newer, as there.
"""

import os
import sys


def _worker():
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import worker

    del sys.path[0]
    return worker


if __name__ == "__mp_main__":  # processes that the script's multiprocessing spawns execute this file again
    _worker().prepare_for_the_script()
if __name__ == "__main__":
    _worker().main()  # then Python ends as it always does: atexit is called, and files that are open are written out
