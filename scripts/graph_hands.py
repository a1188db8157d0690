"""ComfyUI's graph built as a person does: by mouse, keyboard and file dialog, in both ways of drawing nodes.

What is on the page is read by script; all that changes it is a click, a drag, a key or a chosen file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scripts import graph_page

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from playwright.sync_api import Locator, Page

Point = tuple[float, float]
"""In CSS pixels of the page."""

SEARCH = "Add a node..."
TRIES = 4

SLOT = """([id, side, name]) => {
    const node = app.graph.getNodeById(id), index = node[side].findIndex(slot => slot.name === name)
    if (index < 0) return null
    const key = `${id}-${side === 'inputs' ? 'in' : 'out'}-${index}`
    const dot = document.querySelector(`[data-slot-key="${key}"]`)?.getBoundingClientRect()
    if (dot) return [dot.x + dot.width / 2, dot.y + dot.height / 2]
    const {canvas, ds} = app.canvas, area = canvas.getBoundingClientRect()
    const [x, y] = side === 'inputs' ? node.getInputPos(index) : node.getOutputPos(index)
    return [area.x + (x + ds.offset[0]) * ds.scale, area.y + (y + ds.offset[1]) * ds.scale]
}"""

WIDGET = """([id, name]) => {
    const node = app.graph.getNodeById(id), widget = node.widgets.find(one => one.name === name)
    if (!widget) return null
    const rows = [...document.querySelectorAll(`[data-node-id="${id}"] [data-testid=node-widget]`)]
    const isNamed = row => row.querySelector(`[aria-label="${name}"]`)
        || [...row.querySelectorAll('label')].some(label => label.textContent.trim() === name)
    const shown = rows.length
        ? rows.find(isNamed)?.querySelector('input, textarea, button[role=combobox]') : widget.element
    const area = shown?.getBoundingClientRect()
    if (area) return [area.x + area.width / 2, area.y + area.height / 2]
    const {canvas, ds} = app.canvas, page = canvas.getBoundingClientRect()
    const x = node.pos[0] + node.size[0] / 2, y = node.pos[1] + widget.last_y + 10
    return [page.x + (x + ds.offset[0]) * ds.scale, page.y + (y + ds.offset[1]) * ds.scale]
}"""

IS_LINKED = """([from, output, to, input]) => {
    const target = app.graph.getNodeById(to)
    const link = app.graph.links.get(target.inputs.find(slot => slot.name === input)?.link)
    return !!link && String(link.origin_id) === from
        && app.graph.getNodeById(from).outputs[link.origin_slot].name === output
}"""

HAS_VALUE = """([id, name, value]) =>
    app.graph.getNodeById(id).widgets.find(widget => widget.name === name).value === value"""

CORNER = """id => {
    const grip = document.querySelector(`[data-node-id="${id}"] [data-corner=SE]`)?.getBoundingClientRect()
    if (grip) return [grip.x + grip.width / 2, grip.y + grip.height / 2]
    const node = app.graph.getNodeById(id), {canvas, ds} = app.canvas, page = canvas.getBoundingClientRect()
    const x = node.pos[0] + node.size[0] - 4, y = node.pos[1] + node.size[1] - 4
    return [page.x + (x + ds.offset[0]) * ds.scale, page.y + (y + ds.offset[1]) * ds.scale]
}"""

LISTEN = """kinds => {
    window.ended = null
    for (const kind of kinds)
        app.api.addEventListener(kind, event => { window.ended = [kind, event.detail] }, {once: true})
}"""

ENDED = """() => window.ended
    ?? (Object.keys(app.lastNodeErrors ?? {}).length ? ['refused', app.lastNodeErrors] : null)"""

IDS = "() => app.graph.nodes.map(node => String(node.id))"
DROPPED = "() => app.graph.nodes.every(node => !node.flags.ghost)"
IS_NODES2 = "() => app.extensionManager.setting.get('Comfy.VueNodes.Enabled')"


def zoom_out(page: Page, below: float, at: Point) -> None:
    """Turn the wheel over a point until the graph is drawn at less than this scale."""
    page.mouse.move(*at)
    while page.evaluate("() => app.canvas.ds.scale") >= below:
        before = page.evaluate("() => app.canvas.ds.scale")
        page.mouse.wheel(0, 100)
        page.wait_for_function("before => app.canvas.ds.scale < before", arg=before)
    graph_page.settle(page)


def search(page: Page, title: str, empty: Point) -> Locator:
    """Double-click an empty place and type a node's title; what is found then, without anything chosen."""
    from playwright.sync_api import TimeoutError as NotThere

    box = page.get_by_placeholder(SEARCH)
    for _ in range(TRIES):
        page.mouse.dblclick(*empty)
        try:
            box.wait_for(timeout=3_000)
            break
        except NotThere:
            continue
    box.press_sequentially(title)
    found = page.get_by_test_id("result-item").filter(has=page.get_by_text(title, exact=True)).first
    found.wait_for()
    return found


def add_node(page: Page, title: str, at: Point, *, empty: Point) -> str:
    """Find a node by its title and put it where its title bar's middle shall be; its id."""
    before = set(page.evaluate(IDS))
    search(page, title, empty).click()
    page.get_by_placeholder(SEARCH).wait_for(state="hidden")
    page.mouse.move(at[0] + 3, at[1] + 3)
    page.mouse.move(*at)
    graph_page.settle(page)
    page.mouse.click(*at)
    page.wait_for_function(DROPPED)
    (node_id,) = set(page.evaluate(IDS)) - before
    graph_page.settle(page)
    return str(node_id)


def drag(page: Page, start: Point, end: Point) -> None:
    """Drag with the left button."""
    page.mouse.move(*start)
    graph_page.settle(page)
    page.mouse.down()
    page.mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, steps=4)
    page.mouse.move(*end, steps=4)
    graph_page.settle(page)
    page.mouse.up()
    graph_page.settle(page)


def slot(page: Page, node_id: str, side: str, name: str) -> Point:
    """Where a socket is; `side` is "inputs" or "outputs"."""
    found = page.evaluate(SLOT, [node_id, side, name])
    assert found, f"node {node_id} has no {name} among its {side}"
    return tuple(found)


def link(page: Page, origin: tuple[str, str], target: tuple[str, str]) -> None:
    """Drag from an output to an input, each as (node id, name)."""
    drag(page, slot(page, origin[0], "outputs", origin[1]), slot(page, target[0], "inputs", target[1]))
    page.wait_for_function(IS_LINKED, arg=[*origin, *target])


def widget(page: Page, node_id: str, name: str) -> Point:
    """The middle of a widget, or of the field in it."""
    found = page.evaluate(WIDGET, [node_id, name])
    assert found, f"node {node_id} has no widget {name}"
    return tuple(found)


def choose(page: Page, node_id: str, name: str, value: str) -> None:
    """Open a list by a click and choose from it."""
    page.mouse.click(*widget(page, node_id, name))
    if page.evaluate(IS_NODES2):
        page.get_by_role("option", name=value, exact=True).click()
    else:
        page.locator(".litecontextmenu .litemenu-entry", has_text=value).first.click()
    page.wait_for_function(HAS_VALUE, arg=[node_id, name, value])
    graph_page.settle(page)


def enter(page: Page, node_id: str, name: str, value: str | float) -> None:
    """Click a number or a short text, and type another."""
    page.mouse.click(*widget(page, node_id, name))
    if not page.evaluate(IS_NODES2):
        page.locator(".graphdialog input").wait_for()
    page.keyboard.press("Control+a")
    page.keyboard.type(str(value))
    page.keyboard.press("Enter")
    page.wait_for_function(HAS_VALUE, arg=[node_id, name, value])
    graph_page.settle(page)


def type_text(page: Page, node_id: str, name: str, text: str) -> None:
    """Click a text field, and type in the place of what stands there."""
    page.mouse.click(*widget(page, node_id, name))
    page.keyboard.press("Control+a")
    page.keyboard.type(text)
    page.wait_for_function(HAS_VALUE, arg=[node_id, name, text])
    graph_page.settle(page)


def grow(page: Page, node_id: str, by: Point) -> None:
    """Drag the lower right corner of a node."""
    corner = page.evaluate(CORNER, node_id)
    drag(page, corner, (corner[0] + by[0], corner[1] + by[1]))


def show_advanced(page: Page, node_id: str) -> None:
    """Show all inputs of a node; the classic canvas always does."""
    if page.evaluate(IS_NODES2):
        page.locator(f'[data-node-id="{node_id}"]').get_by_test_id("advanced-inputs-button").click()
        graph_page.settle(page)


def press_run(page: Page, *, timeout: float = 120_000) -> tuple[str, Any]:
    """Press Run and wait for the end; what came of it as in `graph_page.run`."""
    page.evaluate(LISTEN, graph_page.ENDS)
    page.get_by_test_id("queue-button").click()
    kind, detail = page.wait_for_function(ENDED, timeout=timeout).json_value()
    graph_page.settle(page)
    return kind, detail


def choose_files(page: Page, opener: Locator, files: Sequence[Path]) -> None:
    """Press what opens the file dialog, and choose files there."""
    with page.expect_file_chooser() as caught:
        opener.click()
    caught.value.set_files(files)
