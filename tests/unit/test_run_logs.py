"""A search through log files: what lines say, which belong together, the last matches, files that are long, odd, cut back or gone."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta, timezone

import pytest

from services.errors import SettingsError
from services.run_details import LogLine, LogQuery
from services.run_logs import search as search_module
from services.run_logs.lines import Block, Header, header_of
from services.run_logs.search import LogFile, Match, Origin, OriginsByTime, Span, Spans, search

AT = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC).timestamp()


class Unknown:
    """Nothing is known of where lines are from."""

    def ranges(self, log, mini_batch):
        return None

    def of(self, log, matches):
        return [Origin()] * len(matches)

    def further(self, query, after, stopped):
        return [], after


@pytest.fixture
def log(tmp_path):
    """`log(content, name)` is a log file."""

    def write(content, name="logs/user/stdout/0/process000.stdout.txt", worker="node 0, process000", **more):
        path = tmp_path / name.replace("/", "_")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return LogFile(name, path, worker, zone=UTC, **more)

    return write


def found(logs, query=None, **more):
    return search(logs if isinstance(logs, list) else [logs], Unknown(), query or LogQuery(), **more)


def texts(result):
    return [line.text for line in result.lines]


@pytest.mark.parametrize(
    ("line", "seconds", "level"),
    [
        (b"2026-03-01 12:00:00,250 WARNING root: careful", 0.25, "WARNING"),
        (b"2026-03-01 12:00:00.250Z INFO [123] services.local.runner: Starting worker 0/process000", 0.25, "INFO"),
        (b"2026-03-01 13:00:00,250 - my.logger - ERROR - no such file", 3600.25, "ERROR"),
        (b"[2026-03-01T12:00:01+01:00] text", -3599, ""),
        (b"2026-03-01 12:00:00,250|DEBUG|12|34|azureml.core|text", 0.25, "DEBUG"),
        (b"2026-03-01 12:00:00 an INFORMAL error", 0, ""),
        (b"ERROR: no", None, "ERROR"),
        (b"WARNING:root:no", None, "WARNING"),
        (b"[LightGBM] [Warning] no further splits", None, "WARNING"),
        (b"/a b/script.py:12: FutureWarning: this changes", None, "WARNING"),
        (b"Error rates by class", None, ""),
        (b"INFORMATION: none", None, ""),
        (b"2026-13-45 12:00:00 WARN x", None, "WARNING"),
        (b"", None, ""),
        (b"    indented", None, ""),
        (b"\xff\xfe 2026", None, ""),
    ],
)
def test_time_and_level_are_what_a_line_says(line, seconds, level):
    assert header_of(line, UTC) == Header(None if seconds is None else AT + seconds, level)


def test_a_time_without_a_zone_is_that_of_the_log():
    assert header_of(b"2026-03-01 12:00:00 x", timezone(timedelta(hours=2))).time == AT - 7200


LOG = """\
2026-03-01 12:00:00,000 INFO root: begin
2026-03-01 12:00:01,000 ERROR root: it failed
Traceback (most recent call last):
  File "a.py", line 1, in f
    g()
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "a.py", line 3, in f
    h()
ValueError: y
plain
2026-03-01 12:00:02,000 WARNING root: two
  lines
end
"""


def test_a_traceback_belongs_to_the_line_it_was_logged_with():
    block = Block(LOG.encode(), UTC)
    for text in ("it failed", "g()", "KeyError", "During", "h()", "ValueError"):
        record = block.record_at(LOG.index(text))
        assert block.content[record.begin : record.end].decode() == LOG[LOG.index("2026-03-01 12:00:01") : LOG.index("plain")], text
    two = block.record_at(LOG.index("  lines"))
    assert block.content[two.begin : two.end] == b"2026-03-01 12:00:02,000 WARNING root: two\n  lines\n"
    end = block.record_at(LOG.index("end\n"))
    assert block.content[end.begin : end.end] == b"end\n"


def test_lines_are_found_by_text_and_by_level(log):
    file = log(LOG)
    assert texts(found(file)) == LOG.splitlines()
    assert texts(found(file, LogQuery(text="VALUEERROR"))) == ["ValueError: y"]
    warned = found(file, LogQuery(level="WARNING"))
    assert texts(warned) == [*LOG.splitlines()[1:13], *LOG.splitlines()[14:16]]
    assert {line.level for line in warned.lines} == {"ERROR", "WARNING"}
    assert texts(found(file, LogQuery(level="CRITICAL"))) == []
    assert texts(found(file, LogQuery(text="e", level="ERROR", limit=2))) == ['  File "a.py", line 3, in f', "ValueError: y"]
    times = [line.time.timestamp() - AT for line in found(file).lines]
    assert times == [0.0, *[1.0] * 13, *[2.0] * 3]
    assert [line.time_inferred for line in found(file).lines][:3] == [False, False, False]
    assert found(file).lines[-1].time_inferred


def test_logs_are_one_stream_by_their_times(log):
    first = log("2026-03-01 12:00:00 a\n2026-03-01 12:00:02 c\nafter c\n", "logs/a.txt", "node 0, process000")
    second = log("no time\n2026-03-01 12:00:01 b\n2026-03-01 12:00:03 d\n", "logs/b.txt", "node 0, process001")
    result = found([first, second])
    assert [text[-1] for text in texts(result)] == ["e", "a", "b", "c", "c", "d"]
    assert result.workers == ("node 0, process000", "node 0, process001")
    assert texts(found([first, second], LogQuery(worker="node 0, process001", limit=1))) == ["2026-03-01 12:00:03 d"]


def test_within_a_millisecond_lines_are_by_mini_batch_and_its_error_is_last(log):
    class Origins(Unknown):
        def of(self, log, matches):
            return [Origin(int(match.text.split()[1]), AT + 0.0004 * int(match.text.split()[1])) for match in matches]

        def further(self, query, after, stopped):
            error = {"time": datetime.fromtimestamp(AT, UTC), "worker": "node 0, process000", "level": "ERROR", "log": "attempts"}
            return [LogLine(text="error 1", mini_batch=1, place=1000, **error)], 1

    lines = search([log("scored 0\nscored 1\nscored 2\n")], Origins(), LogQuery()).lines
    assert [line.text for line in lines] == ["scored 0", "scored 1", "error 1", "scored 2"]


@pytest.mark.parametrize("block_bytes", [7, 64, 1000])
def test_blocks_of_any_size_find_the_same_lines(log, monkeypatch, block_bytes):
    lines = [f"{number} {'needle' if number % 7 == 0 else 'hay'} {'x' * (number % 50)}" for number in range(500)]
    file = log("\n".join(lines) + "\n")
    monkeypatch.setattr(search_module, "BLOCK_BYTES", max(block_bytes, 70))
    expected = [line for line in lines if "needle" in line]
    assert texts(found(file, LogQuery(text="needle", limit=1000))) == expected
    some = found(file, LogQuery(text="Needle", limit=5))
    assert (texts(some), some.more) == (expected[-5:], True)


def test_a_line_longer_than_a_block_is_found_in_pieces_and_shown_in_part(log, monkeypatch):
    monkeypatch.setattr(search_module, "BLOCK_BYTES", 10_000)
    content = b"first\n" + b"x" * 45_000 + b"needle" + b"y" * 49_000 + b"\nlast\n"
    for at in range(9_990, 10_010):  # also across the border of two blocks
        result = found(log(content + b"z" * (at - 9_990)), LogQuery(text="needle"))
        assert len(result.lines) == 1
        assert "needle" in result.lines[0].text
        assert len(result.lines[0].text) < 5_000
    assert texts(found(log(content), LogQuery(limit=1))) == ["last"]


def test_no_more_is_read_than_asked_for_and_that_is_said(log, monkeypatch):
    monkeypatch.setattr(search_module, "BLOCK_BYTES", 1_000)
    file = log("needle\n" + "hay\n" * 10_000)
    result = found(file, LogQuery(text="needle", most_bytes=5_000))
    assert (texts(result), result.more) == ([], True)
    assert 4_000 <= result.scanned <= 6_000
    assert result.size == 40_007
    assert texts(found(file, LogQuery(text="needle"))) == ["needle"]
    stops = iter([False, False, True, True, True, True, True, True])
    stopped = found(file, LogQuery(text="needle"), stopped=lambda: next(stops, True))
    assert stopped.stopped
    assert stopped.more
    assert stopped.scanned < 10_000


def test_lines_of_other_mini_batches_are_not_held(log, monkeypatch):
    class ByNumber(Unknown):
        longest = 0

        def of(self, log, matches):
            self.longest = max(self.longest, len(matches))
            return [Origin(int(match.text.split()[-1]) % 100) for match in matches]

    monkeypatch.setattr(search_module, "_SORTED_AT_A_TIME", 50)
    origins, file = ByNumber(), log("".join(f"line {number}\n" for number in range(2_000)))
    whole = search([file], origins, LogQuery(mini_batch=7))
    assert (texts(whole), whole.more) == ([f"line {number}" for number in range(7, 2_000, 100)], False)
    assert origins.longest == 50
    last = search([file], origins, LogQuery(mini_batch=7, limit=2))
    assert (texts(last), last.more) == (["line 1807", "line 1907"], True)


def test_what_came_since_is_followed_line_by_line(log):
    file = log("one\ntwo\nthr")
    result = found(file, growing=True)
    assert texts(result) == ["one", "two"]
    with open(file.path, "ab") as more:
        more.write(b"ee\nfour\nfi")
    result = found(file, after=result.ends, growing=True)
    assert texts(result) == ["three", "four"]
    assert texts(found(file, after=result.ends, growing=True)) == []
    assert texts(found(file, after=result.ends)) == ["fi"]


def test_a_log_that_is_cut_back_or_removed_meanwhile_is_said(log):
    file, gone = log("one\n" * 1_000), log("gone\n", "logs/gone.txt")
    result = found([file, gone])
    os.truncate(file.path, 0)
    file.path.write_bytes(b"again\n")
    gone.path.unlink()
    result = found([file, gone], after=result.ends)
    assert texts(result) == ["again"]
    assert "was cut back" in result.notes[0]
    assert found(LogFile("logs/none.txt", gone.path / "x", "")).lines == ()


def test_bytes_of_any_kind_are_shown_as_text(log):
    file = log(b"\xff\xfe\x00 bin\r\nGr\xc3\xbc\xc3\x9fe\r\n\x1b[31mred\x1b[0m\n\n\n")
    assert texts(found(file)) == ["\\xff\\xfe\x00 bin", "Grüße", "\x1b[31mred\x1b[0m", "", ""]
    assert texts(found(file, LogQuery(text="GRÜSSE"))) == []
    assert texts(found(file, LogQuery(text="GRÜ"))) == ["Grüße"]
    assert texts(found(log(b"a\x00b" * 100, any_file=True))) == []
    assert texts(found(log(b"", "logs/empty.txt"))) == []


def test_a_hole_in_a_file_takes_no_memory(log):
    file = log("needle one\n")
    os.truncate(file.path, 60_000_000)
    with open(file.path, "ab") as more:
        more.write(b"\nneedle two\n")
    assert texts(found(file, LogQuery(text="needle"))) == ["needle one", "needle two"]


@pytest.mark.parametrize(("given", "field"), [({"level": "LOUD"}, "level"), ({"limit": 0}, "last"), ({"text": "a\nb"}, "search")])
def test_a_query_that_means_nothing_is_refused(given, field):
    with pytest.raises(SettingsError) as refused:
        LogQuery(**given)
    assert refused.value.field == field


def test_a_time_tells_the_attempt_only_where_it_can_be_one():
    spans = Spans([Span(10.0, 11.0, 0), Span(11.0002, 11.0004, 1), Span(11.0004, 11.0006, 2), Span(12, 20, 3)])
    assert spans.at(10.5) == Origin(0, 10.0, inferred=True)
    assert spans.at(15) == Origin(3, 12, inferred=True)
    assert spans.at(11.5) == Origin()
    assert spans.at(11.0004).mini_batch is None
    assert spans.at(5) == spans.at(25) == Origin()


def test_a_line_is_of_what_its_worker_was_at_whether_or_not_the_node_is_known(tmp_path):
    origins = OriginsByTime([("node 0, process000", Span(10, 11, 7)), ("process001", Span(10, 11, 8))])

    def of(worker):
        return origins.of(LogFile("logs/x.txt", tmp_path, worker), [Match(0, "", 10.5, "")])[0].mini_batch

    workers = ("node 0, process000", "node 1, process000", "node 1, process001", "runner", "")
    assert [of(worker) for worker in workers] == [7, None, 8, None, None]
