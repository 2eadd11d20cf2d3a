"""The frame: the list of pages, of which it runs one. Streamlit's main script, never imported."""

from contextlib import suppress

import streamlit as st

from pages import _azure_connection, _errors, _notifications, _run_keeping, _storage, _workspace
from pages._switching import forget_callbacks
from services.errors import StudioError
from services.workspaces import chosen_workspace

# Inline, so that it is served with the page: Streamlit fetches icons given as emoji from the web.
MARK = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#0f6e78"/>
<path d="M7 10h10M7 16h7M7 22h7" stroke="#fff" stroke-width="3" stroke-linecap="round" opacity=".7"/>
<path d="m17 20 3.5 3.5L26 14" fill="none" stroke="#fff" stroke-width="3.4" stroke-linecap="round" stroke-linejoin="round"/></svg>"""
STYLE = """<style>
/* Selected tabs and options in the text color: the primary color, also the background of buttons, is too dark on a dark page. */
button[data-variant][data-selected=true], [role=tab][aria-selected=true] { color: inherit !important }
/* A page of rows has no toolbar and no search by Ctrl-F: they know this page only, and the toolbar covers what is above. */
[class*=st-key-paged-] :is([data-testid=stElementToolbar], .gdg-search-bar) { display: none }
/* In the text color, because Streamlit's colors for these have a contrast below 4.5: highlighted code, a slider's value, left-out pages. */
[data-testid=stCode] .token, [data-testid=stSliderThumbValue], [data-testid=stPaginationEllipsis] { color: inherit !important }
/* Where the keyboard is: a color with a contrast above 3 on light and dark pages. */
:is(a, button, summary, [role=tab], [role=slider]):focus-visible, label:has(input:focus-visible) {
  outline: 2px solid #1d8a96 !important; outline-offset: 2px
}
/* The ? beside a label: 24 px to click, in the room of 16. */
[data-testid=stTooltipHoverTarget] > [aria-label^="Help for"] {
  min-width: 24px; min-height: 24px; margin: -4px; display: inline-flex; align-items: center; justify-content: center
}
/* The menu above a chart saves it, by the one button in this bar. */
.modebar-container { display: none }
/* A run needs these three: they can be changed, not emptied. */
:is(.st-key-model, .st-key-dataset, .st-key-script) [aria-label="Clear value"] { display: none }
/* What the browser sends back, so that the server knows which values it shows. */
.st-key-form-token { display: none }
/* A facet of sentences shows them whole. */
[class*=st-key-facet-sentences] button { height: auto; text-align: left; border-radius: 8px; padding: 4px 10px }
[class*=st-key-facet-sentences] button :is(div, p) { white-space: normal; overflow-wrap: anywhere }
/* An error whose field was corrected leaves its room until the next attempt, so that nothing moves from under the pointer. */
.st-key-runs_line { min-height: 2.6rem; justify-content: center }  /* the table stays in its place when a run is ticked */
[class*=st-key-corrected-] { visibility: hidden }
/* On the page of a run, links to other runs look like those to models: Streamlit marks them as the page that is shown. */
.st-key-lineage-of-run [data-testid=stPageLink-NavLink] { background: none; font-weight: inherit }
.st-key-lineage-of-run [data-testid=stPageLink-NavLink] * { font-weight: inherit }
/* Runs that have ended, over whatever page it is. */
.st-key-ended-runs { position: fixed; right: 1rem; bottom: 1rem; z-index: 900; width: min(24rem, calc(100vw - 2rem)) }
body:has([class*=st-key-ended-run-]) [data-testid=stMainBlockContainer] { padding-bottom: 16rem }  /* what they cover can be scrolled up */
[class*=st-key-ended-run-] { background: var(--ended-run); box-shadow: 0 4px 20px rgb(0 0 0 / .25) }
/* A narrow window has smaller margins, and the second column below the first; on Home the details below the name, and what dismisses. */
@media (max-width: 1200px) {
  [data-testid=stMainBlockContainer] { padding-left: 1.5rem; padding-right: 1.5rem }
  :is(.st-key-form_and_review, .st-key-rows_and_panel, .st-key-board_columns, [class*=st-key-form_in_two])
    > * > * > [data-testid=stColumn] {
    min-width: 100%
  }
  [class*=st-key-lines-] [data-testid=stColumn]:nth-child(3) { min-width: 100%; order: 1 }
  [class*=st-key-lines-] [data-testid=stColumn]:nth-child(4) { flex: 0 0 auto; width: auto; min-width: auto }
  [class*=st-key-lines-] [data-testid=stColumn]:first-child { flex: 0 0 auto; width: auto; min-width: 8rem }
}
</style>"""

st.set_page_config(page_title="Batch Scoring Studio", page_icon=MARK, layout="wide")
page = st.navigation(
    {
        "": [
            st.Page("home.py", title="Home", icon=":material/home:", default=True),
            st.Page("new_run.py", title="New run", icon=":material/play_circle:"),
            st.Page("runs.py", title="Runs", icon=":material/list_alt:"),
            st.Page("results.py", title="Results", icon=":material/table_chart:"),
            st.Page("compare.py", title="Compare", icon=":material/compare_arrows:"),
        ],
        "Registered": [
            st.Page("registered_models.py", title="Models", icon=":material/model_training:", url_path="models"),
            st.Page("registered_datasets.py", title="Datasets", icon=":material/folder_open:", url_path="datasets"),
        ],
        "Workspace": [
            st.Page("connection.py", title="Connection", icon=":material/lan:"),
            st.Page("storage_used.py", title="Storage", icon=":material/hard_drive:", url_path="storage"),
        ],
    }
)
if st.session_state.get("shown_page") != page.url_path:
    forget_callbacks()
    st.session_state.shown_page = page.url_path
st.set_page_config(page_title=f"{page.title} · Batch Scoring Studio")
st.logo(MARK, size="large")
st.html(STYLE)
with suppress(StudioError):  # the page shows it
    _workspace.follow_the_choice()
    _storage.keep_counted(chosen_workspace())
    if remote := chosen_workspace().remote:
        with st.sidebar:
            _azure_connection.show_strip(remote, page.url_path)
_notifications.watch(page.url_path)
if page.url_path != "runs":
    _run_keeping.forget_deletion()
with _errors.shown():
    page.run()
