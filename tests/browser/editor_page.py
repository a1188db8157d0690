"""The canvas editor of MAGREF Build Masked Canvas on a page: opened, read, dragged and drawn."""

from __future__ import annotations

import base64
import io
import json
import urllib.request
from typing import Any
from urllib.parse import urlencode

import numpy as np
import numpy.typing as npt
from PIL import Image
from playwright.sync_api import Locator, Page

from scripts import graph_page

CANVAS_ID = "2"
LOADER_ID = "1"
PHOTOS = (
    {"file": "astronaut.png", "name": "woman", "kind": "person"},
    {"file": "cat.png", "name": "cat", "kind": "object"},
    {"file": "coffee.png", "name": "table", "kind": "background"},
)

SET = """([id, name, value]) => {
    const widget = app.graph.getNodeById(id).widgets.find(w => w.name === name)
    widget.value = value
    widget.callback?.(value)
}"""

IN_PLACE = f"""() => {{
    const widget = app.graph.getNodeById('{CANVAS_ID}').widgets.find(w => w.name === 'placements')
    const shown = [...document.querySelectorAll('.magref-editor')]
    return shown.length === 1 && shown[0] === widget.element && widget.element.offsetParent
}}"""

LEVELS = 2.5
"""Mean difference of levels (0 to 255) that two ways of resampling may make; 0.5 to 1.7 are measured."""
FEW = 0.005
"""Share of the levels that may differ by more than `MUCH`: sharp edges."""
MUCH = 25

LAYER = "selector => document.querySelector(selector).toDataURL('image/png')"


def graph(references: Any = PHOTOS, *, cut: bool = False, **settings: Any) -> dict[str, Any]:
    """An API workflow: loader, perhaps a cut-out, canvas, and a node that shows the canvas."""
    given: dict[str, Any] = {
        "width": 832,
        "height": 480,
        "order": "official",
        "layout_seed": 0,
        "mask_shape": "rectangle",
        "background": "#ffffff",
        "placements": "",
    }
    text = references if isinstance(references, str) else json.dumps(references)
    nodes = {
        LOADER_ID: {"class_type": "MagrefLoadReferences", "inputs": {"references": text}},
        CANVAS_ID: {
            "class_type": "MagrefBuildMaskedCanvas",
            "inputs": {"references": ["4" if cut else LOADER_ID, 0], **given, **settings},
        },
        "3": {"class_type": "PreviewImage", "inputs": {"images": [CANVAS_ID, 1]}},
    }
    if cut:
        inputs = {"references": [LOADER_ID, 0], "method": "auto", "subjects": "", "grow": 0, "feather": 0}
        nodes["4"] = {"class_type": "MagrefAutoMaskSubject", "inputs": inputs}
    return nodes


def place(*boxes: tuple[str, int, int, int, int]) -> str:
    """Placements as the editor and the server write them."""
    sides = ("x", "y", "width", "height")
    entries = [{"reference": name, **dict(zip(sides, box, strict=True))} for name, *box in boxes]
    return json.dumps({"version": 1, "placements": entries}, ensure_ascii=False)


def boxes(text: str) -> dict[str, tuple[int, int, int, int]]:
    """Name -> x, y, width, height of placements, in the order of pasting."""
    return {
        entry["reference"]: (entry["x"], entry["y"], entry["width"], entry["height"])
        for entry in json.loads(text)["placements"]
    }


def open_editor(page: Page, workflow: dict[str, Any], *, subjects: int | None = None) -> Locator:
    """Show the workflow with the editor in view, and wait until it knows so many pictures."""
    graph_page.show_workflow(page, workflow)
    return look_at_editor(page, subjects=subjects)


def look_at_editor(page: Page, *, subjects: int | None = None) -> Locator:
    """Bring the editor into view; see `open_editor`."""
    graph_page.look_at(page, graph_page.node_area(page, CANVAS_ID))
    page.wait_for_function(IN_PLACE)
    editor = page.locator(".magref-editor")
    if subjects is not None:
        page.wait_for_function(
            "n => document.querySelectorAll('.magref-editor-numbers th[scope=row]').length === n",
            arg=subjects,
        )
    graph_page.settle(page)
    return editor


def value(page: Page, name: str = "placements") -> Any:
    """What the browser would queue for an input of the canvas node."""
    return graph_page.to_prompt(page)[CANVAS_ID]["inputs"][name]


def set_widget(page: Page, name: str, given: Any, node_id: str = CANVAS_ID) -> None:
    """Set a widget of a node, as its own control would."""
    page.evaluate(SET, [node_id, name, given])
    graph_page.settle(page)


def press(editor: Locator, action: str) -> None:
    """Press a button of the toolbar."""
    editor.locator(f"[data-action={action}]").click()


def status(editor: Locator) -> str:
    """The sentence under the canvas."""
    return editor.locator(".magref-editor-status").inner_text()


def wait_for_status(page: Page, words: str) -> None:
    """Wait until the sentence holds these words."""
    page.wait_for_function(
        "words => document.querySelector('.magref-editor-status').textContent.includes(words)", arg=words
    )


def on_page(page: Page, x: float, y: float) -> tuple[float, float]:
    """A point of the canvas, in its pixels -> a point of the page."""
    area = page.locator(".magref-editor-picture").bounding_box()
    assert area is not None
    width, height = page.evaluate(
        "() => { const c = document.querySelector('.magref-editor-picture'); return [c.width, c.height] }"
    )
    return area["x"] + x / width * area["width"], area["y"] + y / height * area["height"]


def drag(page: Page, start: tuple[float, float], end: tuple[float, float], *, keys: str = "") -> None:
    """Drag with the mouse between two points of the canvas, in its pixels."""
    page.mouse.move(*on_page(page, *start))
    if keys:
        page.keyboard.down(keys)
    page.mouse.down()
    page.mouse.move(*on_page(page, (start[0] + end[0]) / 2, (start[1] + end[1]) / 2), steps=3)
    page.mouse.move(*on_page(page, *end), steps=3)
    page.mouse.up()
    if keys:
        page.keyboard.up(keys)
    graph_page.settle(page)


def drawn(page: Page) -> npt.NDArray[np.int16]:
    """The canvas as the editor draws it, (H, W, 3)."""
    return layer(page, ".magref-editor-picture")[..., :3]


def layer(page: Page, selector: str) -> npt.NDArray[np.int16]:
    """One of the layers of the editor, (H, W, 4)."""
    graph_page.settle(page)
    data = base64.b64decode(page.evaluate(LAYER, selector).partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA")).astype(np.int16)


def composed(page: Page, url: str, node_id: str = CANVAS_ID) -> npt.NDArray[np.int16]:
    """The picture that a node showed in the last run, (H, W, 3)."""
    (image,) = page.evaluate("id => app.nodeOutputs[id].images", node_id)
    with urllib.request.urlopen(f"{url}/view?{urlencode(image)}") as answer:
        picture = Image.open(io.BytesIO(answer.read())).convert("RGB")
    return np.asarray(picture).astype(np.int16)


def check_equal(
    drawn: npt.NDArray[np.int16], composed: npt.NDArray[np.int16], *, levels: float = LEVELS, few: float = FEW
) -> None:
    """Fail unless two canvases differ by no more than their ways of resampling."""
    assert drawn.shape == composed.shape
    difference = np.abs(drawn - composed)
    assert difference.mean() < levels
    assert (difference > MUCH).mean() < few


def run(page: Page) -> None:
    """Run the graph; it must succeed."""
    kind, report = graph_page.run(page)
    assert kind == "execution_success", report
    page.wait_for_function(f"() => app.nodeOutputs['{CANVAS_ID}']?.images?.length")
    graph_page.settle(page)
