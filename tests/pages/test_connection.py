from __future__ import annotations


def test_it_says_where_the_workspace_is_and_that_all_it_needs_is_there(open_page, home):
    app = open_page("connection.py")
    assert not app.exception
    assert app.code[0].value == str(home)
    checks = app.dataframe[0].value
    assert checks["Check"].tolist()[:2] == ["Folder can be written", "Free disk space"]
    assert set(checks["Result"]) == {"ok"}
    assert app.success


def test_it_says_how_to_choose_another_folder(open_page):
    app = open_page("connection.py")
    assert any("BATCH_SCORING_HOME=" in block.value for block in app.code)


def test_a_workspace_that_cannot_be_opened_still_shows_how_to_choose_another(open_page, home):
    home.rmdir()
    home.write_text("a file where the folder should be")
    app = open_page("connection.py")
    assert not app.exception
    assert "can't be made or written" in app.error[0].value.replace("\\", "")
    assert any("BATCH_SCORING_HOME=" in block.value for block in app.code)
    app.switch_page("home.py").run()
    assert not app.exception
    assert "can't be made or written" in app.error[0].value.replace("\\", "")
