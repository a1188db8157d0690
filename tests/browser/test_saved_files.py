"""A saved video or picture, dropped on the page, brings back the graph that made it."""

import json
from pathlib import Path

import pytest

from scripts import graph_hands, graph_page
from tests.browser import gallery_page
from tests.browser.layout import RED_NODES, open_template

PLACEMENTS = json.dumps(
    {
        "version": 1,
        "placements": [
            {"reference": "robot", "x": 4, "y": 6, "width": 30, "height": 52},
            {"reference": "fox", "x": 60, "y": 20, "width": 28, "height": 40},
            {"reference": "beach", "x": 36, "y": 2, "width": 20, "height": 14},
        ],
    }
)
SETTINGS = {
    "MagrefBuildMaskedCanvas": {"order": "reading", "layout_seed": 42, "placements": PLACEMENTS},
    "MagrefApplyMaskedGuidance": {"length": 9},
    "MagrefBestOf": {"seed": 123456789, "count": 2, "draft_steps": 1, "steps": 2, "num_frames": 2},
    "MagrefSubjectReport": {"num_frames": 2},
}
SET = """settings => {
    for (const node of app.graph.nodes) for (const widget of node.widgets ?? [])
        if (widget.name in (settings[node.type] ?? {})) {
            widget.value = settings[node.type][widget.name]
            widget.callback?.(widget.value)
        }
}"""
GRAPH = """() => {
    const graph = app.graph.serialize()
    const nodes = graph.nodes.map(node => [node.id, node.type, node.widgets_values ?? []])
    return {nodes: nodes.sort((a, b) => a[0] - b[0]), links: graph.links.map(link => link.slice(1, 5)).sort()}
}"""
KEEP_SEEDS = """() => {
    for (const node of app.graph.nodes) for (const widget of node.widgets ?? [])
        if (widget.name === 'control_after_generate') widget.value = 'fixed'
}"""
DROP = """transfer => app.canvas.canvas.dispatchEvent(
    new DragEvent('drop', {dataTransfer: transfer, bubbles: true, cancelable: true}))"""


def newest(folder: Path, pattern: str) -> Path:
    return max(folder.rglob(pattern), key=lambda file: file.stat().st_mtime)


@pytest.fixture(scope="module")
def saved(open_page, server):
    """The graph as it was run, its prompt, and the files that it wrote."""
    page = open_page
    open_template(page, "magref_best_of")
    page.evaluate(SET, SETTINGS)
    page.evaluate(KEEP_SEEDS)
    graph_page.settle(page)
    graph, prompt = page.evaluate(GRAPH), graph_page.to_prompt(page)
    kind, report = graph_hands.press_run(page)
    assert kind == "execution_success", report
    output = server.base / "output"
    files = {"mp4": newest(output, "magref_best_of*.mp4"), "png": newest(output, "magref_report*.png")}
    return graph, prompt, files


@pytest.mark.parametrize(("kind", "type_name"), [("mp4", "video/mp4"), ("png", "image/png")])
def test_a_dropped_file_restores_layout_seeds_and_settings(page, saved, kind, type_name):
    graph, prompt, files = saved
    graph_page.show_workflow(page, graph_page.BLANK)
    assert page.evaluate("() => app.graph.nodes.length") == 0
    page.evaluate(DROP, gallery_page.transfer(page, [files[kind]], kind=type_name))
    page.wait_for_function("count => app.graph.nodes.length === count", arg=len(graph["nodes"]))
    graph_page.settle(page)
    assert page.evaluate(GRAPH) == graph
    assert page.evaluate(RED_NODES) == []
    assert graph_page.to_prompt(page) == prompt
    set_again = {node["class_type"]: node["inputs"] for node in prompt.values()}
    for node_type, values in SETTINGS.items():
        assert {name: set_again[node_type][name] for name in values} == values
