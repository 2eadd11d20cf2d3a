"""The error tree, sorted by who can fix the fault.

Every error carries a message (what happened, to which thing) and a hint (what to do next); both are shown, a traceback is not.
How a run *ended* is never an exception: it is `Run.status`, `Run.error_code` and `Run.error`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager


class StudioError(Exception):
    """Something a person can act on. `message` says what happened to which thing, `hint` what to do next (may be empty)."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class SettingsError(StudioError):
    """You: a value is wrong. `field` is the spelling of the setting or parameter it belongs to; nothing was submitted."""

    def __init__(self, field: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.field = field


class NotFound(StudioError):
    """You: there is no such model, dataset, run or file; it may have been removed."""


class IntakeError(StudioError):
    """You: this file can't be taken, and why."""


class NothingStarted(StudioError):
    """Nobody: nothing was to be done. `found` are plain values that say more."""

    def __init__(self, message: str, hint: str = "", found: Mapping[str, object] | None = None) -> None:
        super().__init__(message, hint)
        self.found = dict(found or {})


class NothingNew(NothingStarted):
    """Nothing is new: see run_details.NewItems, whose values `found` has."""


class StillRunning(NothingStarted):
    """What a schedule started before has not ended."""


class EntryScriptError(StudioError):
    """The scoring script: it does not parse, has no `run`, or raised. `traceback` is its text, or empty."""

    def __init__(self, message: str, hint: str = "", traceback: str = "") -> None:
        super().__init__(message, hint)
        self.traceback = traceback


class WorkspaceUnavailable(StudioError):
    """The world: a folder that can't be written, an SDK that is missing, no network, no permission."""


@contextmanager
def os_errors_as(kind: Callable[[str, str], StudioError], message: str, hint: str = "") -> Iterator[None]:
    """Raise an OSError of the block as an error of this kind: `message`, a colon and the system's reason."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or (error.args[0][0][2] if isinstance(error, shutil.Error) and isinstance(error.args[0], list) else error)
        raise kind(f"{message}: {str(reason)[:500]}.", hint) from error
