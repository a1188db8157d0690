"""Names in the prompt of MAGREF Bind Subjects: completed, highlighted, checked, undone and saved."""

import json

import pytest

from scripts import graph_page
from tests.browser import prompt_page as writing

TWINS = ({"file": "cat.png", "name": "puppet"}, {"file": "coffee.png", "name": "puppet-2"})
KNOWN = [("known", "@girl"), ("known", '@"red mug"'), ("known", "@кот")]


@pytest.fixture
def box(page):
    return writing.open_prompt(page, writing.graph())


def node_count(page):
    return page.evaluate("() => app.graph.nodes.length")


def test_an_at_sign_offers_every_name_with_its_picture_and_kind(page, box):
    box.press_sequentially("see @")
    writing.wait_for_list(page, "girl", "red mug", "кот")
    assert writing.names(page).evaluate_all("all => all.map(one => one.getAttribute('aria-label'))") == [
        "girl, person, as woman",
        "red mug, object",
        "кот, object",
    ]
    for picture in writing.names(page).locator("img").all():
        page.wait_for_function("one => one.complete && one.naturalWidth > 0", arg=picture.element_handle())
    box.press("Escape")
    writing.wait_for_list(page)
    assert writing.value(page) == "see @"


def test_the_keyboard_chooses_and_writes_a_name(page, box):
    box.press_sequentially("the @")
    writing.wait_for_list(page, "girl", "red mug", "кот")
    box.press("ArrowDown")
    box.press("Enter")
    writing.wait_for_list(page)
    box.press_sequentially("of @gi")
    writing.wait_for_list(page, "girl")
    box.press("Tab")
    box.press_sequentially("and @")
    writing.wait_for_list(page, "кот", "girl", "red mug")
    box.press("ArrowUp")
    box.press("ArrowUp")
    box.press("ArrowUp")
    box.press("Enter")
    assert box.evaluate("box => document.activeElement === box")
    assert writing.value(page) == 'the @"red mug" of @girl and @кот '
    writing.wait_for_chips(page, ("known", "@girl"), ("known", "@red mug"), ("known", "@кот"))


def test_the_mouse_chooses_a_name_and_the_box_keeps_the_focus(page, box):
    box.press_sequentially("look, @")
    writing.names(page).first.wait_for()
    box.press_sequentially("r")
    writing.wait_for_list(page, "red mug", "girl")
    writing.names(page).nth(1).click()
    writing.wait_for_list(page)
    assert box.evaluate("box => document.activeElement === box")
    box.press_sequentially("here")
    assert writing.value(page) == "look, @girl here"


def test_a_name_in_another_script_is_completed_and_an_address_is_left_alone(page, box):
    box.press_sequentially("me@g")
    writing.wait_for_list(page)
    box.fill("")
    box.press_sequentially("и @к")
    writing.wait_for_list(page, "кот")
    box.press("Enter")
    assert writing.value(page) == "и @кот "


def test_enter_and_tab_are_the_texts_behind_a_whole_name_until_another_is_chosen(page):
    box = writing.open_prompt(page, writing.graph(TWINS))
    box.press_sequentially("a @puppet")
    writing.wait_for_list(page, "puppet", "puppet-2")
    assert box.get_attribute("aria-activedescendant") is None
    box.press("Enter")
    writing.wait_for_list(page)
    box.press_sequentially("@puppet.")
    writing.wait_for_list(page)
    box.press("Enter")
    assert writing.value(page) == "a @puppet\n@puppet.\n"
    box.press_sequentially("@puppet ")
    writing.wait_for_list(page, "puppet-2")
    box.press("ArrowUp")
    box.press("Tab")
    assert writing.value(page) == "a @puppet\n@puppet.\n@puppet-2 "


@pytest.mark.parametrize("before", ["", "the first line\n"])
def test_the_list_stays_where_it_is_when_the_name_becomes_a_mention(page, before):
    box = writing.open_prompt(page, writing.graph(TWINS))
    box.press_sequentially(f"{before}@puppe")
    writing.wait_for_list(page, "puppet", "puppet-2")
    place = page.get_by_role("listbox").bounding_box()
    box.press_sequentially("t")
    page.wait_for_function(f"() => ({writing.MARKS})().length === 1")
    assert page.get_by_role("listbox").bounding_box() == place
    assert place["y"] > box.bounding_box()["y"]


def test_the_browser_undoes_a_completion(page, box):
    box.press_sequentially("the @gi")
    writing.wait_for_list(page, "girl")
    box.press("Enter")
    assert writing.value(page) == "the @girl "
    box.press("Control+z")
    page.wait_for_function("box => box.value === 'the @gi'", arg=box.element_handle())
    assert writing.value(page) == "the @gi"
    box.press("Control+Shift+z")
    page.wait_for_function("box => box.value === 'the @girl '", arg=box.element_handle())
    assert writing.value(page) == "the @girl "


def test_delete_edits_the_text_and_never_the_graph(page, box):
    box.press_sequentially("@g!")
    box.press("ArrowLeft")
    box.press_sequentially("i")
    writing.wait_for_list(page, "girl")
    box.press("Delete")
    box.press("Backspace")
    assert box.input_value() == "@g"
    assert node_count(page) == 2
    writing.chip(page, "unused").first.focus()
    page.keyboard.press("Delete")
    page.keyboard.press("Backspace")
    assert node_count(page) == 2


@pytest.mark.parametrize("how", ["blur", "zoom", "pan", "caret"])
def test_the_list_closes_when_the_box_is_left_or_moved(page, box, how):
    box.press_sequentially("the @")
    writing.wait_for_list(page, "girl", "red mug", "кот")
    if how == "blur":
        box.evaluate("box => box.blur()")
    elif how == "zoom":
        page.evaluate("() => { app.canvas.ds.changeScale(1.3); app.canvas.setDirty(true, true) }")
    elif how == "pan":
        page.evaluate("() => { app.canvas.ds.offset[0] += 90; app.canvas.setDirty(true, true) }")
    else:
        box.press("Home")
    writing.wait_for_list(page)


def test_screen_readers_are_told_of_the_list_and_of_the_choice(page, box):
    attributes = """box => ['role', 'aria-expanded', 'aria-controls', 'aria-activedescendant']
        .map(name => box.getAttribute(name))"""
    assert box.evaluate(attributes) == [None] * 4
    box.press_sequentially("@")
    writing.wait_for_list(page, "girl", "red mug", "кот")
    box.press("ArrowDown")
    role, expanded, controls, active = box.evaluate(attributes)
    assert (role, expanded) == ("combobox", "true")
    assert page.locator(f"#{controls}").get_attribute("role") == "listbox"
    chosen = page.locator(f"#{active}")
    assert chosen.get_attribute("aria-selected") == "true"
    assert chosen.inner_text().startswith("red mug")
    box.press("Escape")
    assert box.evaluate(attributes) == [None] * 4


def test_mentions_are_highlighted_where_they_stand_and_checked(page):
    prompt = '@girl lifts @"red mug", the @кот and @gril see @ and me@mail.com'
    box = writing.open_prompt(page, writing.graph(prompt=prompt))
    writing.wait_for_chips(
        page,
        ("unknown", "@gril → @girl"),
        ("nameless", "@?"),
        ("known", "@girl"),
        ("known", "@red mug"),
        ("known", "@кот"),
    )
    assert writing.marks(page) == [*KNOWN, ("unknown", "@gril"), ("nameless", "@")]
    # The mark lies on the letters: a double click in its middle takes its word.
    x, y, width, height = page.evaluate(writing.UNDER_THE_MARK, "unknown")
    page.mouse.dblclick(x + width / 2, y + height / 2)
    assert box.evaluate("box => box.value.slice(box.selectionStart, box.selectionEnd).trim()") == "gril"


def test_a_name_that_was_probably_meant_is_written_when_its_chip_is_pressed(page):
    writing.open_prompt(page, writing.graph(prompt="the @rde_mug stands"))
    chip = writing.chip(page, "unknown")
    assert chip.get_attribute("title") == 'No reference is called rde_mug. Press to write @"red mug".'
    chip.click()
    assert writing.value(page) == 'the @"red mug" stands'
    writing.wait_for_chips(page, ("unused", "girl"), ("known", "@red mug"), ("unused", "кот"))
    writing.chip(page, "unused").last.click()
    assert writing.value(page) == 'the @"red mug" stands @кот'


def test_a_mention_is_written_before_a_comment_that_ends_the_prompt(page):
    writing.open_prompt(page, writing.graph(writing.CAST[:1], prompt="she waves // or runs"))
    writing.chip(page, "unused").click()
    writing.wait_for_chips(page, ("known", "@girl"))
    assert writing.value(page).rstrip() == "she waves @girl"
    assert writing.box(page).input_value() == "she waves @girl // or runs"


def test_the_line_of_a_prompt_that_comes_over_a_link_only_speaks(page):
    workflow = writing.graph(prompt=["3", 0])
    workflow["3"] = {"class_type": "PrimitiveStringMultiline", "inputs": {"value": "@gril takes a red mug"}}
    graph_page.show_workflow(page, workflow)
    graph_page.look_at(page, graph_page.node_area(page, writing.BINDER_ID))
    writing.wait_for_chips(
        page, ("unknown", "@gril → @girl"), ("unused", "girl"), ("word", "red mug"), ("unused", "кот")
    )
    assert page.locator(".magref-chips button").filter(visible=True).count() == 0
    assert writing.chip(page, "unknown").get_attribute("title") == (
        "No reference is called gril. Write @girl where the prompt comes from."
    )
    assert "Press" not in writing.chip(page, "unused").first.get_attribute("title")


def test_checks_follow_the_gallery_and_count_plain_words(page):
    writing.open_prompt(page, writing.graph(prompt="a woman and @girl, @girl"))
    writing.wait_for_chips(page, ("known", "@girl \u00d72"), ("unused", "red mug"), ("unused", "кот"))
    cast = [{"file": "cat.png", "name": "ann", "word": "woman"}, {"file": "coffee.png", "name": "woman"}]
    writing.set_widget(page, writing.LOADER_ID, "references", json.dumps(cast))
    writing.wait_for_chips(page, ("unknown", "@girl"), ("twofold", "woman"), ("word", "ann"))
    cast[1]["off"] = True
    writing.set_widget(page, writing.LOADER_ID, "references", json.dumps(cast))
    writing.wait_for_chips(page, ("unknown", "@girl"), ("word", "ann"))
    cast[1] = {"file": "coffee.png", "name": "gi_rl"}
    cast.append({"file": "coffee.png", "name": "gi-rl"})
    writing.set_widget(page, writing.LOADER_ID, "references", json.dumps(cast))
    writing.set_widget(page, writing.BINDER_ID, "prompt", "@gi rl")
    writing.wait_for_chips(page, ("ambiguous", "@gi rl"), ("unused", "ann"))


def test_names_come_through_the_nodes_between_and_a_foreign_node_says_nothing(page):
    workflow = writing.graph(prompt="@girl and @nobody")
    chain = [
        ("3", "MagrefAutoMaskSubject"),
        ("4", "MagrefDecorrelateReferences"),
        ("5", "MagrefBuildMaskedCanvas"),
    ]
    before = writing.LOADER_ID
    for node_id, kind in chain:
        workflow[node_id] = {"class_type": kind, "inputs": {"references": [before, 0]}}
        before = node_id
    workflow[writing.BINDER_ID]["inputs"]["references"] = [before, 0]
    writing.open_prompt(page, workflow)
    found = [("unknown", "@nobody"), ("known", "@girl"), ("unused", "red mug"), ("unused", "кот")]
    writing.wait_for_chips(page, *found)
    page.evaluate("id => app.graph.getNodeById(id).disconnectInput('references')", "3")
    writing.wait_for_chips(page)
    assert writing.marks(page) == []
    box = writing.box(page)
    box.press("Control+End")
    box.press_sequentially(" @")
    writing.wait_for_list(page)


def test_what_was_completed_is_there_after_saving_and_loading(page, box):
    box.press_sequentially("@gi")
    writing.wait_for_list(page, "girl")
    box.press("Enter")
    box.press_sequentially("waves")
    saved = page.evaluate("async () => (await app.graphToPrompt()).workflow")
    (node,) = (one for one in saved["nodes"] if one["type"] == "MagrefBindSubjects")
    assert node["widgets_values"] == ["@girl waves"]
    graph_page.show_workflow(page, graph_page.BLANK)
    graph_page.show_workflow(page, saved)
    assert writing.look_at_prompt(page).input_value() == "@girl waves"
    assert writing.value(page) == "@girl waves"
    writing.wait_for_chips(page, ("known", "@girl"), ("unused", "red mug"), ("unused", "кот"))
    assert "magref_names" not in graph_page.to_prompt(page)[writing.BINDER_ID]["inputs"]


def test_the_graphs_undo_brings_a_prompt_back_and_it_is_watched_again(page, box):
    box.press_sequentially("@gi")
    writing.wait_for_list(page, "girl")
    box.press("Enter")
    box.evaluate("box => box.blur()")
    page.evaluate("() => app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState()")
    page.evaluate("id => app.graph.remove(app.graph.getNodeById(id))", writing.BINDER_ID)
    page.evaluate("() => app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState()")
    page.evaluate("() => app.extensionManager.command.execute('Comfy.Undo')")
    page.wait_for_function("() => app.graph.nodes.length === 2")
    box = writing.look_at_prompt(page)
    assert box.input_value() == "@girl "
    writing.wait_for_chips(page, ("known", "@girl"), ("unused", "red mug"), ("unused", "кот"))
    box.press("Control+End")
    box.press_sequentially("@к")
    writing.wait_for_list(page, "кот")


INTO_SUBGRAPH = """([id, isPromoted]) => {
    const {subgraph, node: host} = app.graph.convertToSubgraph(new Set([app.graph.getNodeById(id)]))
    const node = subgraph.nodes[0]
    if (isPromoted) {
        const slot = node.inputs.find(input => input.name === 'prompt')
        subgraph.addInput('prompt', String(slot.type)).connect(slot, node)
    } else {
        app.canvas.setGraph(subgraph)
    }
    const [x, y] = (isPromoted ? host : node).pos
    app.canvas.ds.scale = 1
    app.canvas.ds.offset = [400 - x, 300 - y]
}"""


@pytest.mark.parametrize("is_promoted", [False, True])
def test_names_are_completed_within_a_subgraph_and_where_the_prompt_is_promoted(page, box, is_promoted):
    page.evaluate(INTO_SUBGRAPH, [writing.BINDER_ID, is_promoted])
    graph_page.settle(page)
    try:
        box = writing.box(page)
        box.press_sequentially("the @gi")
        writing.wait_for_list(page, "girl")
        box.press("Enter")
        box.press_sequentially("and @nobody ")
        page.wait_for_function(f"() => ({writing.MARKS})().length === 2")
        assert writing.marks(page) == [("known", "@girl"), ("unknown", "@nobody")]
        (inputs,) = (
            node["inputs"]
            for node in graph_page.to_prompt(page).values()
            if node["class_type"] == "MagrefBindSubjects"
        )
        assert inputs["prompt"] == "the @girl and @nobody "
    finally:
        page.evaluate("() => app.canvas.setGraph(app.rootGraph ?? app.graph)")
