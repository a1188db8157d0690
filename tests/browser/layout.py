"""What a person would see at a glance: red nodes, and nodes that cover each other."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

from playwright.sync_api import Page

from scripts import graph_page
from scripts.host_server import PACK_NAME

RED_NODES = """() => app.graph.nodes.filter(node => {
    const isUnknown = !LiteGraph.registered_node_types[node.type]
    const isStale = (node.widgets ?? []).some(widget => {
        const values = widget.type === 'combo' && widget.options?.values
        return Array.isArray(values) && !values.includes(widget.value)
    })
    return isUnknown || isStale || node.has_errors
}).map(node => node.type)"""

BOXES = """() => {
    const canvas = app.canvas.canvas.getBoundingClientRect(), {scale, offset} = app.canvas.ds
    return app.graph.nodes.map(node => {
        const shown = document.querySelector(`[data-node-id="${node.id}"]`)?.getBoundingClientRect()
        const area = new Float32Array(4); node.getBounding(area)
        if (!shown) return [node.title, ...area]
        const [x, y] = [(shown.x - canvas.x) / scale - offset[0], (shown.y - canvas.y) / scale - offset[1]]
        return [node.title, x, y, shown.width / scale, shown.height / scale]
    })
}"""

GROUPS = "() => app.graph.groups.map(group => [group.title, ...group.pos, ...group.size])"


class Box(NamedTuple):
    """A titled rectangle in units of the graph."""

    title: str
    x: float
    y: float
    width: float
    height: float

    def covers(self, other: Box) -> bool:
        """Whether the two have a point in common, but for a hairline."""
        return (
            self.x + 1 < other.x + other.width
            and other.x + 1 < self.x + self.width
            and self.y + 1 < other.y + other.height
            and other.y + 1 < self.y + self.height
        )

    def holds(self, other: Box) -> bool:
        """Whether the other lies inside."""
        return (
            self.x <= other.x
            and self.y <= other.y
            and other.x + other.width <= self.x + self.width
            and other.y + other.height <= self.y + self.height
        )


def node_boxes(page: Page) -> list[Box]:
    """All nodes as they are drawn, with their titles."""
    return [Box(*box) for box in page.evaluate(BOXES)]


def overlaps(page: Page) -> list[tuple[str, str]]:
    """Pairs of nodes of which one covers a part of the other."""
    return [(one.title, other.title) for one, other in combinations(node_boxes(page), 2) if one.covers(other)]


def outside(page: Page) -> list[str]:
    """Nodes that lie inside no group."""
    groups = [Box(*box) for box in page.evaluate(GROUPS)]
    return [node.title for node in node_boxes(page) if not any(group.holds(node) for group in groups)]


def browse_templates(page: Page) -> None:
    """Open the template browser at the workflows of the pack."""
    page.evaluate("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    page.get_by_role("dialog").get_by_text(PACK_NAME, exact=True).click()


def open_template(page: Page, name: str) -> None:
    """Open a workflow of the pack from the template browser, as a person does."""
    browse_templates(page)
    page.get_by_test_id(f"template-workflow-{name}").click()
    page.wait_for_function(
        "name => app.extensionManager.workflow.activeWorkflow?.filename.startsWith(name)", arg=name
    )
    page.wait_for_function("() => app.graph.nodes.length > 0")
    graph_page.settle(page)
