"""A run as one HTML page: by its download route, and by the command line."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import urlencode

from services.cli.main import main
from services.predictions.filters import EVERY_PREDICTION, Filter
from tests.pages.scripts import HALF_BAD, NUMBERS, THREE_CLASSES

HOSTILE = ["<script>alert(1)</script>", "{{ 7919 * 7919 }}", '"><img src=x onerror=alert(1)>', "\u202egnp.exe", "=cmd|' /C calc'!A0"]
SAYS_HOSTILE = f"""
    import json, os
    def run(mini_batch):
        return [os.path.basename(path) + ": " + {HOSTILE!r}[int(os.path.basename(path)[:4]) % 5] for path in mini_batch]
"""


class _Page(HTMLParser):
    """The tags, their attributes, and the text of a page."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.classes: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(content.decode())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.classes += [f"{tag} {value}" for name, value in attrs if name == "class"]
        self.addresses += [value for name, value in attrs if name in ("src", "href", "action") or name.startswith("on")]

    def handle_data(self, data):
        self.text += data


def report(get, run, filter_=EVERY_PREDICTION):
    status, headers, body = get(f"downloads/report.html?{urlencode({'run': run.id, 'filter': filter_.to_text()})}")
    assert status == 200
    assert headers["content-disposition"].startswith("attachment;")
    return _Page(body)


def test_a_report_shows_settings_pictures_rows_and_provenance(ended, get, workspace):
    run = ended(THREE_CLASSES, name="three classes")
    page = report(get, run)
    for text in ("three classes", "Completed", "class 0", "4 (40.00%)", "0009.csv", "Mini-batch size", "Provenance"):
        assert text in page.text
    assert "th short" in page.classes  # a name such as File is not broken
    assert workspace.runs.provenance(run.id).script[1] in page.text
    assert page.addresses == []
    assert not {"script", "link", "img", "iframe"} & set(page.tags)


def test_text_from_outside_stays_text(ended, get):
    page = report(get, ended(SAYS_HOSTILE, name="<b>bold</b>"))
    assert not {"script", "img", "b"} & set(page.tags)
    assert page.addresses == []
    for text in (*HOSTILE[:3], "[U+202E]gnp.exe", HOSTILE[4], "<b>bold</b>"):
        assert text in page.text
    assert "62710561" not in page.text  # 7919 squared: nothing was evaluated


def test_numbers_are_a_distribution_of_what_is_filtered(ended, get):
    run = ended(NUMBERS)
    assert "10 numbers from 0 to 1.28571" in report(get, run).text
    page = report(get, run, Filter(minimum=1.0))
    assert "3 numbers from 1 to 1.28571" in page.text
    assert "of its rows" in page.text


def test_labels_that_are_no_classes_of_the_run_give_no_accuracy(ended, get, workspace, tmp_path):
    run = ended(THREE_CLASSES)
    (tmp_path / "labels.csv").write_text("File,Label\n" + "".join(f"{number:04}.csv,{number}\n" for number in range(10)))
    workspace.add_labels(run.request.datasets[0], tmp_path / "labels.csv")
    page = report(get, run)
    assert "can't be compared" in page.text
    assert "Accuracy" not in page.text


def test_failures_stand_in_a_report_with_their_causes(ended, get):
    page = report(get, ended(HALF_BAD, error_threshold=-1))
    assert "Why items failed" in page.text
    assert "AssertionError: :red[odd] one" in page.text
    assert "2 of 10 rows failed" in page.text


def test_a_run_without_rows_has_a_report_too(ended, get):
    page = report(get, ended(THREE_CLASSES, output_action="summary_only"))
    assert "Settings" in page.text
    assert "Predictions" not in page.text


def test_values_of_environment_variables_are_not_passed_on(ended, get):
    page = report(get, ended(THREE_CLASSES, environment_variables={"API_KEY": "hunter2"}))
    assert "API_KEY" in page.text
    assert "hunter2" not in page.text


def test_the_command_line_writes_the_same_page(ended, get, home, tmp_path, capsys):
    run = ended(THREE_CLASSES)
    assert main(["--home", str(home), "report", run.id, "--to", str(tmp_path / "r.html")]) == 0
    written, shown = (text.partition("Made by")[0] for text in ((tmp_path / "r.html").read_text("utf-8"), report(get, run).text))
    assert _Page(written.encode()).text == shown
    assert main(["--home", str(home), "report", "run-nobody", "--to", str(tmp_path / "n.html")]) == 2
    assert not (tmp_path / "n.html").exists()


def test_a_report_of_no_run_is_refused(get):
    assert get("downloads/report.html?run=nobody")[0] == 404
