"""The program's own log: no secrets in it, and a log that can't be written never stops the program.

The dashboard and commands share `<home>/logs/dashboard.log`. A runner logs to its standard error, which is `logs/sys/runner.log` of its
run: so a traceback of Python itself, from an import that failed, is there too. Other libraries are logged from WARNING up.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import logging.handlers
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from urllib.parse import quote, quote_plus

from services import environment_variables

MAX_BYTES, BACKUP_COUNT = 1_000_000, 4
"""Of dashboard.log: five files of a megabyte each."""
_OURS = ("services", "pages", "app", "__main__")
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_FORMAT = "%(asctime)s.%(msecs)03dZ %(levelname)s [%(process)d] %(name)s: %(message)s"
_HEADER = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z (?P<level>[A-Z]+) \[\d+\] \S+: (?P<message>.*)"
_LONGEST_RECORD = 20_000  # characters
_LONGEST_SECRET = 10_000
_MOST_A_MINUTE = 30

logger = logging.getLogger(__name__)


def to_dashboard_file(home: Path, *also: str) -> None:
    """From now on this process logs to dashboard.log of `home`. `also` are loggers that don't propagate, whose errors belong there."""
    handler = _SharedFileHandler(home / "logs" / "dashboard.log")
    _configure(handler)
    for name in also:
        logging.getLogger(name).addHandler(handler)


def to_stderr() -> None:
    """From now on this process, a runner, logs to its standard error."""
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(encoding="utf-8", errors="backslashreplace")
    _configure(logging.StreamHandler())
    logging.captureWarnings(True)


def _configure(handler: logging.Handler) -> None:
    handler.setFormatter(_Formatter())
    handler.addFilter(_Throttle())
    root = logging.getLogger()
    for earlier in [each for each in root.handlers if isinstance(each.formatter, _Formatter)]:
        root.removeHandler(earlier)  # a process logs to one place
    root.addHandler(handler)
    hide(*(value for name, value in os.environ.items() if environment_variables.is_secret(name)))
    wanted = environment_variables.value("BATCH_SCORING_LOG_LEVEL").upper() or "INFO"
    for name in _OURS:
        logging.getLogger(name).setLevel(wanted if wanted in _LEVELS else "INFO")
    if wanted not in _LEVELS:
        logger.warning("BATCH_SCORING_LOG_LEVEL is “%s”, not one of %s. INFO is used.", wanted, ", ".join(_LEVELS))


def log_uncaught(*, show: bool) -> None:
    """From now on log uncaught exceptions, also those of threads. `show`: print them on standard error too, as Python does."""

    def uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
        if issubclass(kind, Exception):
            logger.critical("Uncaught %s: %s", kind.__name__, error, exc_info=(kind, error or kind(), trace))
        if show and kind is not SystemExit:
            sys.__excepthook__(kind, error or kind(), trace)

    sys.excepthook = uncaught
    threading.excepthook = lambda args: uncaught(args.exc_type, args.exc_value, args.exc_traceback)


@contextlib.contextmanager
def suppress(to: logging.Logger, message: str, *errors: type[Exception]) -> Iterator[None]:
    """`contextlib.suppress` that logs a warning with the traceback: for optional steps whose failure no person is shown."""
    try:
        yield
    except errors as error:
        to.warning("%s: %s", message, error, exc_info=error, stacklevel=3)


def line(name: str, message: str) -> bytes:
    """A record of level INFO as it stands in a log, with its line end."""
    record = logging.makeLogRecord({"name": name, "levelname": "INFO", "msg": message})
    return f"{_Formatter().format(record)}\n".encode()


# ---- secrets ---------------------------------------------------------------------------------------------------------------------

_hidden: set[str] = set()
_SHORTEST_HIDDEN = 6
_NAME = (
    r"(?:sig|[\w-]{0,40}(?:secret|password|passwd|pwd|token|signature|account_?key|access_?key|api[-_]?key|authorization|"
    r"client_assertion|credential|connection_?string)(?:[-_]\w{1,20})?)"
)
_PATTERNS = (
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?"), "***"),  # a JSON web token
    (re.compile(r"(?i)(\bauthorization\\?[\"']?\s*[=:]\s*\\?[\"']?)[\w-]+ [^\s\"',;\\]+"), r"\1***"),
    (re.compile(rf"(?i)(?<![\w-])(--?{_NAME}[\"']?,?\s+[\"']?)(?!-)[^\s\"',]+"), r"\1***"),  # of a command: --api-key VALUE
    (re.compile(rf"(?i)\b({_NAME}\\[\"']\s*:\s*\\[\"'])[^\"'\\]+"), r"\1***"),  # JSON within JSON
    (re.compile(rf"(?i)(?:\b|(?<=%[0-9a-f][0-9a-f]))({_NAME}%3D)[^\s&%\"']+"), r"\1***"),  # a URL within a URL
    (re.compile(r"(?i)\b(bearer|basic|sharedkey|sharedaccesssignature)\s+[^\s\"',;]{6,}"), r"\1 ***"),
    (re.compile(rf"(?i)\b({_NAME}[\"']?\s*[=:]\s*)(?:b?\"[^\"]*\"|b?'[^']*'|(?!(?:bearer|basic|sharedkey)\b)[^\s&;,\"'}}]+)"), r"\1***"),
    (re.compile(r"(://[^\s/:@]{0,100}:)[^\s@]{1,200}@(?:[^\s/@]{0,100}@)?"), r"\1***@"),
    (re.compile(r"(?i)(\bhttps?://)[^\s/:@]{6,200}@"), r"\1***@"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), "***"),
)


def hide(*secrets: str) -> None:
    """Log `***` instead of these values from now on, also where they are quoted by Python or JSON or stand in a URL. Short ones are logged:
    `1` and `true` occur everywhere."""
    for secret in secrets:
        if len(secret) >= _SHORTEST_HIDDEN:
            _hidden.update(
                (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], quote(secret), quote(secret, safe=""), quote_plus(secret))
            )


def redacted(text: str) -> str:
    """The text without hidden values, and without what looks like a token, a key, a password or a signature."""
    for secret in sorted(_hidden, key=len, reverse=True):
        text = text.replace(secret, "***")
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


# ---- lines -----------------------------------------------------------------------------------------------------------------------


class _Formatter(logging.Formatter):
    """UTC, secrets redacted, and the further lines of a record indented, so that no text from outside looks like a record."""

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__(_FORMAT, "%Y-%m-%d %H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        more = " (more of these within a minute are left out)" if getattr(record, "throttled", False) else ""
        return f"{super().formatMessage(record)}{more}"

    def format(self, record: logging.LogRecord) -> str:
        text, half = super().format(record), _LONGEST_RECORD // 2
        if len(text) > _LONGEST_RECORD:  # the cause stands first, and last in a traceback. Half a secret must not look like none
            text = f"{redacted(text[: half + _LONGEST_SECRET])[:half]}\n...\n{redacted(text[-half - _LONGEST_SECRET :])[-half:]}"
        return "\n  ".join(redacted(text).encode("utf-8", "backslashreplace").decode().splitlines())


class _Throttle(logging.Filter):
    """At most 30 records a minute from one line of the program: a script that crashes at each mini-batch must not fill the disk."""

    def __init__(self) -> None:
        super().__init__()
        self._counts: dict[tuple[str, int], int] = {}
        self._since = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if record.created - self._since >= 60:
            self._since, self._counts = record.created, {}
        place = (record.pathname, record.lineno)
        count = self._counts[place] = self._counts.get(place, 0) + 1
        record.throttled = count == _MOST_A_MINUTE  # the message stays as it is, for whoever else gets the record
        return count <= _MOST_A_MINUTE


class _SharedFileHandler(logging.handlers.RotatingFileHandler):
    """A rotating file that several processes write: locked and opened for each record, so that any of them may rename it.

    Where it can't be written (a full disk, a read-only home) the record is lost, and nothing else happens.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=MAX_BYTES, backupCount=BACKUP_COUNT, encoding="utf-8", errors="backslashreplace", delay=True)
        self._failed = False

    def emit(self, record: logging.LogRecord) -> None:
        from filelock import FileLock

        path = Path(self.baseFilename)
        with contextlib.suppress(Exception):  # the log must not stop what it tells about
            path.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # the home, of this user only
            path.parent.mkdir(exist_ok=True)
            with FileLock(path.with_suffix(".lock"), timeout=2):
                whole_records = path.stat().st_size if path.exists() else 0
                self._failed = False
                super().emit(record)
                try:
                    self.close()  # the next record opens it again
                finally:
                    if self._failed and path.stat().st_size > whole_records:
                        os.truncate(path, whole_records)  # else the next record would go on in the middle of a line

    def handleError(self, record: logging.LogRecord) -> None:
        """Print nothing: standard error is a person's terminal."""
        self._failed = True


def last_error(lines: str) -> str:
    """Why the process that wrote these lines, the end of a log, is gone: the message of its last record where that is an error, or Python's
    own last line; "" where its last record is not an error: it was ended from outside."""
    for line in reversed(lines.splitlines()):
        if line.strip() and not line.startswith(" "):
            record = re.fullmatch(_HEADER, line)
            if record is None:
                return line.strip()
            return record["message"] if record["level"] in ("ERROR", "CRITICAL") else ""
    return ""
