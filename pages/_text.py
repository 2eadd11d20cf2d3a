"""Text to show: what comes from outside (file names, labels, messages) made safe, moments in the time zone of the browser."""

from __future__ import annotations

import re
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from services.domain import utc_now

_INVISIBLE = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]|\r(?!\n)"
"""Control characters, direction marks, characters of no width; not the joiners of emoji and of Arabic."""

_CHANGED_THOUGH_ESCAPED = r"(:(?=//|material_|streamlit:)|www(?=\.)|@|(?<!\S)[-<>~](?=(?:->|[-=>])(?!\S)))"
"""What Streamlit makes something else of in the text that is left when the escapes are taken out."""


def displayable(text: str) -> str:
    """The text as it can be sent to the browser: what isn't valid in it (a file name of undecodable bytes) becomes �."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def visible(text: str, *, lines: bool = True) -> str:
    """The text with invisible characters, and those that reverse what follows, written out: `↵`, `[U+202E]`. Where it is shown in
    `lines`, its line ends and tabs stay."""

    def written_out(match: re.Match[str]) -> str:
        return {"\n": "↵", "\t": "→"}.get(match[0], f"[U+{ord(match[0]):04X}]")

    return re.sub(_INVISIBLE if lines else rf"[\t\r\n]|{_INVISIBLE}", written_out, text)


def escape(text: str) -> str:
    """The text for a place where Streamlit takes Markdown: nothing in it formats, links or fetches.

    Some become something else even when they are escaped, unless an invisible character interrupts them: an address a link,
    `:material_home:` an icon, `->` and `--` between blanks an arrow and a dash.
    """
    interrupted = re.sub(_CHANGED_THOUGH_ESCAPED, "\\1\u2060", displayable(visible(text)), flags=re.IGNORECASE)
    unindented = re.sub(r"^[ \t]+", "", interrupted, flags=re.MULTILINE)  # a line further in would be code, backslashes and all
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", unindented).replace("\n", "  \n")


def for_badge(text: str) -> str:
    """The text for `st.badge`, which escapes brackets itself: what is escaped twice shows its backslashes, and ends the badge."""
    return escape(text).replace("\\[", "[").replace("\\]", "]")


def sentence(text: str) -> str:
    """An error's message as it begins where nothing stands before it: with a capital, unless with a name (`node_count:`, `m.pkl`)."""
    return text[:1].upper() + text[1:] if text.partition(" ")[0].isalpha() else text


def for_pages(hint: str) -> str:
    """A hint without the way on the command line, which ends it: on a page there is a field or a button."""
    return re.sub(r"; on the command line: [^\n]*$", ".", hint, flags=re.MULTILINE)


def truncate(text: str, length: int) -> str:
    """At most `length` characters, the last an ellipsis where some are left out."""
    return text if len(text) <= length else text[: length - 1] + "…"


def ago(moment: datetime) -> str:
    """`just now`, `5 min ago`, `3 h ago`; the date once that is more than a day."""
    seconds = (utc_now() - moment).total_seconds()
    if seconds >= 86400:
        return local_time(moment)
    if seconds < 60:
        return "just now"
    return f"{int(seconds // 60)} min ago" if seconds < 3600 else f"{int(seconds // 3600)} h ago"


def browser_zone() -> ZoneInfo | None:
    """The time zone of the browser; None, which is this machine's, where it isn't known."""
    try:
        return ZoneInfo(st.context.timezone) if st.context.timezone else None
    except (ZoneInfoNotFoundError, ValueError):
        return None


def local_time(moment: datetime) -> str:
    """`2026-03-01 14:05`."""
    return f"{moment.astimezone(browser_zone()):%Y-%m-%d %H:%M}"
