"""Results by looking: a brush across the histogram filters everything, a double click undoes it; charts are saved; images are a gallery."""

import contextlib
import csv
import re
import struct
from xml.etree import ElementTree

import pytest
from PIL import Image
from playwright.sync_api import expect

from services.domain import RunRequest
from services.local.workspace import LocalWorkspace
from services.settings import ParallelRunSettings
from tests.browser.dashboard import settled

ROWS = 400
SCRIPT = """
import json, os
def run(mini_batch):
    return [json.dumps({'file': os.path.basename(p), 'label': 'cat' if int(os.path.basename(p)[:3]) % 4 else 'dog',
                        'probability': int(os.path.basename(p)[:3]) / 400}) for p in mini_batch]
"""


@pytest.fixture(scope="module")
def run(home, tmp_path_factory, finish):
    """A completed run over 400 images, whose probabilities are spread evenly."""
    folder = tmp_path_factory.mktemp("shapes")
    for number in range(ROWS):
        Image.new("RGB", (40, 30), (number % 256, 90, 120)).save(folder / f"{number:03}.png")
    (folder / "001.png").write_text("no image")
    script = tmp_path_factory.mktemp("script") / "script.py"
    script.write_text(SCRIPT)
    workspace = LocalWorkspace(home)
    workspace.register_dataset("shapes", folder)
    request = RunRequest((), ("shapes",), str(script), ParallelRunSettings(process_count_per_node=1, mini_batch_size="100"), name="Shapes")
    return finish(workspace, workspace.submit(request).id)


def opened(page, dashboard, run, **query):
    """The page with its chart drawn and listened to."""
    page.goto(f"{dashboard.url}/results?run={run.id}" + "".join(f"&{name}={value}" for name, value in query.items()))
    expect(settled(page).get_by_text(f"{ROWS} predictions", exact=True)).to_be_visible()
    drawn(page)


def drawn(page):
    page.wait_for_function("document.querySelector('.js-plotly-plot .bars path') && "
                           "document.querySelector('.js-plotly-plot')._ev?.listenerCount('plotly_click')")  # fmt: skip


def pane(page):
    """Where Plotly takes what the mouse does."""
    return page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()


def brush(page, begin, end):
    """Drag from a share of the pane's width to another."""
    box = pane(page)
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + begin * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + (begin + end) / 2 * box["width"], y + 4, steps=4)
    page.mouse.move(box["x"] + end * box["width"], y + 4, steps=4)
    page.mouse.up()


def bounds(page):
    """Both ends of the range in the URL."""
    expect(page).to_have_url(re.compile("filter="))
    return [float(value) for value in re.findall(r"%22(?:from|to|below)%22%2C\+%22([\d.]+)%22", page.url)]


def test_the_rows_and_a_still_picture_are_there_before_the_charts_library(dashboard, page, run):
    held = []

    def hold(route):
        held.append(route)

    page.route("**/PlotlyChart*", hold)
    page.goto(f"{dashboard.url}/results?run={run.id}&x=label")
    expect(page.get_by_test_id("data-grid-canvas").first).to_be_attached()
    still = page.get_by_role("img", name="Rows by label, most frequent: cat")
    expect(still).to_contain_text("cat")
    page.wait_for_timeout(200)
    assert held
    expect(still).to_be_visible()
    held[0].continue_()
    drawn(page)
    expect(still).to_be_hidden()


def test_a_brush_filters_the_table_and_the_facets_and_a_double_click_undoes_it(dashboard, page, run):
    opened(page, dashboard, run, x="probability")
    brush(page, 0.25, 0.5)
    counted = page.get_by_text(re.compile(rf"^\d+ of {ROWS} predictions$"))
    expect(counted).to_be_visible()
    count = int(counted.inner_text().split()[0])
    low, high = bounds(page)
    assert 0.2 < low < high < 0.6
    assert count == sum(low <= number / ROWS < high for number in range(ROWS))
    chip = page.get_by_role("button", name=re.compile(r"probability .* to "))
    expect(chip).to_be_visible()
    dogs = sum(low <= number / ROWS < high for number in range(0, ROWS, 4))
    expect(page.get_by_role("button", name=f"dog · {dogs}", exact=True)).to_be_visible()
    settled(page)
    drawn(page)
    paler = "[...document.querySelectorAll('.js-plotly-plot .bars .point')].filter(bar => bar.style.opacity === '0.3').length"
    page.wait_for_function(f"{paler} > 5")  # those that were not chosen stay in sight
    whole = page.get_by_text(f"{ROWS} predictions", exact=True)
    for _ in range(3):  # as a person does: again where the chart was just drawn again
        box = pane(page)
        page.mouse.dblclick(box["x"] + box["width"] * 0.8, box["y"] + 20)
        with contextlib.suppress(AssertionError):
            expect(whole).to_be_visible(timeout=10_000)
            break
    expect(whole).to_be_visible()
    expect(chip).to_have_count(0)
    page.wait_for_function(f"{paler} === 0")
    assert "filter=" not in page.url


def test_a_click_chooses_one_bar(dashboard, page, run):
    opened(page, dashboard, run, x="probability")
    box = pane(page)
    page.mouse.click(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.9)
    expect(page.get_by_text(re.compile(rf"^\d of {ROWS} predictions$"))).to_be_visible()
    low, high = bounds(page)
    assert high - low < 0.05


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_chart_is_saved_by_keys_as_picture_drawing_and_numbers(dashboard, page, run, scheme, tmp_path):
    page.emulate_media(color_scheme=scheme)
    opened(page, dashboard, run, x="probability")
    save = page.get_by_role("button", name="Save the chart “Distribution of probability”")

    def saved(steps):
        save.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("menuitem").first).to_be_focused()
        for _ in range(steps):
            page.keyboard.press("ArrowDown")
        with page.expect_download() as download:
            page.keyboard.press("Enter")
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        return path

    picture = saved(0)
    assert picture.name == "Distribution of probability.png"
    with Image.open(picture) as image:
        image.load()
        assert image.width > 600
        background, colors = image.convert("RGB").getpixel((2, 2)), image.convert("RGB").getcolors(1 << 20)
    assert struct.unpack(">I", picture.read_bytes()[8:12])[0] == 13  # a PNG's own header
    assert (sum(background) < 120) == (scheme == "dark")
    lightness = [sum(color) for _, color in colors]
    assert max(lightness) - min(lightness) > 300  # what is written on it can be read
    drawing = saved(1)
    texts = " ".join(element.text or "" for element in ElementTree.parse(drawing).iter() if element.tag.endswith("text"))
    assert "probability" in texts
    assert "Rows" in texts
    numbers = saved(2)
    with open(numbers, newline="", encoding="utf-8") as lines:
        assert sum(int(row["Rows"]) for row in csv.DictReader(lines)) == ROWS
    page.keyboard.press("Enter")
    expect(page.get_by_role("menu")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("menu")).to_be_hidden()
    expect(save).to_be_focused()


def test_a_gallery_shows_pictures_and_why_there_is_none_and_opens_rows(dashboard, page, run):
    page.goto(f"{dashboard.url}/results?run={run.id}&chart=Gallery")
    first = settled(page).get_by_role("button", name=re.compile("000.png"))
    expect(first).to_be_visible()
    page.wait_for_function("[...document.querySelectorAll('*')].some(e => e.shadowRoot?.querySelector('img')?.naturalWidth === 40)")
    expect(page.get_by_role("button", name=re.compile("001.png"))).to_contain_text("not an image")
    page.get_by_role("button", name=re.compile("^cat 0.005.*002.png")).press("Enter")
    expect(page.get_by_text(f"Row 3 of {ROWS}")).to_be_visible()
    expect(page).to_have_url(re.compile("row=3"))
