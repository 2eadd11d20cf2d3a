"""Pages that everybody can read and reach: contrast, what the keyboard is on, the size of what is clicked, narrow windows."""

import pytest
from playwright.sync_api import expect

from tests.browser.dashboard import settled

LEAST_CONTRAST = """elements => Math.min(...elements.map(element => {
    const numbers = color => color.match(/[\\d.]+/g).map(Number)
    const luminance = color => color.slice(0, 3).map(v => v / 255)
        .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, place) => sum + v * [0.2126, 0.7152, 0.0722][place], 0)
    let behind = element
    while ((numbers(getComputedStyle(behind).backgroundColor)[3] ?? 1) < 1) behind = behind.parentElement
    const [text, page] = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor].map(color => luminance(numbers(color)))
    return (Math.max(text, page) + 0.05) / (Math.min(text, page) + 0.05)
}))"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_highlighted_code_has_enough_contrast(dashboard, page, scheme):
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{dashboard.url}/connection")
    tokens = settled(page).locator("[data-testid=stCode] .token")
    expect(tokens.first).to_be_visible()
    assert tokens.evaluate_all(LEAST_CONTRAST) >= 4.5


def test_the_keyboard_shows_where_it_is(dashboard, page):
    page.goto(f"{dashboard.url}/new_run")
    link = settled(page).get_by_test_id("stSidebarNavLink").first
    for _ in range(10):
        page.keyboard.press("Tab")
        if link.evaluate("element => element === document.activeElement"):
            break
    expect(link).to_be_focused()
    assert link.evaluate("element => getComputedStyle(element).outline").count("solid") == 1


def test_a_narrow_window_has_the_review_below_and_large_help_buttons(dashboard, page):
    page.set_viewport_size({"width": 900, "height": 900})
    page.goto(f"{dashboard.url}/new_run")
    review = settled(page).locator(".st-key-section-review")
    expect(review).to_be_visible()
    form = page.locator(".st-key-section-settings").bounding_box()
    assert abs(review.bounding_box()["width"] - form["width"]) < 2
    assert review.bounding_box()["y"] > form["y"]
    button = page.get_by_role("button", name="Help for Node count").bounding_box()
    assert min(button["width"], button["height"]) >= 24
