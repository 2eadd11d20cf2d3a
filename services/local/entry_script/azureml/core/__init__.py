"""What stands in for azureml-core where the run's interpreter lacks it: Model and Run, nothing else.

The worker finds it after everything else, so the real one wins. Its parent folder has no __init__.py, as a part of a namespace. Standard
library only and Python 3.8 or newer.
"""

from .model import Model
from .run import Run

__all__ = ["Model", "Run"]


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    raise ImportError(
        f"azureml-core is not installed in this run's environment, and what stands in for it has no {name!r}, only Model "
        "and Run. Install it there: pip install azureml-core"
    )
