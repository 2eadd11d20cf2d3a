"""A year's models by hand: many found by a search, ticked, tagged and deleted after a question that names them; one of them described."""

from playwright.sync_api import Locator, expect

from services.domain import ResourceKind
from services.local.workspace import LocalWorkspace
from tests.browser.dashboard import settled


def tick(table: Locator, number: int) -> None:
    """Of a table that is a canvas; the first row is 0."""
    table.get_by_test_id("stDataFrame").click(position={"x": 16, "y": 35 + 17 + 35 * number})


def test_many_are_tagged_and_deleted_and_one_is_described(home, dashboard, page, tmp_path):
    workspace = LocalWorkspace(home)
    (tmp_path / "tree.txt").write_bytes(b"tree\nversion=v4\nend of trees\n")
    for number in range(4):
        workspace.register_model(f"kept-{number}", tmp_path / "tree.txt")
    page.goto(f"{dashboard.url}/models?search=kept-")
    settled(page).get_by_role("button", name="Note and tags").click()
    page.get_by_label("Note", exact=True).fill("the newest")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("the newest").first).to_be_visible()
    expect(page.get_by_role("button", name="Save")).to_have_count(0)  # it closed itself
    settled(page).get_by_text("Select several").click()
    table = page.locator("[class*=st-key-several-model-]").filter(has=page.get_by_test_id("stDataFrame"))
    tick(table, 0)
    tick(table, 2)
    expect(page.get_by_text("2 models selected")).to_be_visible()
    page.get_by_role("button", name="Tag", exact=True).click()
    page.get_by_role("textbox", name="Tag", exact=True).fill("stage=old")
    page.get_by_role("textbox", name="Tag", exact=True).press("Enter")
    page.get_by_role("button", name="Set the tag").click()
    expect(page.get_by_role("button", name="Set the tag")).to_have_count(0)
    tagged = {name for name, said in workspace.resources.metadata(ResourceKind.MODEL).items() if said.tags == {"stage": "old"}}
    assert tagged == {"kept-3:1", "kept-1:1"}
    page.goto(f"{dashboard.url}/models?search=stage%3Dold")
    settled(page).get_by_text("Select several").click()
    table = page.locator("[class*=st-key-several-model-]").filter(has=page.get_by_test_id("stDataFrame"))
    tick(table, 0)
    tick(table, 1)
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("kept-1:1")).to_be_visible()
    page.get_by_role("button", name="Delete 2 models").click()
    expect(page.get_by_text("No model matches.")).to_be_visible()
    left = [model.reference for model in workspace.models() if model.name.startswith("kept-")]
    assert left == ["kept-2:1", "kept-0:1"]
