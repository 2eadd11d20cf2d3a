"""`python -m tests.azure_service [FOLDER]`: the stand-in by hand, with a sample workspace. Ctrl-C ends it."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import signal
import sys
import tempfile
from pathlib import Path

from tests.azure_service.service import PROJECT, AzureService


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.azure_service", description="A stand-in of Azure ML, with a sample workspace.")
    parser.add_argument("folder", type=Path, nargs="?", help="where it keeps everything (default: a folder that is gone at its end)")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="azure-ml-")))
        print("Starting a stand-in of Azure ML, with a sample workspace…", flush=True)
        service = stack.enter_context(AzureService(folder.absolute(), sample=True))
        environment = service.environment() | {"BATCH_SCORING_HOME": str(folder.absolute() / "dashboard")}
        variables = " \\\n    ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
        print(f"The workspace is {service.workspace}. In another terminal, in {PROJECT}, open the dashboard on it:\n")
        print(f"env {variables} \\\n    .venv/bin/python app.py\n")
        print("Its Connection page is filled in then: sign in as a service principal. Or, with the same variables, the command line:\n")
        print("    .venv/bin/python -m services --workspace azure model list")
        print("    .venv/bin/python -m services --workspace azure-v2 model list\n")
        print("Models, datasets, clusters and runs are the stand-in’s: nothing reaches Azure. Ctrl-C ends it.", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
        print("\nEnding.", flush=True)
        for line in service.unknown_routes:
            print(f"Unsupported request: {line}", file=sys.stderr)


if __name__ == "__main__":
    main()
