"""The prompt of MAGREF Bind Subjects as a person writes it: names completed, highlighted and checked."""

from __future__ import annotations

import json
from typing import Any

from playwright.sync_api import Locator, Page

from scripts import graph_page

LOADER_ID = "1"
BINDER_ID = "2"
CAST = (
    {"file": "astronaut.png", "name": "girl", "kind": "person", "word": "woman"},
    {"file": "coffee.png", "name": "red mug"},
    {"file": "cat.png", "name": "кот"},
)

SET = """([id, name, value]) => {
    const widget = app.graph.getNodeById(id).widgets.find(w => w.name === name)
    widget.value = value
    widget.callback?.(value)
}"""
MARKS = (
    "() => [...document.querySelectorAll('.magref-mirror mark')].map(m => [m.dataset.state, m.textContent])"
)
CHIPS = """() => [...document.querySelectorAll('.magref-chips')].filter(one => one.offsetParent).flatMap(
    line => [...line.children].map(
        chip => [chip.dataset.state, chip.innerText.replace(/\\s+/g, ' ').trim()]))"""
STILL = """box => new Promise(done => {
    let place, since
    const look = now => {
        const { x, y, width, height } = box.getBoundingClientRect()
        if (place !== (place = JSON.stringify([x, y, width, height]))) since = now
        now - since > 500 ? done() : requestAnimationFrame(look)
    }
    requestAnimationFrame(look)
})"""
"""Waits until the box has stayed in its place for half a second: an open list closes when it moves."""

IN_PLACE = """() => {
    const line = [...document.querySelectorAll('.magref-chips')].filter(one => one.offsetParent)
    return line.length === 1 && document.querySelectorAll('.magref-mirror').length === 1
}"""
UNDER_THE_MARK = """state => {
    const mark = document.querySelector(`.magref-mirror mark[data-state=${state}]`).getBoundingClientRect()
    return [mark.x, mark.y, mark.width, mark.height]
}"""


def graph(cast: Any = CAST, prompt: str = "") -> dict[str, Any]:
    """An API workflow: the gallery and the prompt."""
    text = cast if isinstance(cast, str) else json.dumps(cast)
    return {
        LOADER_ID: {"class_type": "MagrefLoadReferences", "inputs": {"references": text}},
        BINDER_ID: {
            "class_type": "MagrefBindSubjects",
            "inputs": {"references": [LOADER_ID, 0], "prompt": prompt},
        },
    }


def open_prompt(page: Page, workflow: dict[str, Any], *, node_id: str = BINDER_ID) -> Locator:
    """Show the workflow with the prompt in view; its text box."""
    graph_page.show_workflow(page, workflow)
    return look_at_prompt(page, node_id=node_id)


def look_at_prompt(page: Page, *, node_id: str = BINDER_ID) -> Locator:
    """Bring the prompt into view, and wait until it is watched; its text box."""
    graph_page.look_at(page, graph_page.node_area(page, node_id))
    page.wait_for_function(IN_PLACE)
    box(page).evaluate(STILL)
    return box(page)


def box(page: Page) -> Locator:
    """The text box that is watched."""
    return page.locator("textarea:has(+ .magref-mirror)").filter(visible=True)


def names(page: Page) -> Locator:
    """The names that the open list offers."""
    return page.get_by_role("listbox").get_by_role("option")


def offered(page: Page) -> list[str]:
    """What they are called."""
    return page.locator(".magref-names-name").all_inner_texts()


def wait_for_list(page: Page, *expected: str) -> None:
    """Wait until the list offers these names and no other; no name: until it is closed."""
    page.wait_for_function(
        """expected => JSON.stringify([...document.querySelectorAll('.magref-names-name')]
            .map(name => name.textContent)) === JSON.stringify(expected)""",
        arg=list(expected),
    )


def wait_for_chips(page: Page, *expected: tuple[str, str]) -> None:
    """Wait until the line below the prompt shows these: state and text."""
    wanted = json.dumps([list(chip) for chip in expected], ensure_ascii=False)
    page.wait_for_function(
        f"([wanted]) => JSON.stringify(({CHIPS})()) === JSON.stringify(JSON.parse(wanted))", arg=[wanted]
    )


def chip(page: Page, state: str) -> Locator:
    """The only chip in a state."""
    return page.locator(f".magref-chip[data-state={state}]").filter(visible=True)


def marks(page: Page) -> list[tuple[str, str]]:
    """The highlights of the prompt: state and text."""
    return [(state, text) for state, text in page.evaluate(MARKS)]


def value(page: Page, node_id: str = BINDER_ID) -> str:
    """The prompt as it would be sent to the server."""
    return graph_page.to_prompt(page)[node_id]["inputs"]["prompt"]


def set_widget(page: Page, node_id: str, name: str, given: Any) -> None:
    """Set a widget of a node, as its own control would."""
    page.evaluate(SET, [node_id, name, given])
    graph_page.settle(page)
