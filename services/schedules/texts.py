"""What a person gives the system's own scheduler: systemd's units, a line of a crontab, commands for Windows' Task Scheduler.

This program writes none of it anywhere. Each text has the whole command: the interpreter and the home by their absolute paths, since cron
starts it with next to no environment. Secrets stay in the home: a text names the schedule only.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from services import PROJECT_ROOT
from services.schedules.cron import MONTHS, WEEKDAYS, Recurrence

_PLAIN = re.compile(r"[\w./:=,+-]+", re.ASCII)
_MOST_TASKS = 24
_LONGEST_TASK = 261
"""Characters of a task's command (schtasks /TR)."""


@dataclass(frozen=True)
class SetupTexts:
    """The texts of one schedule. Where a system can't have it, its text is "" and `why_not` says why, by `cron` or `schtasks`."""

    unit: str
    """The name of systemd's units without `.service` and `.timer`."""
    service: str
    timer: str
    cron: str
    schtasks: str
    why_not: tuple[tuple[str, str], ...] = ()

    @property
    def systemd_commands(self) -> str:
        """What to do with the units once they are in ~/.config/systemd/user."""
        return f"systemctl --user daemon-reload\nsystemctl --user enable --now {self.unit}.timer"

    @property
    def systemd_removal(self) -> str:
        return f"systemctl --user disable --now {self.unit}.timer"


def command_of(home: Path, name: str, *, wait: bool) -> list[str]:
    """The command that starts a schedule, from any folder."""
    own = [sys.executable, str(PROJECT_ROOT / "__main__.py"), "--home", str(home.absolute())]
    return [*own, "schedule", "run", name, *(["--wait"] if wait else [])]


def setup_texts(home: Path, name: str, recurrence: Recurrence) -> SetupTexts:
    """What to give the system for a schedule of this name, which `check_name` takes."""
    # systemd ends what a service has started together with it, so there the command stays until the run has ended.
    waiting = command_of(home, name, wait=True)
    unit = f"batch-scoring-{name}"
    tasks, why_not = _schtasks(waiting, name, recurrence)
    return SetupTexts(
        unit=unit,
        service=systemd_service(waiting, name),
        timer=systemd_timer(recurrence, name),
        cron=f"{recurrence.words} {cron_command(command_of(home, name, wait=False))}",
        schtasks="\n".join(tasks),
        why_not=(("schtasks", why_not),) if why_not else (),
    )


# ---- systemd ---------------------------------------------------------------------------------------------------------------------


def systemd_service(command: Sequence[str], name: str) -> str:
    """The unit that executes the command once: systemd.service(5), systemd.syntax(7)."""
    if not _PLAIN.fullmatch(command[0]):  # systemd starts no program whose path has, for example, quotes in it
        command = ["/bin/sh", "-c", 'exec "$@"', "sh", *command]
    words = [_systemd_quoted(word).replace("$", "$$") for word in command]
    return f"[Unit]\nDescription=Batch Scoring Studio, schedule {name}\n\n[Service]\nType=oneshot\nExecStart={' '.join(words)}\n"


def systemd_timer(recurrence: Recurrence, name: str) -> str:
    """The unit that says when: what was missed while the machine was off is done once it is on."""
    when = "".join(f"OnCalendar={text}\n" for text in calendar_events(recurrence))
    about = f"[Unit]\nDescription=Batch Scoring Studio, when schedule {name} is run"
    return f"{about}\n\n[Timer]\n{when}Persistent=true\n\n[Install]\nWantedBy=timers.target\n"


def calendar_events(recurrence: Recurrence) -> list[str]:
    """The same in the words of systemd.time(7). There day and day of the week must both hold, so either of two is two events."""
    times = f"{_numbers(recurrence.hours, 24, '02')}:{_numbers(recurrence.minutes, 60, '02')}:00"
    months, days = _numbers(recurrence.months, 12, "02"), _numbers(recurrence.days, 31, "02")
    names = [WEEKDAYS[day % 7].capitalize() for day in (1, 2, 3, 4, 5, 6, 7) if day % 7 in recurrence.weekdays]
    weekdays = "" if len(names) == 7 else f"{','.join(names)} "
    if recurrence.any_day or recurrence.any_weekday:
        return [f"{weekdays}*-{months}-{days} {times}"]
    return [f"*-{months}-{days} {times}", f"{weekdays}*-{months}-* {times}"]


def _numbers(values: frozenset[int], every: int, spec: str) -> str:
    return "*" if len(values) == every else ",".join(format(value, spec) for value in sorted(values))


def _systemd_quoted(text: str) -> str:
    escaped = []
    for byte in os.fsencode(text):
        character = chr(byte)
        if character in '"\\':
            escaped.append(f"\\{character}")
        elif character == "%":
            escaped.append("%%")
        elif character.isprintable() and byte < 127:
            escaped.append(character)
        else:
            escaped.append(f"\\x{byte:02x}")
    quoted = "".join(escaped)
    return quoted if _PLAIN.fullmatch(quoted) else f'"{quoted}"'


# ---- cron ------------------------------------------------------------------------------------------------------------------------


def cron_command(command: Sequence[str]) -> str:
    """The command for a crontab: crontab(5) takes a `%` for the end of a line, with or without quotes around it, and has no way to write a
    line's end."""
    return " ".join(map(_cron_quoted, command))


def _cron_quoted(text: str) -> str:
    """For sh, without a `%` and on one line."""
    if "%" not in text and text.isprintable():
        return shlex.quote(text)
    if text.endswith("\n"):  # the shell would take it away
        text += "/."
    escaped = []
    for byte in os.fsencode(text):
        character = chr(byte)
        if character == "\\":
            escaped.append("\\\\")
        elif character in "%'" or not (32 <= byte < 127):
            escaped.append(f"\\{byte:03o}")
        else:
            escaped.append(character)
    return f"\"$(printf '{''.join(escaped)}')\""


# ---- Windows ---------------------------------------------------------------------------------------------------------------------


def _schtasks(command: Sequence[str], name: str, recurrence: Recurrence) -> tuple[list[str], str]:
    """Commands that make the tasks, one for each time of the day; or why there are none."""
    whens = list(_task_times(recurrence))
    line = subprocess.list2cmdline(command)
    if not whens or len(whens) > _MOST_TASKS:
        return [], "Task Scheduler has no words for these times. Make a task by hand, or choose plainer times."
    if any(character in line for character in "%\n\r"):
        return [], "The command prompt takes a % in a path for a variable. Keep the home where no path has one."
    if len(line) > _LONGEST_TASK:
        return [], f"The command has {len(line)} characters and a task's may have {_LONGEST_TASK}. Keep the home where its path is shorter."
    tasks = []
    for number, when in enumerate(whens, 1):
        title = f"Batch Scoring Studio\\{name}" + (f" {number}" if len(whens) > 1 else "")
        tasks.append(f"{subprocess.list2cmdline(['schtasks', '/Create', '/TN', title, '/TR', line])} {when} /F")
    return tasks, ""


def _task_times(recurrence: Recurrence) -> Iterator[str]:
    """The times in the words of schtasks; none where it has none for them."""
    minutes, hours = sorted(recurrence.minutes), sorted(recurrence.hours)
    every_day = len(recurrence.days) == 31 and len(recurrence.weekdays) == 7
    every_month = len(recurrence.months) == 12
    if every_day and every_month and len(hours) == 24:
        if len(minutes) == 1:
            yield f"/SC HOURLY /ST 00:{minutes[0]:02}"
        elif minutes == list(range(0, 60, minutes[1])) and 60 % minutes[1] == 0:
            yield f"/SC MINUTE /MO {minutes[1]} /ST 00:00"
        return
    for at in (f"/ST {hour:02}:{minute:02}" for hour in hours for minute in minutes):
        months = "" if every_month else f" /M {','.join(MONTHS[month - 1].upper() for month in sorted(recurrence.months))}"
        if every_day and every_month:
            yield f"/SC DAILY {at}"
        elif len(recurrence.days) == 31 and every_month:
            yield f"/SC WEEKLY /D {','.join(WEEKDAYS[day].upper() for day in sorted(recurrence.weekdays))} {at}"
        elif len(recurrence.weekdays) == 7 and len(recurrence.days) == 1:
            yield f"/SC MONTHLY /D {min(recurrence.days)}{months} {at}"
        else:
            return
