"""The Chromium of the browser tests. `python -m tests.browser.chromium` finds one, or installs one, or says what to install and fails."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
APPLICATIONS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)
PLAYWRIGHTS_OWN = "from playwright.sync_api import sync_playwright as s\nwith s() as p: print(p.chromium.executable_path)"
DOWNLOAD_SECONDS = 300
WHAT_TO_INSTALL = """\
The browser tests need Chromium or Google Chrome, and there is none. Install one:
    Debian        sudo apt-get install chromium
    macOS         brew install --cask chromium
    Windows       winget install Google.Chrome
    elsewhere     .venv/bin/python -m playwright install --with-deps chromium
or name yours:    CHROMIUM=/path/to/chrome make test"""


def candidates() -> Iterator[str]:
    """Where a browser may be, in the order of preference. `CHROMIUM`, where it is set, is the only one."""
    if named := os.environ.get("CHROMIUM"):
        yield named
        return
    yield from NAMES
    yield from APPLICATIONS
    # In a process of its own: Playwright does not start twice in one.
    yield subprocess.run([sys.executable, "-c", PLAYWRIGHTS_OWN], capture_output=True, text=True, timeout=60, check=False).stdout.strip()


def runs(path: str) -> bool:
    """Whether it is a browser that starts: Ubuntu's `chromium-browser` may be a note that it isn't one, a download may lack libraries."""
    if os.name == "nt":  # there `--version` opens a window
        return True
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run([path, "--version"], capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False).returncode == 0
    return False


@cache
def executable() -> Path | None:
    """The browser to use, or None where there is none that starts."""
    return next((Path(path) for name in candidates() if (path := shutil.which(name)) and runs(path)), None)


def download() -> str:
    """Fetch Playwright's own Chromium. Returns why it did not work, or an empty string."""
    environment = os.environ | {"PLAYWRIGHT_DOWNLOAD_CONNECTION_TIMEOUT": "5000"}
    command = [sys.executable, "-m", "playwright", "install", "chromium"]
    started = subprocess.Popen(
        command,
        env=environment,
        text=True,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        _, errors = started.communicate(timeout=DOWNLOAD_SECONDS)
    except subprocess.TimeoutExpired:
        return f"not done after {DOWNLOAD_SECONDS} s"
    finally:
        if started.poll() is None:
            # It has children that would go on.
            os.killpg(started.pid, signal.SIGKILL) if os.name != "nt" else started.kill()
    return next((line for line in errors.splitlines() if line.startswith("Error:")), "failed") if started.returncode else ""


def install() -> Path | None:
    """Playwright's own download; else, on Debian as root, the package. Returns the browser, or None where neither worked."""
    print("There is no Chromium here. Trying Playwright's download ...", flush=True)
    if reason := download():
        print(f"  {reason}", flush=True)
    executable.cache_clear()
    if executable() is None and shutil.which("apt-get") and os.getuid() == 0:
        print("Trying the package: apt-get install chromium ...", flush=True)
        for arguments in (["update", "-qq"], ["install", "-y", "-qq", "chromium"]):
            subprocess.run(
                ["apt-get", "-o=Dpkg::Use-Pty=0", *arguments],
                env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
                stdin=subprocess.DEVNULL,
                check=False,
            )
        executable.cache_clear()
    return executable()


def main() -> None:
    """Print the browser's path; exit code 1 where there is none."""
    named = os.environ.get("CHROMIUM")
    found = executable() or (None if named else install())
    if found is None:
        sys.exit(f"CHROMIUM is “{named}”, which is not a browser that starts." if named else WHAT_TO_INSTALL)
    print(f"Browser: {found}", flush=True)


if __name__ == "__main__":
    main()
