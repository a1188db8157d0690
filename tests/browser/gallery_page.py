"""The gallery of MAGREF Load References as a person uses it, and what it makes of the graph."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page

from scripts import graph_page

NODE = "MagrefLoadReferences"

ADD_NODE = """([type, x, y]) => {
    const node = LiteGraph.createNode(type)
    app.graph.add(node)
    node.pos = [x, y]
    return String(node.id)
}"""

SET_VALUE = """([id, text]) => {
    app.graph.getNodeById(id).widgets.find(widget => widget.name === 'references').value = text
}"""

VALUE = "id => app.graph.getNodeById(id).widgets.find(widget => widget.name === 'references').value"

TRANSFER = """files => {
    const transfer = new DataTransfer()
    for (const [name, type, data] of files) {
        const bytes = Uint8Array.from(atob(data), letter => letter.charCodeAt(0))
        transfer.items.add(new File([bytes], name, {type}))
    }
    return transfer
}"""

PASTE = """(transfer) => document.activeElement.dispatchEvent(
    new ClipboardEvent('paste', {clipboardData: transfer, bubbles: true, cancelable: true}))"""

SHOWN = """image => image.complete && image.naturalWidth > 0"""


def add_node(page: Page, text: str = "", *, x: int = 0, y: int = 0) -> str:
    """Put the node into the graph and in view; its id."""
    node_id = page.evaluate(ADD_NODE, [NODE, x, y])
    if text:
        page.evaluate(SET_VALUE, [node_id, text])
    look_at_node(page, node_id)
    return str(node_id)


def look_at_node(page: Page, node_id: str) -> None:
    """Bring the node to the middle of the screen."""
    graph_page.settle(page)
    graph_page.look_at(page, graph_page.node_area(page, node_id))


def gallery(page: Page) -> Locator:
    """The only gallery that is seen."""
    return page.get_by_test_id("magref-gallery").filter(visible=True)


def cards(page: Page) -> Locator:
    """Its cards in order."""
    return gallery(page).locator(".magref-card")


def names(page: Page) -> list[str]:
    """What the cards are called."""
    return [field.input_value() for field in cards(page).locator(".magref-name").all()]


def notices(page: Page) -> str:
    """The sentences above the cards."""
    return gallery(page).locator(".magref-notices").inner_text()


def value(page: Page, node_id: str) -> list[dict[str, Any]]:
    """The value of the node."""
    return json.loads(page.evaluate(VALUE, node_id))


def prompt_value(page: Page) -> list[dict[str, Any]]:
    """The value as it would be sent to the server."""
    (inputs,) = (n["inputs"] for n in graph_page.to_prompt(page).values() if n["class_type"] == NODE)
    return json.loads(inputs["references"])


def choose_files(page: Page, opener: Locator, files: Any) -> None:
    """Press something that opens the file dialog, and choose files there."""
    with page.expect_file_chooser() as caught:
        opener.click()
    caught.value.set_files(files)


def add_files(page: Page, files: Any) -> None:
    """Add pictures by the button and the file dialog."""
    choose_files(page, gallery(page).get_by_role("button", name="Add pictures"), files)


def transfer(page: Page, files: list[Path], *, kind: str = "image/png") -> Any:
    """Files as the clipboard or a drag carries them."""
    return page.evaluate_handle(TRANSFER, [[file.name, kind, packed(file)] for file in files])


def packed(file: Path) -> str:
    """A file's bytes as text."""
    return base64.b64encode(file.read_bytes()).decode()


def wait_for_cards(page: Page, count: int) -> None:
    """Wait until there are so many cards, and nothing on its way."""
    page.wait_for_function(
        """count => {
            const seen = [...document.querySelectorAll('.magref-gallery')].filter(one => one.offsetParent)
            return seen.some(one => one.querySelectorAll('.magref-card').length === count
                && !one.querySelector('.magref-transfer'))
        }""",
        arg=count,
    )


def wait_for_thumbnails(page: Page) -> None:
    """Wait until every picture of the gallery is seen."""
    for image in gallery(page).locator("img").all():
        image.scroll_into_view_if_needed()
        page.wait_for_function(SHOWN, arg=image.element_handle())
