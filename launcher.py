"""The program's one command: `python app.py` in a clone, `batch-scoring-studio` where it is installed.

Without a command it serves the dashboard; with one it is the command line, and loads nothing of the dashboard.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from services import INSTALLED, PROJECT_ROOT, __version__

ADDRESS = "127.0.0.1"
_OF_THE_DASHBOARD = ("--app", "--no-token", "--port", "--version", "--help", "-h")
_ON_PATH = (
    "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge", "microsoft-edge-stable", "msedge", "chromium", "chromium-browser",
)  # fmt: skip
_ON_MACOS = ("Google Chrome", "Microsoft Edge", "Chromium")
_ON_WINDOWS = (r"Google\Chrome\Application\chrome.exe", r"Microsoft\Edge\Application\msedge.exe", r"Chromium\Application\chrome.exe")


def main() -> int:
    """Do what the command line says; returns the exit code."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0].partition("=")[0] in _OF_THE_DASHBOARD:
        return _dashboard(arguments)
    from services.cli.main import run

    return run()


# ---- the dashboard ---------------------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    program = "batch-scoring-studio" if INSTALLED else "python app.py"
    parser = argparse.ArgumentParser(
        prog=program,
        usage=f"{program} [--port PORT] [--app] [--no-token] | --version | COMMAND ...",
        description="Batch Scoring Studio in the browser; with a COMMAND the command line, whose help is below.",
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("-h", "--help", action="store_true", help="show this help and exit")
    parser.add_argument("--port", type=int, default=8501, help="default: %(default)s; when in use, the next free one")
    parser.add_argument("--app", action="store_true", help="in a window of its own, by Chrome, Edge or Chromium")
    parser.add_argument("--no-token", action="store_true", help="let every user of this machine in, who can then run programs as you")
    parser.add_argument("--version", action="version", version=f"batch-scoring-studio {__version__}")
    return parser


def _dashboard(arguments: list[str]) -> int:
    """Serve until Ctrl-C."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.help:
        from services.cli.main import main as command_line

        parser.print_help()
        print()
        return command_line(["--help"])
    if not 0 <= options.port < 2**16:
        parser.error(f"argument --port: {options.port} is not a port; choose one from 1024 to 65535")
    port = free_port(options.port)
    if port != options.port:
        print(f"Port {options.port} is in use; using {port}", flush=True)

    from uvicorn.config import LOGGING_CONFIG

    from app import access, app

    LOGGING_CONFIG["loggers"]["uvicorn.error"]["level"] = "WARNING"  # instead of its startup messages, ours
    access.required = not options.no_token
    app.state["in_a_window"] = options.app
    sys.argv = [str(PROJECT_ROOT / "app.py")]  # next to it Streamlit looks for .streamlit/config.toml and pages/shell.py
    with contextlib.suppress(KeyboardInterrupt):
        app.run(config={"server.port": port})
    return 0


def free_port(first: int) -> int:
    """The first free port of 127.0.0.1 from `first` up. Exits the program when there is none."""
    for port in range(first, 2**16):
        with contextlib.suppress(OSError), socket.socket() as probe:
            if os.name != "nt":  # there it would allow a port that is in use
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((ADDRESS, port))
            return port
    raise SystemExit(f"No free port from {first} up. Choose a lower one with --port.")


# ---- a window of its own ---------------------------------------------------------------------------------------------------------


def open_page(url: str, *, in_a_window: bool) -> None:
    """Show the page at `url` to the person: in an app window where that is requested and possible, else in the default browser.

    Every user of the machine can read `url`, on the browser's command line.
    """
    if in_a_window:
        for browser in app_browsers():
            with contextlib.suppress(OSError):  # it is not a browser, or not for this machine: the next one may be
                # In a session of its own: Ctrl-C in the terminal is for the dashboard, not for a browser that may show other pages too.
                subprocess.Popen(
                    [browser, f"--app={url}"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )  # fmt: skip
                return
        print("An app window needs Chrome, Edge or Chromium, and none was found: opening the default browser instead.", flush=True)
    from streamlit import cli_util

    cli_util.open_browser(url)


def app_browsers() -> Iterator[str]:
    """Paths of the installed browsers that have an app mode: Chrome, Edge, Chromium, those on PATH first."""
    for candidate in (*_ON_PATH, *_installed_elsewhere()):
        if path := shutil.which(candidate):
            yield path


def _installed_elsewhere() -> list[str]:
    """Where macOS and Windows keep browsers."""
    paths: list[str] = []
    if sys.platform == "darwin":
        for folder in (Path("/Applications"), Path.home() / "Applications"):
            paths += (str(folder / f"{name}.app" / "Contents" / "MacOS" / name) for name in _ON_MACOS)
    elif sys.platform == "win32":
        import winreg

        for key in (winreg.HKEY_CURRENT_USER, winreg.HKEY_LOCAL_MACHINE):
            for name in ("chrome.exe", "msedge.exe"):
                with contextlib.suppress(OSError):
                    paths.append(winreg.QueryValue(key, rf"SOFTWARE\Microsoft\Windows\CurrentVersion\App Paths\{name}"))
        for variable in ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA"):
            if folder_name := os.environ.get(variable):
                paths += (str(Path(folder_name, path)) for path in _ON_WINDOWS)
    return paths
