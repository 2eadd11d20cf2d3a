"""What a worker prints, read from its files while it runs: each line with the time it was seen, the first and the last ones of many."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from services.domain import readable
from services.run_details import PrintedLine

_MOST_AT_BEGIN, _MOST_AT_END = 1_000, 1_000  # lines
_LONGEST_LINE = 2_000  # characters
_AT_A_TIME = 200_000  # bytes of a file; of what is more, the beginning and the end


class PrintedLines:
    """Of the files of one worker, by what they are called."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files
        self._began = time.monotonic()
        self._ends = dict.fromkeys(files, 0)
        self._unfinished = dict.fromkeys(files, b"")
        self._first: list[PrintedLine] = []
        self._last: deque[PrintedLine] = deque(maxlen=_MOST_AT_END)
        self._count = 0

    def look(self, *, ended: bool = False) -> list[PrintedLine]:
        """What came since, as far as it belongs to the first lines."""
        before = len(self._first)
        for stream, path in self._files.items():
            self._read(stream, path, ended)
        return self._first[before:]

    @property
    def lines(self) -> tuple[PrintedLine, ...]:
        return (*self._first, *self._last)

    @property
    def left_out(self) -> int:
        """How many lines there are between the first and the last ones, as far as they were counted."""
        return self._count - len(self._first) - len(self._last)

    def _read(self, stream: str, path: Path, ended: bool) -> None:
        try:
            size = path.stat().st_size
            if size < self._ends[stream]:  # it grew too long, and was cut back
                self._ends[stream], self._unfinished[stream] = size, b""
            if size > self._ends[stream] or (ended and self._unfinished[stream]):
                with open(path, "rb") as file:
                    file.seek(self._ends[stream])
                    content = file.read(_AT_A_TIME)
                    if size - file.tell() > _AT_A_TIME:
                        skipped = size - file.tell() - _AT_A_TIME // 2
                        file.seek(skipped, 1)
                        content += f"\n[{skipped:,} bytes are left out here]\n".encode()
                    content += file.read(_AT_A_TIME)
                    self._ends[stream] = file.tell()
                self._add(stream, self._unfinished[stream] + content, ended)
        except OSError:
            return  # there is none yet

    def _add(self, stream: str, content: bytes, ended: bool) -> None:
        *lines, rest = content.split(b"\n")
        if rest and (ended or len(rest) > _AT_A_TIME):
            lines, rest = [*lines, rest], b""
        self._unfinished[stream] = rest
        seconds = round(time.monotonic() - self._began, 3)
        for line in lines:
            text = readable(line[: 4 * _LONGEST_LINE].decode("utf-8", "backslashreplace").rstrip("\r"))
            text = text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]}…"
            self._count += 1
            if len(self._first) < _MOST_AT_BEGIN:
                self._first.append(PrintedLine(seconds, stream, text))
            else:
                self._last.append(PrintedLine(seconds, stream, text))
