"""The retry policy: which failures are retried, how often, and after which waits.

Most clients of the SDK retry by themselves; this is for the calls that don't, and it says how long the others may (see throttling.py).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from services.azure.auth.sdk_errors import FailureKind, failure_kind, retry_after
from services.errors import StudioError

T = TypeVar("T")

logger = logging.getLogger(__name__)

LONGEST_WAIT = 60.0
"""Seconds between two attempts, at most."""


@dataclass(frozen=True)
class RetryPolicy:
    """Waits `first_wait` seconds, then `factor` times as long each time, or as long as the service asks for (Retry-After). Gives up after
    `max_attempts` calls, where the next one would come later than `max_seconds` after the first, and at the `max_refusals`th refusal."""

    first_wait: float = 0.5
    factor: float = 4.0
    max_attempts: float = math.inf
    max_seconds: float = math.inf
    max_refusals: int = 1


DASHBOARD = RetryPolicy(max_attempts=4)
COMMAND = replace(DASHBOARD, max_seconds=30.0)  # a person waits at the terminal
RUNNER = RetryPolicy(first_wait=1.0, factor=2.0, max_seconds=30 * 60.0, max_refusals=3)  # one refusal may be the service's own fault
UPLOAD = RetryPolicy(first_wait=0.0, max_attempts=3)


def call(
    policy: RetryPolicy, function: Callable[[], T], wait: Callable[[StudioError, float], None] = lambda _, seconds: time.sleep(seconds)
) -> T:
    """What `function` returns, called again while it raises a StudioError that may pass. `wait` gets the error and the seconds to wait.
    Raises the last StudioError, and what `wait` raises."""
    started, attempts, refusals = time.monotonic(), 0, 0
    while True:
        try:
            return function()
        except StudioError as error:
            kind = failure_kind(error)
            seconds = min(LONGEST_WAIT, retry_after(error) or policy.first_wait * policy.factor**attempts)
            attempts += 1
            refusals += kind is not FailureKind.TRANSIENT
            exhausted = attempts >= policy.max_attempts or time.monotonic() + seconds > started + policy.max_seconds
            if kind is FailureKind.FINAL or refusals >= policy.max_refusals or exhausted:
                raise
            logger.warning("%s Retrying in %.1f s.", error.message, seconds, exc_info=error if attempts == 1 else None)
            wait(error, seconds)
