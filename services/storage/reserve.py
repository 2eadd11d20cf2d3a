"""Room for the registry on a full disk: a file in the home that is removed when the disk is full.

SQLite needs some room even to read a registry that another process may write, so that on a full disk nothing could be deleted.
"""

from __future__ import annotations

import logging
import os
import shutil
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)

_NAME = ".reserve"
_BYTES = 512_000  # a deletion takes some 150,000
_KEPT_WITH = 10_000_000  # bytes that are free: with less, the room is left to whoever needs it


def keep(home: Path) -> None:
    """Set it aside, where it isn't there and the disk has room. A home that can't be written has none."""
    with suppress(OSError):
        if not (home / _NAME).exists() and shutil.disk_usage(home).free > _KEPT_WITH:
            (home / _NAME).write_bytes(os.urandom(_BYTES))  # not zeros, which some disks keep without a block


def release(home: Path) -> bool:
    """Give its room back, where the disk is full; whether there is more room now."""
    try:
        if shutil.disk_usage(home).free >= _BYTES:
            return False
        (home / _NAME).unlink()
    except OSError:
        return False
    logger.warning("The disk of %s is full: the room set aside is used, so that something can be deleted", home)
    return True
