"""The pictures of docs/getting-started.md: each step as a person sees it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from scripts import graph_hands, graph_page, hand_built, screenshots
from scripts.build_workflows import PICTURES
from scripts.graph_page import Area
from scripts.host_install import HostError
from scripts.host_server import PACK_NAME
from scripts.workflow_specs import WORKFLOWS
from scripts.workflow_specs.files import CAT, TABLE, WOMAN

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FOLDER = screenshots.WORKFLOW_PICTURES
MARGIN = 24
TEMPLATES = {"width": 1250, "height": 780}
"""Of the page around the template browser, in CSS pixels."""

BUILDING = {"width": 1600, "height": 1000}
"""Of the page on which a graph is built, in CSS pixels."""
SEARCH_HEIGHT = 300
"""Of the search, in CSS pixels; below it is empty."""
CANVAS_PART = Area(x=70, y=105, width=515, height=590)
"""Where loaders, gallery and canvas then lie."""

SHOWN_NODES = """() => {
    const {canvas, ds} = app.canvas, page = canvas.getBoundingClientRect()
    const boxes = app.graph.nodes.map(node => {
        const box = new Float32Array(4)
        node.getBounding(box)
        return box
    })
    const at = (value, axis) => page[axis ? 'y' : 'x'] + (value + ds.offset[axis]) * ds.scale
    return [0, 1].map(axis => Math.min(...boxes.map(box => at(box[axis], axis))))
        .concat([0, 1].map(axis => Math.max(...boxes.map(box => at(box[axis] + box[axis + 2], axis)))))
}"""

ADD_GALLERY = """() => {
    const node = LiteGraph.createNode('MagrefLoadReferences')
    app.graph.add(node)
    node.setSize([480, 420])
    return String(node.id)
}"""

DEMO_GROUP = """title => {
    const group = app.graph.groups.find(group => group.title === title)
    return [...group.pos, ...group.size]
}"""

THUMBNAILS = """() => [...document.querySelectorAll('.magref-gallery img, [role=dialog] img')]
    .filter(image => image.offsetParent).every(image => image.complete && image.naturalWidth)"""


def take_guide(browser: Browser, url: str) -> None:
    """All pictures of the guide."""
    page = screenshots.open_page(browser, url, nodes2=False)
    take_templates(page)
    take_gallery(page)
    take_editor(page)
    take_video(page)
    take_building(page)
    page.context.close()


def take_templates(page: Page) -> None:
    """The template browser with the workflows of the pack."""
    before = page.viewport_size
    page.set_viewport_size(TEMPLATES)  # pyright: ignore[reportArgumentType]
    page.evaluate("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    dialog = page.get_by_role("dialog")
    dialog.get_by_text(PACK_NAME, exact=True).click()
    for workflow in WORKFLOWS:
        graph_page.find_template(page, workflow.name).locator("img").first.wait_for()
    page.wait_for_function(THUMBNAILS)
    screenshots.take(page, _seen(dialog.bounding_box()), FOLDER / "start_templates.png")
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    if before:
        page.set_viewport_size(before)


def take_gallery(page: Page) -> None:
    """Three pictures, added by the file dialog, with names and kinds."""
    graph_page.show_workflow(page, graph_page.BLANK)
    node_id = str(page.evaluate(ADD_GALLERY))
    graph_page.settle(page)
    graph_page.look_at(page, graph_page.node_area(page, node_id))
    gallery = page.get_by_test_id("magref-gallery").filter(visible=True)
    with page.expect_file_chooser() as caught:
        gallery.get_by_role("button", name="Add pictures").click()
    chosen = (WOMAN, CAT, TABLE)
    caught.value.set_files([PICTURES / entry["file"] for entry in chosen])
    cards = gallery.locator(".magref-card")
    cards.nth(len(chosen) - 1).wait_for()
    for card, entry in zip(cards.all(), chosen, strict=True):
        card.locator(".magref-name").fill(entry["name"])
        card.locator(".magref-name").press("Enter")
        card.get_by_label("Kind").select_option(entry["kind"])
    page.evaluate("() => { document.activeElement.blur(); app.canvas.deselectAll() }")
    page.wait_for_function(THUMBNAILS)
    _take_node(page, node_id, "start_gallery.png")


def take_editor(page: Page) -> None:
    """The canvas with its findings, before anything was run."""
    graph_page.show_workflow(page, _editor_workflow())
    graph_page.look_at(page, graph_page.node_area(page, "2"))
    editor = page.locator(".magref-editor")
    editor.locator(".magref-editor-finding").first.wait_for()
    editor.get_by_role("button", name=CAT["name"], exact=True).click()
    _take_node(page, "2", "start_canvas.png")


def take_video(page: Page) -> None:
    """The last step of the demo once it has run."""
    graph_page.show_workflow(page, screenshots.shipped_workflows("workflows")["magref_demo"])
    kind, detail = graph_page.run(page)
    if kind != "execution_success":
        raise HostError(f"the demo did not run: {kind}, {json.dumps(detail)[:500]}")
    x, y, width, height = page.evaluate(DEMO_GROUP, "6 Video")
    group = Area(x=x, y=y, width=width, height=min(height, 640))
    graph_page.look_at(page, group)
    page.wait_for_function("() => document.querySelector('video')?.readyState >= 2")
    graph_page.settle(page)
    screenshots.take(page, graph_page.look_at(page, group), FOLDER / "start_video.png")


def take_building(page: Page) -> None:
    """The graph of the demo built by hand: the search, the links, the pictures, the video."""
    graph_page.show_workflow(page, graph_page.BLANK)
    page.set_viewport_size(BUILDING)  # pyright: ignore[reportArgumentType]
    graph_page.settle(page)
    graph_hands.search(page, "MAGREF Load References", hand_built.EMPTY)
    dialog = _seen(page.get_by_role("dialog").bounding_box())
    upper = Area(x=dialog.x, y=dialog.y, width=dialog.width, height=SEARCH_HEIGHT)
    screenshots.take(page, upper, FOLDER / "build_search.png")
    page.keyboard.press("Escape")
    page.get_by_placeholder(graph_hands.SEARCH).wait_for(state="hidden")
    ids = hand_built.add_nodes(page)
    hand_built.link_nodes(page, ids)
    hand_built.choose_models(page, ids)
    page.mouse.click(*hand_built.EMPTY)
    _take_graph(page, "build_links.png")
    hand_built.add_pictures(page, ids)
    hand_built.write_prompt(page, ids)
    hand_built.enter_numbers(page, ids, hand_built.NUMBERS)
    page.wait_for_function("() => document.querySelector('[data-view=clip]:enabled')")
    hand_built.move_picture(page, (0.17, 0.5), (0.33, 0.36))
    page.wait_for_function(THUMBNAILS)
    graph_page.settle(page)
    screenshots.take(page, CANVAS_PART, FOLDER / "build_canvas.png")
    kind, detail = graph_page.run(page)  # the button is hidden with the panels
    if kind != "execution_success":
        raise HostError(f"the graph built by hand did not run: {kind}, {json.dumps(detail)[:500]}")
    page.wait_for_function("() => document.querySelector('video')?.readyState >= 2")
    screenshots.wait_for_pictures(page, [ids["preview"]])
    page.mouse.click(*hand_built.EMPTY)
    _take_graph(page, "build_video.png")


def _take_graph(page: Page, name: str) -> None:
    """All nodes, where they lie."""
    graph_page.settle(page)
    x, y, right, bottom = page.evaluate(SHOWN_NODES)
    area = Area(x=x, y=y, width=right - x, height=bottom - y).grown(MARGIN / 2)
    screenshots.take(page, area, FOLDER / name)


def _editor_workflow() -> dict[str, Any]:
    """Gallery and canvas in API format."""
    canvas = {"width": 832, "height": 480, "order": "official", "layout_seed": 0, "mask_shape": "rectangle"}
    own = {"background": "#ffffff", "placements": ""}
    references = {"references": json.dumps([WOMAN, CAT, TABLE])}
    return {
        "1": {"class_type": "MagrefLoadReferences", "inputs": references},
        "2": {"class_type": "MagrefBuildMaskedCanvas", "inputs": {"references": ["1", 0], **canvas, **own}},
    }


def _take_node(page: Page, node_id: str, name: str) -> None:
    graph_page.settle(page)
    area = graph_page.look_at(page, graph_page.node_area(page, node_id).grown(MARGIN))
    screenshots.take(page, area, FOLDER / name)


def _seen(box: Any) -> Area:
    if box is None:
        raise HostError("the template browser is not seen")
    return Area(**box)
