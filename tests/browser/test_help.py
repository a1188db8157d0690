from dataclasses import replace

import pytest
from playwright.sync_api import TimeoutError as WaitedTooLong

from scripts import graph_page

NODE = "MagrefBuildMaskedCanvas"

ADD = """type => {
    const node = LiteGraph.createNode(type)
    app.graph.add(node)
    return String(node.id)
}"""


def select(page, node_id):
    """Click on a node's title; the page may not yet listen to the first click."""
    button = page.get_by_test_id("selection-toolbox").get_by_test_id("info-button")
    for _ in range(5):
        graph_page.settle(page)
        title = replace(graph_page.node_area(page, node_id), height=24)  # a node may be taller than the page
        area = graph_page.look_at(page, title)
        page.mouse.click(area.x + area.width / 2, area.y + 12)
        try:
            button.wait_for(timeout=3000)
            return button
        except WaitedTooLong:
            continue
    pytest.fail("the node could not be selected")


def test_the_help_page_of_a_node_opens_with_its_picture(page):
    graph_page.show_workflow(page, graph_page.BLANK)
    select(page, page.evaluate(ADD, NODE)).click()
    page.get_by_role("heading", name="MAGREF Build Masked Canvas", level=1).wait_for()
    for section in ("Inputs", "Outputs", "When it fails"):
        assert page.get_by_role("heading", name=section).count() >= 1
    picture = page.locator(f"img[src*='{NODE}.png']").first
    picture.wait_for()
    page.wait_for_function("img => img.complete && img.naturalWidth > 0", arg=picture.element_handle())
