"""Cron words, and the texts for the system's scheduler: each value comes out as it went in, each time is the one that was asked for."""

import os
import re
import shutil
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.cli.schedule_commands import azure_recurrence
from services.errors import SettingsError
from services.schedules import texts
from services.schedules.cron import Recurrence

SYSTEMD = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(SYSTEMD is None, reason="there is no systemd-analyze")
HOSTILE = (
    "/plain/home", "/with space", "/50% off", "/new\nline", "/it's", '/"quoted"', "/back\\slash", "/a\\%b", "/$HOME `id` $(id)", "/é ü",
    os.fsdecode(b"/bad\xff"), "/tab\t", "/;rm -rf &", "/a=b", "/%n%h", "/\\x41", "/ends\n", "/#hash", "/*?[a]", "/~", "/!history",
)  # fmt: skip
PATHS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=30).map(lambda text: f"/{text}")


# ---- when ------------------------------------------------------------------------------------------------------------------------


def field(first, last):
    number = st.integers(first, last)
    part = st.one_of(
        number.map(str),
        st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}"),
        st.integers(1, last).map(lambda step: f"*/{step}"),
        st.tuples(number, number, st.integers(1, 9)).map(lambda three: f"{min(three[:2])}-{max(three[:2])}/{three[2]}"),
    )
    return st.one_of(st.just("*"), st.lists(part, min_size=1, max_size=3).map(",".join))


WORDS = st.tuples(field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 7)).map(" ".join)
MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2030, 12, 31)).map(lambda moment: moment.replace(second=0, microsecond=0))


def parsed(words):
    """None where there is no such day: 31 June."""
    try:
        return Recurrence.parse(words)
    except SettingsError:
        return None


def holds(words, moment):
    """As crontab(5) says it, worked out another way than the program does."""

    def has(text, value, first, last):
        for part in text.split(","):
            span, _, step = part.partition("/")
            begin, _, end = (span if span != "*" else f"{first}-{last}").partition("-")
            end = end or (str(last) if step else begin)
            if int(begin) <= value <= int(end) and (value - int(begin)) % int(step or 1) == 0:
                return True
        return False

    minute, hour, day, month, weekday = words.split()
    sunday = (moment.weekday() + 1) % 7
    by_day, by_weekday = has(day, moment.day, 1, 31), has(weekday, sunday, 0, 7) or (sunday == 0 and has(weekday, 7, 0, 7))
    either = not day.startswith("*") and not weekday.startswith("*")
    return (
        has(minute, moment.minute, 0, 59) and has(hour, moment.hour, 0, 23) and has(month, moment.month, 1, 12)
        and ((by_day or by_weekday) if either else (by_day and by_weekday))
    )  # fmt: skip


@given(WORDS, MOMENTS)
def test_the_next_time_is_the_first_that_the_words_hold_for(words, moment):
    if (recurrence := parsed(words)) is None:
        return
    found = recurrence.next_after(moment)
    assert found > moment
    assert holds(words, found)
    minute, last = moment + timedelta(minutes=1), min(found, moment + timedelta(days=2))
    while minute < last:
        assert not holds(words, minute), minute
        minute += timedelta(minutes=1)


@pytest.mark.parametrize(
    ("given_words", "words", "described"),
    [
        ("daily", "0 0 * * *", "every day at 00:00"),
        ("@hourly", "0 * * * *", "every hour"),
        ("30 6 * * MON-fri", "30 6 * * MON-fri", "every weekday at 06:30"),
        ("30 6 * * 3,1", "30 6 * * 3,1", "every Monday and Wednesday at 06:30"),
        ("0 7 * * 0,1,6", "0 7 * * 0,1,6", "every Monday, Saturday and Sunday at 07:00"),
        ("0  6   * * 7", "0 6 * * 7", "every Sunday at 06:00"),
        ("monthly", "0 0 1 * *", "on day 1 of every month at 00:00"),
        ("30 6 15,1 * *", "30 6 15,1 * *", "on days 1 and 15 of every month at 06:30"),
        ("0 0 1 * mon", "0 0 1 * mon", "0 0 1 * mon"),
        ("0 0 */2 * *", "0 0 */2 * *", "0 0 */2 * *"),
        ("0 0 */20 * mon", "0 0 */20 * mon", "0 0 */20 * mon"),
        ("*/5 * * * *", "*/5 * * * *", "*/5 * * * *"),
        ("0 0 1 jan *", "0 0 1 jan *", "0 0 1 jan *"),
        ("3/5,1-9/2 * * mar/3 */2", "3-59/5,1-9/2 * * mar-12/3 */2", "3-59/5,1-9/2 * * mar-12/3 */2"),
    ],
)
def test_words_are_taken_as_cron_takes_them(given_words, words, described):
    recurrence = Recurrence.parse(given_words)
    assert (recurrence.words, str(recurrence)) == (words, described)


@pytest.mark.parametrize(
    "words",
    ["", "sometimes", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "5-1 * * * *", "*/0 * * * *", "* * * *",
     "* * * * * *", "1,,2 * * * *", "0 0 30 2 *", "@reboot", "-1 * * * *", "\u0661 * * * *", "* * * * mon\nrm"],
)  # fmt: skip
def test_words_that_cron_does_not_take_are_refused_at_their_field(words):
    with pytest.raises(SettingsError) as caught:
        Recurrence.parse(words)
    assert caught.value.field == "every"
    assert caught.value.hint


@pytest.mark.parametrize(
    ("words", "why"),
    [("* 24 * * *", "“24” is not an hour: they are 0 to 23"), ("5-1 * * * *", "“5-1” ends before it begins"),
     ("*/0 * * * *", "“*/0” has a step of less than 1")],
)  # fmt: skip
def test_a_refusal_says_what_is_wrong(words, why):
    with pytest.raises(SettingsError) as caught:
        Recurrence.parse(words)
    assert caught.value.message == why


def test_a_leap_day_is_found_over_a_year_that_has_none():
    assert Recurrence.parse("0 0 29 2 *").next_after(datetime(2096, 3, 1)) == datetime(2104, 2, 29)


# ---- systemd ---------------------------------------------------------------------------------------------------------------------


def systemd_times(recurrence, moment):
    """When systemd would first run it after `moment`."""
    command = [SYSTEMD, "calendar", f"--base-time={moment:%Y-%m-%d %H:%M:%S} UTC", *texts.calendar_events(recurrence)]
    out = subprocess.run(command, capture_output=True, text=True, check=True, env={"TZ": "UTC", "LC_ALL": "C"}).stdout
    return min(datetime.strptime(found, "%Y-%m-%d %H:%M:%S") for found in re.findall(r"Next elapse: \w+ (\S+ \S+) UTC", out))


@needs_systemd
@settings(max_examples=25, deadline=None)
@given(WORDS, MOMENTS)
def test_systemd_comes_round_when_cron_would(words, moment):
    if recurrence := parsed(words):
        assert systemd_times(recurrence, moment) == recurrence.next_after(moment)


def systemd_words(line):
    """The arguments in a line of a unit, as systemd.syntax(7) and systemd.service(5) read them."""
    words, place = [], 0
    while place < len(line):
        quoted = line[place] == '"'
        end = place + 1 if quoted else place
        word = bytearray()
        while end < len(line) and line[end] != ('"' if quoted else " "):
            if line[end] == "\\" and line[end + 1] == "x":
                word.append(int(line[end + 2 : end + 4], 16))
                end += 4
            elif line[end] == "\\":
                word += line[end + 1].encode()
                end += 2
            else:
                word += line[end].encode()
                end += 1
        text = os.fsdecode(bytes(word)).replace("%%", "%")
        words.append(text.replace("$$", "$") if words else text)
        place = end + (2 if quoted else 1)
    return words


@given(st.lists(PATHS, min_size=1, max_size=3))
def test_a_unit_has_each_value_as_it_is(paths):
    service = texts.systemd_service(["/usr/bin/python", *paths], "nightly")
    (line,) = [line for line in service.split("\n") if line.startswith("ExecStart=")]
    assert systemd_words(line.removeprefix("ExecStart=")) == ["/usr/bin/python", *paths]


@needs_systemd
@pytest.mark.parametrize("home", HOSTILE)
def test_the_units_are_what_systemd_takes(home, tmp_path):
    made = texts.setup_texts(Path(home), "nightly", Recurrence.parse("30 6 1 * mon"))
    (tmp_path / f"{made.unit}.service").write_text(made.service)
    (tmp_path / f"{made.unit}.timer").write_text(made.timer)
    units = [tmp_path / f"{made.unit}.timer", tmp_path / f"{made.unit}.service"]
    found = subprocess.run([SYSTEMD, "verify", "--man=no", *units], capture_output=True, text=True, check=False)
    assert (found.returncode, [line for line in found.stderr.splitlines() if made.unit in line]) == (0, []), found.stderr


@needs_systemd
def test_a_program_in_a_hostile_place_is_found_by_systemd(tmp_path):
    place = tmp_path / 'a $HOME 50% "b" c\'d = é'
    place.mkdir()
    (place / "python").symlink_to(sys.executable)
    unit = tmp_path / "x.service"
    unit.write_text(texts.systemd_service([str(place / "python"), "-V"], "x"))
    found = subprocess.run([SYSTEMD, "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert (found.returncode, "x.service" in found.stderr) == (0, False), found.stderr


# ---- cron ------------------------------------------------------------------------------------------------------------------------


def as_cron_reads(command):
    """What cron gives the shell of the part of a line after its five fields (do_command.c of ISC cron 4.1 and Debian's)."""
    read, escaped = "", False
    for character in command:
        if escaped:
            read = read[:-1] + character if character == "%" else read + character
            escaped = False
        elif character == "%":
            return read
        else:
            escaped = character == "\\"
            read += character
    return read


def arguments_of(command):
    """The arguments that `sh` makes of it, in cron's environment."""
    shell = ["/bin/sh", "-c", as_cron_reads(command)]
    out = subprocess.run(shell, capture_output=True, check=True, env={"PATH": "/usr/bin:/bin", "HOME": "/", "SHELL": "/bin/sh"}).stdout
    return [os.fsdecode(part) for part in out.split(b"\0")[:-1]]


PRINTS = "import os, sys; [os.write(1, os.fsencode(word) + b'\\0') for word in sys.argv[1:]]"


def test_a_line_of_a_crontab_has_each_value_as_it_is(tmp_path):
    command = texts.cron_command([sys.executable, "-c", PRINTS, *HOSTILE])
    assert "%" not in command
    assert "\n" not in command
    assert arguments_of(command) == [path.replace("/ends\n", "/ends\n/.") for path in HOSTILE]


@settings(max_examples=25, deadline=None)
@given(st.lists(PATHS, min_size=1, max_size=4))
def test_any_value_survives_cron_and_the_shell(paths):
    wanted = [f"{path}/." if path.endswith("\n") else path for path in paths]
    assert arguments_of(texts.cron_command([sys.executable, "-c", PRINTS, *paths])) == wanted


# ---- Windows ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "times"),
    [
        ("hourly", ["/SC HOURLY /ST 00:00"]),
        ("*/15 * * * *", ["/SC MINUTE /MO 15 /ST 00:00"]),
        ("30 6 * * *", ["/SC DAILY /ST 06:30"]),
        ("0 6,18 * * *", ["/SC DAILY /ST 06:00", "/SC DAILY /ST 18:00"]),
        ("30 6 * * 1-5", ["/SC WEEKLY /D MON,TUE,WED,THU,FRI /ST 06:30"]),
        ("0 0 1 */6 *", ["/SC MONTHLY /D 1 /M JAN,JUL /ST 00:00"]),
        ("*/7 * * * *", []),
        ("0 0 1 * mon", []),
    ],
)
def test_times_in_the_words_of_task_scheduler(words, times):
    made = texts.setup_texts(Path("/home"), "n", Recurrence.parse(words))
    assert [line.split(" /SC")[1] for line in made.schtasks.splitlines()] == [time.removeprefix("/SC") + " /F" for time in times]
    assert bool(dict(made.why_not).get("schtasks")) is not bool(times)


def test_a_task_quotes_its_command_within_the_command():
    made = texts.setup_texts(Path("/my home"), "n", Recurrence.parse("daily"))
    assert '/TN "Batch Scoring Studio\\n" /TR "' in made.schtasks
    assert '--home \\"/my home\\" schedule run n --wait"' in made.schtasks
    assert "%" in dict(texts.setup_texts(Path("/50%"), "n", Recurrence.parse("daily")).why_not)["schtasks"]


# ---- Azure ML --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "recurrence"),
    [
        ("hourly", "every hour"),
        ("daily", "every day at 00:00 UTC"),
        ("*/20 * * * *", "every 20 minutes"),
        ("30 6 * * 0,1", "every week on Monday and Sunday at 06:30 UTC"),
        ("15 * * * *", None),
        ("0 0 1 * *", None),
        ("0 6,18 * * *", None),
    ],
)
def test_times_in_the_words_of_azure(words, recurrence):
    if recurrence:
        assert str(azure_recurrence(Recurrence.parse(words))) == recurrence
    else:
        with pytest.raises(SettingsError):
            azure_recurrence(Recurrence.parse(words))
