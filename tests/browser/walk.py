"""A person's walk through the dashboard by clicks alone, from a model's file to the downloaded CSV: counted and timed.

For the walks whose packages are in this program's lock (tests/browser) and those of environments that are made on the way (tests/formats).
With WALK_PICTURES=FOLDER each step leaves a picture there.
"""

from __future__ import annotations

import csv
import os
import re
import time
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.browser.dashboard import settled


class Walk:
    """`clicks` are those on the page, and one more for each choice in the system's own file dialog; `seconds` run from the first page."""

    def __init__(self, page: Page, address: str, name: str) -> None:
        self.page, self.name, self.clicks = page, name, 0
        self.began = time.monotonic()
        self.laps: list[tuple[str, float]] = []
        page.goto(address)

    def click(self, target: Locator) -> None:
        target.click()
        self.clicks += 1

    def click_at(self, target: Locator, x: int, y: int) -> None:
        target.click(position={"x": x, "y": y})
        self.clicks += 1

    def button(self, name: str | re.Pattern[str]) -> None:
        self.click(self.page.get_by_role("button", name=name, exact=isinstance(name, str)).filter(visible=True))

    def link(self, name: str) -> None:
        self.click(self.page.get_by_role("link", name=name, exact=True).filter(visible=True))

    def upload(self, what: Path, source: str = "") -> None:
        """A file or, with the source `Folder`, a folder: by the button and the dialog it opens."""
        if source:
            self.click(self.page.get_by_role("radio", name=source, exact=True))
            expect(self.page.get_by_text(f"{source} to upload")).to_be_visible()
        with self.page.expect_file_chooser() as chooser:
            self.button(re.compile("^Upload"))
        chooser.value.set_files(what)
        self.clicks += 1
        # As a person does, who waits until it is there: the list of files moves the button below it.
        expect(self.page.get_by_role("textbox", name="Name", exact=True)).to_have_attribute("placeholder", re.compile("."))
        settled(self.page)

    def lap(self, what: str) -> None:
        """Note the time and, where it is asked for, take a picture."""
        self.laps.append((what, time.monotonic() - self.began))
        if folder := os.environ.get("WALK_PICTURES"):
            before = time.monotonic()
            settled(self.page).wait_for_timeout(300)
            self.page.screenshot(path=Path(folder) / f"{self.name}_{len(self.laps):02}_{what.replace(' ', '_')}.png", full_page=True)
            self.began += time.monotonic() - before

    def register_model(self, path: Path, *, approves: bool) -> None:
        """From Home to the registered model."""
        self.link("Register your own model")
        self.upload(path)
        self.button("Register model")
        expect(self.page.get_by_role("button", name="Inspect", exact=True)).to_be_visible()
        self.lap("model registered")
        if approves:
            self.button(re.compile("^Approve [0-9a-f]"))
            expect(self.page.get_by_role("button", name="Use in a new run")).to_be_visible()
            self.lap("model approved")

    def make_environment(self) -> None:
        """What the model's page offers: one click, and then it takes as long as the downloads."""
        self.button(re.compile("^Approve this list and make an environment"))
        expect(self.page.get_by_role("button", name=re.compile("^Use environment "))).to_be_visible()  # and it is chosen on New run
        self.lap("environment made")

    def register_dataset(self, path: Path, sentence: str, source: str = "") -> None:
        """From the model's page by way of New run, which has no dataset to choose, and back to it."""
        self.button("Use in a new run")
        expect(self.page.get_by_text("No datasets registered yet")).to_be_visible()
        self.lap("new run without a dataset")
        self.link("Register a dataset")
        self.upload(path, source)
        expect(self.page.get_by_text(sentence)).to_be_visible()
        self.lap("dataset proposed")
        self.button("Register dataset")
        expect(self.page.get_by_role("button", name="Use in a new run")).to_be_visible()
        self.lap("dataset registered")
        self.button("Use in a new run")

    def run(self, mini_batches: str) -> None:
        expect(self.page.get_by_text(re.compile(mini_batches))).to_be_visible()
        expect(self.page.get_by_role("button", name="Submit run")).to_be_enabled()
        self.lap("new run")
        self.button("Submit run")
        expect(self.page.get_by_text(re.compile("Completed$")).filter(visible=True).first).to_be_visible()
        self.lap("completed")

    def results(self, predictions: str, folder: Path) -> list[dict[str, str]]:
        """The rows of the downloaded CSV. Prints clicks and seconds."""
        self.button("See results")
        expect(self.page.get_by_text(f"{predictions} predictions", exact=True)).to_be_visible()
        self.lap("results")
        self.button("Download")
        with self.page.expect_download() as download:
            self.link("CSV")
        path = folder / "downloaded.csv"
        download.value.save_as(path)
        self.laps.append(("downloaded", time.monotonic() - self.began))
        print(f"\n{self.name}: {self.clicks} clicks, {self.laps[-1][1]:.1f} s:", ", ".join(f"{what} {at:.1f}" for what, at in self.laps))
        with open(path, newline="", encoding="utf-8") as lines:
            return list(csv.DictReader(lines))
