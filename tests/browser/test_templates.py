import json

import pytest

from scripts import ROOT, graph_page
from scripts.workflow_specs import WORKFLOWS
from scripts.workflow_specs.files import CLIP_VISION
from tests.browser.layout import RED_NODES, browse_templates, open_template, outside, overlaps

NAMES = [workflow.name for workflow in WORKFLOWS]


@pytest.fixture(scope="module", params=NAMES)
def name(request, open_page):
    """A workflow's name; it has been opened from the template browser."""
    open_template(open_page, request.param)
    return request.param


def test_no_node_is_red(page, name):
    assert page.evaluate(RED_NODES) == []
    assert page.get_by_test_id("error-overlay").count() == 0


def test_the_graph_converts_to_exactly_the_api_twin(page, name):
    twin = json.loads((ROOT / "workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))
    assert graph_page.to_prompt(page) == twin


def test_every_node_lies_in_its_group_and_covers_no_other(page, name):
    assert overlaps(page) == []
    assert outside(page) == []


def test_the_template_browser_shows_every_thumbnail(page):
    browse_templates(page)
    widths = {}
    for name in NAMES:
        picture = graph_page.find_template(page, name).locator("img").first
        picture.wait_for()
        page.wait_for_function("img => img.complete", arg=picture.element_handle())
        widths[name] = picture.evaluate("img => img.naturalWidth")
    assert widths == dict.fromkeys(NAMES, 512)
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")


def test_where_weights_are_missing_the_page_offers_to_download_them(page, server):
    file = server.base / "models" / CLIP_VISION.folder / CLIP_VISION.name
    aside = file.with_suffix(".aside")
    file.rename(aside)
    try:
        page.evaluate("() => app.refreshComboInNodes()")
        open_template(page, NAMES[0])
        page.wait_for_function(f"() => ({RED_NODES})().join() === 'CLIPVisionLoader'")
        page.get_by_test_id("error-overlay-see-errors").click()
        panel = page.locator("div", has=page.get_by_text(CLIP_VISION.name)).last
        panel.wait_for()
        assert page.get_by_role("button", name="Download").count() >= 1
    finally:
        aside.rename(file)
        page.evaluate("() => app.refreshComboInNodes()")
