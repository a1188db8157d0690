"""ComfyUI's graph in a browser, driven through Playwright: opened, filled, run and measured.

Screenshots and browser tests use it; every function takes Playwright's `Page`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scripts.comfy_client import ComfyClient

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

BLANK: dict[str, Any] = {
    "last_node_id": 0,
    "last_link_id": 0,
    "nodes": [],
    "links": [],
    "groups": [],
    "config": {},
    "extra": {},
    "version": 0.4,
}

SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Minimap.Visible": False,
    "Comfy.Graph.CanvasInfo": False,
    "Comfy.Graph.CanvasMenu": False,
    "LiteGraph.Canvas.MinFontSizeForLOD": 0,
}

READY = """() => !!window.app?.extensionManager && !!window.app?.canvas
    && Object.keys(LiteGraph.registered_node_types).length > 0"""

ENDS = ["execution_success", "execution_error", "execution_interrupted"]

RUN = """async ([ends, ids]) => {
    const ended = new Promise(resolve => {
        for (const kind of ends)
            app.api.addEventListener(kind, event => resolve([kind, event.detail]), {once: true})
    })
    const queued = await app.queuePrompt(0, 1, ids ?? undefined)
    return queued === false ? ['refused', app.lastNodeErrors] : await ended
}"""

RUN_PROMPT = """async ([ends, output]) => {
    const ended = new Promise(resolve => {
        for (const kind of ends)
            app.api.addEventListener(kind, event => resolve([kind, event.detail]), {once: true})
    })
    const convert = app.graphToPrompt
    app.graphToPrompt = async (...given) => ({...await convert.apply(app, given), output})
    try {
        if (await app.queuePrompt(0, 1) === false) return ['refused', app.lastNodeErrors]
    } finally {
        app.graphToPrompt = convert
    }
    return await ended
}"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Area:
    """A rectangle, in units of the graph or in CSS pixels of the page."""

    x: float
    y: float
    width: float
    height: float

    def grown(self, margin: float) -> Area:
        """The same with a margin on each side."""
        return Area(
            x=self.x - margin,
            y=self.y - margin,
            width=self.width + 2 * margin,
            height=self.height + 2 * margin,
        )


def open_graph(page: Page, url: str, *, nodes2: bool = False, language: str = "en") -> None:
    """Open the server's page with an empty graph.

    Args:
        page: a fresh one.
        url: of the server.
        nodes2: draw with Nodes 2.0 (Vue) instead of the classic canvas. This and the next live on the server.
        language: of the page, such as "zh".
    """
    settings = SETTINGS | {"Comfy.Locale": language, "Comfy.VueNodes.Enabled": nodes2}
    ComfyClient(url).post_json("/api/settings", settings)
    page.goto(url, wait_until="domcontentloaded")  # never networkidle: websocket and polls keep going
    page.wait_for_function(READY)
    page.locator(".p-blockui-mask").first.wait_for(state="hidden")
    show_workflow(page, BLANK)


def show_workflow(page: Page, workflow: dict[str, Any]) -> None:
    """Replace the graph by a workflow in UI format, or in API format, which the browser lays out."""
    if "nodes" in workflow:
        page.evaluate("workflow => app.loadGraphData(workflow, true, true)", workflow)
        count = len(workflow["nodes"])
    else:
        page.evaluate("workflow => app.loadApiJson(workflow, 'workflow')", workflow)
        count = len(workflow)
    page.wait_for_function("count => app.graph.nodes.length === count", arg=count)
    settle(page)


def settle(page: Page) -> None:
    """Wait until what was changed has been drawn."""
    page.evaluate("() => app.canvas.setDirty(true, true)")
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def to_prompt(page: Page) -> dict[str, Any]:
    """The graph in API format, as the browser would queue it."""
    return page.evaluate("async () => (await app.graphToPrompt()).output")


def run(page: Page, node_ids: list[str] | None = None) -> tuple[str, Any]:
    """Queue the graph, or only what the given output nodes need, and wait for its end.

    Returns:
        "execution_success", "execution_error", "execution_interrupted" or "refused", and the report of it.
    """
    kind, detail = page.evaluate(RUN, [ENDS, node_ids])
    settle(page)
    return kind, detail


def run_prompt(page: Page, prompt: dict[str, Any]) -> tuple[str, Any]:
    """Queue a changed copy of the graph in API format, wait for its end, and show what came of it."""
    kind, detail = page.evaluate(RUN_PROMPT, [ENDS, prompt])
    settle(page)
    return kind, detail


def node_ids_of(page: Page, node_type: str) -> list[str]:
    """The ids of all nodes of one type."""
    found = page.evaluate(
        "type => app.graph.nodes.filter(n => n.type === type).map(n => String(n.id))", node_type
    )
    return list(found)


def node_area(page: Page, node_id: str) -> Area:
    """A node with its title, in units of the graph."""
    code = "id => { const a = new Float32Array(4); app.graph.getNodeById(id).getBounding(a); return [...a] }"
    x, y, width, height = page.evaluate(code, node_id)
    return Area(x=x, y=y, width=width, height=height)


def graph_area(page: Page) -> Area:
    """All nodes and groups, in units of the graph."""
    code = """() => {
        const ofNode = node => { const area = new Float32Array(4); node.getBounding(area); return area }
        const areas = [...app.graph.nodes.map(ofNode), ...app.graph.groups.map(group => group.boundingRect)]
        return [Math.min(...areas.map(a => a[0])), Math.min(...areas.map(a => a[1])),
                Math.max(...areas.map(a => a[0] + a[2])), Math.max(...areas.map(a => a[1] + a[3]))]
    }"""
    left, top, right, bottom = page.evaluate(code)
    return Area(x=left, y=top, width=right - left, height=bottom - top)


def look_at(page: Page, area: Area, *, scale: float = 1.0) -> Area:
    """Move the view so that `area` of the graph lies in the middle of the canvas.

    Returns:
        Where it lies then, in CSS pixels of the page.
    """
    code = """([x, y, width, height, scale]) => {
        const canvas = app.canvas.canvas.getBoundingClientRect()
        app.canvas.ds.scale = scale
        app.canvas.ds.offset[0] = canvas.width / scale / 2 - x - width / 2
        app.canvas.ds.offset[1] = canvas.height / scale / 2 - y - height / 2
        return [canvas.left + (x + app.canvas.ds.offset[0]) * scale,
                canvas.top + (y + app.canvas.ds.offset[1]) * scale]
    }"""
    x, y = page.evaluate(code, [area.x, area.y, area.width, area.height, scale])
    settle(page)
    return Area(x=x, y=y, width=area.width * scale, height=area.height * scale)


def hide_panels(page: Page) -> None:
    """Leave nothing on the page but the graph."""
    if not page.evaluate("() => app.extensionManager.focusMode ?? false"):
        page.evaluate("() => app.extensionManager.command.execute('Workspace.ToggleFocusMode')")
    settle(page)


def find_template(page: Page, name: str) -> Locator:
    """The card of a workflow in the open template browser, which draws pictures only where one looks."""
    card = page.get_by_test_id(f"template-workflow-{name}")
    card.scroll_into_view_if_needed()
    return card
