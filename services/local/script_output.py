"""What the script says while run() runs: records of its loggers, and what the files of its stdout and stderr grow by.

Standard library only, and Python 3.8 or newer: it runs in the run's own interpreter, as worker.py does. A mini-batch that says nothing
costs the look at two attributes. The files are read, and not the streams listened to, since a script may put other streams in their place,
print from C, or start programs that print.
"""

import contextlib
import io
import logging
import os
import sys
import traceback

QUIET_SECONDS = 5e-5
"""In less, Python itself prints or nobody does: a look at the sizes of the files takes one or two millionths of a second."""
MOST_BYTES = 4_000_000
"""That are read of a stream for one mini-batch; half from its beginning, half from its end."""
MOST_BYTES_OF_PROGRESS = 64_000
"""The same where no item is missing."""


class _Raw(io.FileIO):
    """A standard stream's file, which notes that something was written."""

    output = None

    def write(self, content):
        self.output.written = True
        return super().write(content)


class ScriptOutput:
    """Of one worker process; `paths` are the files of its stdout and stderr. `begin` and then, for each mini-batch, `lines` or `forget`."""

    def __init__(self, paths):
        flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        self._files = [os.open(path, flags) for path in paths]
        self._ends = self._sizes()
        self.written = False
        self.records = []
        self.printed = None
        self._characters = 0

    def listen(self):
        """Put streams in the place of the standard ones, and look at every record that a logger emits."""
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            raw = _Raw(stream.fileno(), "wb", closefd=False)
            raw.output, raw.name = self, f"<{name}>"
            text = io.TextIOWrapper(io.BufferedWriter(raw), stream.encoding, "backslashreplace", line_buffering=True)
            stream.flush()
            setattr(sys, name, text)
            setattr(sys, f"__{name}__", text)
        call_handlers = logging.Logger.callHandlers

        def note_and_call_handlers(logger, record):
            self._note(record)
            return call_handlers(logger, record)

        logging.Logger.callHandlers = note_and_call_handlers

    def _note(self, record):
        if self._characters > MOST_BYTES:
            return
        try:
            message = record.getMessage()
            exception = traceback.format_exception_only(*record.exc_info[:2])[-1] if record.exc_info and record.exc_info[0] else ""
        except Exception:  # noqa: BLE001 - the handlers say what is wrong with a script's own message
            return
        message = message[:MOST_BYTES]
        self._characters += len(message) + len(exception) + 50
        self.records.append((record.name, record.levelno, message, exception))

    def has_lines(self, seconds):
        """Whether anything may have been said in a call of run() that took so long."""
        return self.written or self.records or (seconds > QUIET_SECONDS and self._sizes() != self._ends)

    def _sizes(self):
        return [os.lseek(file, 0, os.SEEK_END) for file in self._files]

    def forget(self):
        """What is said from now on is of the next mini-batch. `printed` is then where in each file the last one's is: where it begins and
        ends in that of stdout, and in that of stderr; None where it printed nothing."""
        begins, self._ends = self._ends, self._sizes()
        self.printed = [at for ends in zip(begins, self._ends) for at in ends] if begins != self._ends else None  # noqa: B905 - Python 3.8
        self.written = False
        self.records = []
        self._characters = 0

    @staticmethod
    def flush():
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # the script put it there, or closed it
                stream.flush()

    def lines(self, causes, *, missing):
        """What was said since the last mini-batch, as lines (see causes.py), in order within loggers, stderr and stdout."""
        if missing:
            self.flush()
        begins, records = self._ends, self.records
        self.forget()
        lines = []
        for name, level, message, exception in records:
            if name == "py.warnings":
                lines += causes.lines_of(message, "stderr")
                continue
            line = causes.Line("ERROR" if level >= 40 else "WARNING" if level >= 30 else "INFO", causes.one_line(message))
            lines.append(causes.with_exception(line, exception) if exception else line)
        logged = {line.text for line in lines}
        most = MOST_BYTES if missing else MOST_BYTES_OF_PROGRESS
        for file, begin, end, source in zip(self._files, begins, self._ends, ("print", "stderr")):  # noqa: B905 - Python 3.8
            if end > begin:
                text = _read(file, begin, end, most)
                if not missing and text.count("\n") == len(records):
                    continue  # as many lines as were logged: a handler has printed these
                lines += [line for line in causes.lines_of(text, source) if not _repeats(line.text, logged)]
        return lines


def _read(file, begin, end, most):
    if end - begin <= most:
        return _part(file, begin, end - begin)
    return _part(file, begin, most // 2) + "\n" + _part(file, end - most // 2, most // 2)


def _part(file, begin, length):
    os.lseek(file, begin, os.SEEK_SET)  # os.pread doesn't exist on Windows
    return os.read(file, length).decode("utf-8", "backslashreplace")


def _repeats(text, logged):
    """Whether a line is a logged message as a handler has printed it: with a time, a level or a name before it."""
    at = 0
    for _ in range(10):
        if text[at:] in logged:
            return True
        at = text.find(" ", at) + 1
        if not at:
            return False
    return False
