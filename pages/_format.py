"""Moments, in the time zone of the browser. What needs no browser is in services/formats.py."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from services.domain import utc_now


def ago(moment: datetime) -> str:
    """`just now`, `5 min ago`, `3 h ago`; the date once that is more than a day."""
    seconds = (utc_now() - moment).total_seconds()
    if seconds >= 86400:
        return local_time(moment)
    if seconds < 60:
        return "just now"
    return f"{int(seconds // 60)} min ago" if seconds < 3600 else f"{int(seconds // 3600)} h ago"


def local_time(moment: datetime) -> str:
    """`2026-03-01 14:05`."""
    try:
        zone = ZoneInfo(st.context.timezone) if st.context.timezone else None
    except (ZoneInfoNotFoundError, ValueError):
        zone = None
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M}"
