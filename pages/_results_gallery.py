"""Results: a gallery of the images of this page of rows, each with its prediction; a click opens the row."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import streamlit as st

from pages._downloads import thumbnail_url
from pages._results_view import GALLERY_PAGE, View, change
from pages._text import displayable, truncate, visible
from services import thumbnails
from services.domain import ItemKind
from services.predictions.columns import Status
from services.run_details import RowKey
from services.workspaces import chosen_workspace

_CHARACTERS = 60  # of a text below a picture

HTML = """
<div id="gallery"></div>
"""
CSS = """
#gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(112px, 1fr)); gap: 8px; max-height: 34rem; overflow-y: auto;
  padding: 3px }
button { display: flex; flex-direction: column; gap: 4px; padding: 4px; font: inherit; font-size: .8rem; text-align: left; cursor: pointer;
  color: var(--st-text-color); background: var(--st-secondary-background-color); border: 1px solid transparent;
  border-radius: var(--st-base-radius); min-width: 0 }
button:hover { border-color: var(--st-text-color) }
button[aria-current=true] { border-color: var(--st-primary-color); box-shadow: 0 0 0 1px var(--st-primary-color) }
button:focus-visible { outline: 2px solid #1d8a96; outline-offset: 1px }
.picture { width: 100%; aspect-ratio: 1; display: grid; place-items: center; overflow: hidden; border-radius: 4px;
  background: color-mix(in srgb, var(--st-text-color) 8%, transparent) }
.picture img { width: 100%; height: 100%; object-fit: contain; min-height: 0 }
.picture span { padding: 4px; font-size: .72rem; overflow-wrap: anywhere; max-height: 100%; overflow: hidden }
.line { display: flex; gap: 6px; width: 100%; min-width: 0 }
.line b { flex: 1; font-weight: 600 }
.line b, .name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
.name { width: 100% }
@media (max-width: 1699px) { #gallery { max-height: 24rem } }
"""
JS = r"""
export default function ({ data, parentElement, setTriggerValue }) {
  const gallery = parentElement.querySelector("#gallery")
  if (gallery.shown !== JSON.stringify(data.items)) {  // the same pictures stay as they are
    gallery.shown = JSON.stringify(data.items)
    gallery.replaceChildren(...data.items.map(card))
    gallery.scrollTop = 0
  }
  for (const [place, button] of [...gallery.children].entries()) {
    if (place === data.open) button.setAttribute("aria-current", "true")
    else button.removeAttribute("aria-current")
    button.onclick = () => setTriggerValue("opened", place)
  }

  function part(tag, name, ...inside) {
    const element = document.createElement(tag)
    if (name) element.className = name
    element.append(...inside)
    return element
  }
  function card(item) {
    const picture = part("div", "picture")
    if (item.url) {
      const image = part("img")
      Object.assign(image, { loading: "lazy", decoding: "async", alt: "", src: item.url })
      image.onerror = async () => {
        const reason = await fetch(item.url).then(answer => answer.text(), () => "The picture can't be loaded.")
        image.replaceWith(part("span", "", reason.trim()))
      }
      picture.append(image)
    } else picture.append(part("span", "", item.error))
    const button = part("button", "", picture, part("div", "line", part("b", "", item.prediction), part("span", "", item.score)),
                        part("div", "name", item.name))
    button.type = "button"
    button.title = `${item.name}: ${item.prediction} ${item.score}`.trim()
    return button
  }
}
"""
_mounted = st.components.v2.component("gallery", html=HTML, css=CSS, js=JS)


def has_images(view: View) -> bool:
    """Whether the items are files that are images, as their datasets say, or else the names of the first ones."""
    known = {dataset.reference: dataset for dataset in chosen_workspace().datasets()}
    datasets = [known[reference] for reference in view.run.request.datasets if reference in known]
    if any(dataset.type != "file" for dataset in datasets):
        return False
    kinds = {dataset.item_kind for dataset in datasets}
    if kinds and kinds != {ItemKind.OTHER}:
        return kinds == {ItemKind.IMAGE}
    files = view.table.page(count=8, columns=["File"]).column("File").to_pylist()
    return bool(files) and all((file or "").lower().endswith(thumbnails.SUFFIXES) for file in files)


def gallery(view: View, prediction: str, score: str) -> None:
    """The pictures of this page's rows, with the values of the columns `prediction` and `score`, "" for none."""
    count = view.table.count(view.filter)
    page = min(view.page, max(1, -(-count // GALLERY_PAGE)))
    first = (page - 1) * GALLERY_PAGE
    rows = view.table.page(view.filter, first, GALLERY_PAGE, view.order).to_pylist() if count else []

    def open_row() -> None:
        place = getattr(st.session_state.gallery, "opened", None)
        if isinstance(place, int) and 0 <= place < len(rows):
            change(row=str(first + place + 1), page=str(page) if page > 1 else "")

    items = [_item(view, row, prediction, score) for row in rows]
    opened = view.row - first if view.row is not None else None
    _mounted(key="gallery", data={"items": items, "open": opened}, on_opened_change=open_row)
    st.caption(f"{first + 1:,} to {first + len(rows):,} of {count:,}. Click a picture to open its row." if rows else "Nothing to show.")


def _item(view: View, row: dict[str, Any], prediction: str, score: str) -> dict[str, str]:
    own = {name: row[actual] for name, actual in view.table.own.items()}
    failed = own["Status"] == Status.FAILED
    value = own["Error"] if failed else row[prediction]
    number = row[score] if score and not failed else None
    return {
        "url": thumbnail_url(view.run.id, RowKey.of(own), own["Worker"] or "") if own["File"] else "",
        "error": "This row does not name a file.",
        "name": _short(PurePosixPath(own["File"] or "").name),
        "prediction": _short(f"Failed: {value}" if failed else "no prediction" if value is None else str(value)),
        "score": "" if number is None else f"{number:.4g}",
    }  # fmt: skip


def _short(text: str) -> str:
    return displayable(visible(truncate(text, _CHARACTERS), lines=False))
