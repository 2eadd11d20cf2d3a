from __future__ import annotations

import pytest

from services.connection import Connection, SignIn
from services.domain import ResourceKind
from services.workspaces import choose_workspace, chosen_workspace


def test_it_shows_the_location_and_the_checks(open_page, home):
    app = open_page("connection.py")
    assert not app.exception
    assert app.code[0].value == str(home)
    checks = app.dataframe[0].value
    assert checks["Check"].tolist()[:2] == ["Folder can be written", "Free disk space"]
    assert set(checks["Result"]) == {"ok"}
    assert app.success


def test_it_shows_how_to_choose_another_folder(open_page):
    app = open_page("connection.py")
    assert any("BATCH_SCORING_HOME=" in block.value for block in app.code)


def test_a_broken_workspace_still_shows_how_to_choose_another(open_page, home):
    home.rmdir()
    home.write_text("a file where the folder should be")
    app = open_page("connection.py")
    assert not app.exception
    assert "can't be made or written" in app.error[0].value.replace("\\", "")
    assert any("BATCH_SCORING_HOME=" in block.value for block in app.code)
    app.switch_page("home.py").run()
    assert not app.exception
    assert "can't be made or written" in app.error[0].value.replace("\\", "")


@pytest.fixture
def azure_form(open_page, monkeypatch, tmp_path):
    """The form of an Azure ML workspace, with nothing in the surroundings to fill it in with."""
    for name in ("SUBSCRIPTION_ID", "RESOURCE_GROUP", "WORKSPACE_NAME", "TENANT_ID", "CLIENT_ID", "CLIENT_SECRET"):
        monkeypatch.delenv(f"AZURE_{name}", raising=False)
    monkeypatch.chdir(tmp_path)
    app = open_page("connection.py")
    app.segmented_control(key="where").set_value("Azure ML").run()
    return app


def test_the_choice_of_an_sdk_says_which_is_supported(azure_form):
    choice = azure_form.radio(key="azure-sdk")
    assert (choice.value, choice.options) == ("v1", ["SDK v1", "SDK v2"])
    v1, v2 = choice.proto.captions
    assert "ended on 2026-06-30" in v1
    assert v2.startswith("Supported by Microsoft.")


@pytest.mark.parametrize(("sdk", "warned"), [("v1", True), ("v2", False)])
def test_an_open_workspace_names_its_sdk_and_its_end_of_support(open_page, home, sdk, warned):
    Connection("s", "g", "w", SignIn.DEVICE_CODE, sdk=sdk).remember(home)
    app = open_page("connection.py")
    assert not app.exception
    assert any(f"SDK {sdk}" in text.value for text in app.markdown)
    assert any("ended on 2026-06-30" in warning.value for warning in app.warning) is warned


@pytest.mark.parametrize(
    ("sign_in", "values", "message"),
    [
        ("Azure CLI", {}, "No subscription is given"),
        ("Azure CLI", {"subscription_id": "s", "resource_group": "a/b"}, "“a/b” is not a resource group"),
        ("service principal", {"subscription_id": "s", "resource_group": "g", "workspace_name": "w"}, "the tenant is missing"),
        (
            "service principal",
            {"subscription_id": "s", "resource_group": "g", "workspace_name": "w", "tenant_id": "t", "client_id": "c"},
            "The secret is missing",
        ),
    ],
)
def test_an_incomplete_connection_is_rejected_at_its_field(azure_form, home, sign_in, values, message):
    app = azure_form
    app.selectbox(key="azure-sign_in").set_value(SignIn(sign_in)).run()
    for name, value in values.items():
        app.text_input(key=f"azure-{name}").set_value(value)
    app.button(key="connect").click().run()
    assert not app.exception
    assert message in app.error[0].value.replace("\\", "")
    assert not (home / "azure").exists()


def test_a_click_on_what_another_tab_has_left_changes_nothing_and_says_so(open_page, home, workspace, model_file):
    reference = workspace.register_model("m", model_file).reference
    app = open_page("registered_models.py", model=reference)
    Connection("s", "g", "w", SignIn.DEVICE_CODE, sdk="v2").remember(home)  # as another tab does
    app.button(key=f"pin-{reference}").click().run()
    assert not app.exception
    assert [toast.value.replace("\\", "") for toast in app.toast] == ["Another browser tab opened another workspace: **w, SDK v2**."]
    assert not workspace.resources.metadata(ResourceKind.MODEL)
    assert not chosen_workspace().resources.metadata(ResourceKind.MODEL)
    app.run()
    assert not app.toast
    choose_workspace(None)
    app.run()
    assert "this machine" in app.toast[0].value
