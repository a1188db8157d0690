"""The page in Chinese: nodes, gallery and editor speak it."""

from __future__ import annotations

import json

import pytest

from scripts import ROOT, graph_page
from tests.browser import editor_page as editing
from tests.browser import prompt_page as writing
from tests.browser.conftest import TIMEOUT

NODES = json.loads((ROOT / "locales" / "zh" / "nodeDefs.json").read_text(encoding="utf-8"))
WORDS = json.loads((ROOT / "locales" / "zh" / "main.json").read_text(encoding="utf-8"))["magref"]

TITLES = "() => app.graph.nodes.map(node => node.title)"
LABELS = """id => app.graph.getNodeById(id).widgets.filter(widget => widget.label)
    .map(widget => [widget.name, widget.label])"""


@pytest.fixture
def chinese(page, server):
    """A page of its own in Chinese, drawn in the same way as the shared one."""
    context = page.context.browser.new_context(viewport={"width": 1600, "height": 1000}, locale="zh-CN")
    other = context.new_page()
    other.set_default_timeout(TIMEOUT)
    is_nodes2 = page.evaluate("() => Boolean(LiteGraph.vueNodesMode)")
    graph_page.open_graph(other, server.url, nodes2=is_nodes2, language="zh")
    yield other
    context.close()
    server.client().post_json("/api/settings", {"Comfy.Locale": "en"})


def test_nodes_gallery_and_editor_speak_chinese(chinese):
    workflow = editing.graph()
    del workflow["3"]
    editor = editing.open_editor(chinese, workflow, subjects=3)
    wanted = {NODES[node]["display_name"] for node in ("MagrefLoadReferences", "MagrefBuildMaskedCanvas")}
    assert set(chinese.evaluate(TITLES)) == wanted
    labels = dict(chinese.evaluate(LABELS, editing.CANVAS_ID))
    assert labels["width"] == NODES["MagrefBuildMaskedCanvas"]["inputs"]["width"]["name"]
    assert editor.locator("[data-action=undo]").inner_text() == WORDS["editor"]["undo"]
    editor.locator(".magref-editor-numbers").get_by_text(
        WORDS["editor"]["tokens"]
    ).wait_for()  # once measured
    graph_page.look_at(chinese, graph_page.node_area(chinese, editing.LOADER_ID))
    gallery = chinese.get_by_test_id("magref-gallery").filter(visible=True)
    gallery.get_by_role("button", name=WORDS["gallery"]["add"]).wait_for()
    assert gallery.get_by_text(WORDS["gallery"]["cutOut"]).count() >= 1


def test_a_sentence_of_the_page_is_in_chinese_with_its_values(chinese):
    editor = editing.open_editor(chinese, editing.graph(placements="{"))
    editing.wait_for_status(chinese, "placements are not JSON")  # the server's words
    editing.set_widget(chinese, "placements", "")
    editing.set_widget(chinese, "references", "[]", editing.LOADER_ID)
    editing.wait_for_status(chinese, WORDS["editor"]["emptyList"])
    assert editor.locator("[data-action=fit]").is_disabled()


def test_the_prompt_says_in_chinese_who_is_named(chinese):
    writing.open_prompt(chinese, writing.graph(prompt="@nobody"))
    sentence = WORDS["prompt"]["unknown"].replace("{name}", "nobody")
    chinese.locator(f".magref-chip[title='{sentence}']").wait_for()
    box = writing.box(chinese)
    box.press("Control+End")
    box.press_sequentially(" @")
    chinese.get_by_role("listbox", name=WORDS["prompt"]["names"]).wait_for()
    assert WORDS["prompt"]["person"] in writing.names(chinese).first.inner_text()
