"""The gallery of MAGREF Load References: pictures in, edited, ordered, saved and run."""

import contextlib
import json

import pytest
from playwright.sync_api import TimeoutError

from scripts import demo, graph_page
from tests.browser import gallery_page as seen

PICTURES = [demo.PICTURES / name for name in ("astronaut.png", "cat.png", "coffee.png")]
NAMED_AS_AT_FIRST = "() => document.querySelectorAll('.magref-name')[1]?.value === 'image_1'"
THREE = json.dumps([{"file": file.name} for file in PICTURES])


@pytest.fixture(autouse=True)
def blank(page):
    graph_page.show_workflow(page, graph_page.BLANK)


def files_of(entries):
    return [entry.get("file") for entry in entries]


def test_pictures_chosen_in_the_dialog_become_cards_with_thumbnails(page, server):
    node_id = seen.add_node(page)
    seen.add_files(page, PICTURES)
    seen.wait_for_cards(page, 3)
    assert seen.names(page) == ["astronaut", "cat", "coffee"]
    seen.wait_for_thumbnails(page)
    entries = seen.value(page, node_id)
    assert files_of(entries) == [file.name for file in PICTURES]
    assert all((server.base / "input" / name).is_file() for name in files_of(entries))
    assert seen.prompt_value(page) == entries


def test_pictures_dropped_on_the_gallery_are_added(page):
    node_id = seen.add_node(page)
    carried = seen.transfer(page, PICTURES[:2])
    for kind in ("dragenter", "dragover", "drop"):
        seen.gallery(page).dispatch_event(kind, {"dataTransfer": carried})
    seen.wait_for_cards(page, 2)
    assert files_of(seen.value(page, node_id)) == ["astronaut.png", "cat.png"]
    assert len(page.evaluate("() => app.graph.nodes.map(node => node.type)")) == 1


def test_pictures_dropped_on_the_nodes_title_are_added(page):
    node_id = seen.add_node(page)
    dropped = """async ([id, transfer]) => {
        const node = app.graph.getNodeById(id), event = new DragEvent('drop', {dataTransfer: transfer})
        return [node.onDragOver(event), await node.onDragDrop(event)]
    }"""
    assert page.evaluate(dropped, [node_id, seen.transfer(page, PICTURES[:1])]) == [True, True]
    seen.wait_for_cards(page, 1)


@pytest.mark.parametrize("place", ["card", "node"])
def test_a_pasted_picture_is_added_to_the_gallery_and_makes_no_node(page, place):
    node_id = seen.add_node(page, THREE)
    if place == "card":
        seen.cards(page).first.focus()
    else:
        page.evaluate("id => app.canvas.selectNode(app.graph.getNodeById(id))", node_id)
        page.evaluate("() => document.activeElement.blur()")
    seen.transfer(page, PICTURES[:1]).evaluate(seen.PASTE)
    seen.wait_for_cards(page, 4)
    assert seen.names(page)[-1] == "astronaut-2"
    assert len(page.evaluate("() => app.graph.nodes.map(node => node.type)")) == 1


def test_name_kind_and_switches_go_into_the_value(page):
    node_id = seen.add_node(page, THREE)
    first, second, third = seen.cards(page).all()
    first.locator(".magref-name").fill("woman")
    first.locator(".magref-name").press("Enter")
    first.get_by_label("Kind").select_option("person")
    second.get_by_role("button", name="cut out").click()
    third.get_by_role("checkbox").uncheck()
    assert seen.value(page, node_id) == [
        {"file": "astronaut.png", "name": "woman", "kind": "person"},
        {"file": "cat.png", "name": "cat", "kind": "object", "keep_whole": True},
        {"file": "coffee.png", "name": "coffee", "kind": "object", "off": True},
    ]
    assert seen.prompt_value(page) == seen.value(page, node_id)


def test_several_photos_belong_to_one_subject(page):
    node_id = seen.add_node(page, THREE)
    first = seen.cards(page).first
    seen.choose_files(page, first.get_by_role("button", name="Add photos"), PICTURES[1:])
    page.wait_for_function("() => document.querySelectorAll('.magref-photo').length === 2")
    assert seen.value(page, node_id)[0]["photos"] == ["cat.png", "coffee.png"]
    seen.wait_for_thumbnails(page)
    first.locator(".magref-photo").first.hover()
    first.get_by_role("button", name="Remove photo 2").click()
    assert seen.value(page, node_id)[0]["photos"] == ["coffee.png"]


def test_another_picture_takes_the_place_of_one_and_keeps_its_name(page):
    node_id = seen.add_node(page, json.dumps([{"file": "cat.png", "name": "hero", "kind": "person"}]))
    seen.choose_files(
        page, seen.cards(page).get_by_role("button", name="Choose another picture"), PICTURES[2]
    )
    seen.gallery(page).locator("img[src*='coffee.png']").wait_for()
    assert seen.value(page, node_id) == [{"file": "coffee.png", "name": "hero", "kind": "person"}]


def test_cards_are_ordered_by_dragging(page):
    node_id = seen.add_node(page, THREE)
    page.evaluate("id => app.graph.getNodeById(id).setSize([400, 480])", node_id)
    seen.look_at_node(page, node_id)
    start = seen.cards(page).nth(0).locator(".magref-main").bounding_box()
    end = seen.cards(page).nth(2).bounding_box()
    page.mouse.move(start["x"] + 20, start["y"] + 20)
    page.mouse.down()
    page.mouse.move(end["x"] + 20, end["y"] + end["height"] * 0.5)
    page.mouse.move(end["x"] + 20, end["y"] + end["height"] * 0.9)
    page.mouse.up()
    assert seen.names(page) == ["cat", "coffee", "astronaut"]
    assert files_of(seen.value(page, node_id)) == ["cat.png", "coffee.png", "astronaut.png"]


def test_the_list_scrolls_to_a_card_dragged_to_its_end(page):
    entries = [{"file": "cat.png", "name": f"n{number}"} for number in range(8)]
    seen.add_node(page, json.dumps(entries))
    start = seen.cards(page).first.locator(".magref-main").bounding_box()
    shown = seen.gallery(page).locator(".magref-list").bounding_box()
    page.mouse.move(start["x"] + 20, start["y"] + 20)
    page.mouse.down()
    page.mouse.move(start["x"] + 20, shown["y"] + shown["height"] - 20)
    page.mouse.move(start["x"] + 20, shown["y"] + shown["height"] - 4)
    page.wait_for_function(
        """() => { const l = document.querySelector('.magref-list')
            return l.scrollTop > 0 && l.scrollTop + l.clientHeight >= l.scrollHeight - 1 }"""
    )
    page.mouse.up()
    assert seen.names(page) == [f"n{number}" for number in (1, 2, 3, 4, 5, 6, 7, 0)]


def test_removing_a_photo_by_the_keyboard_leaves_the_focus_on_its_card(page):
    node_id = seen.add_node(page, json.dumps([{"file": "cat.png", "photos": ["coffee.png"]}]))
    seen.cards(page).first.get_by_role("button", name="Remove photo 2").focus()
    page.keyboard.press("Enter")
    assert seen.value(page, node_id) == [{"file": "cat.png", "name": "cat", "kind": "object"}]
    assert page.evaluate("() => document.activeElement.dataset.index") == "0"


def test_everything_can_be_done_by_the_keyboard(page):
    node_id = seen.add_node(page, THREE)
    seen.cards(page).first.focus()
    page.keyboard.press("Shift+ArrowDown")
    assert seen.names(page) == ["cat", "astronaut", "coffee"]
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Delete")
    assert seen.names(page) == ["cat", "astronaut"]
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.keyboard.press("Control+a")
    page.keyboard.type("tom, no")
    page.keyboard.press("Escape")
    assert seen.names(page) == ["cat", "astronaut"]
    page.keyboard.press("Enter")
    page.keyboard.press("Control+a")
    page.keyboard.type("tom")
    page.keyboard.press("Tab")
    page.keyboard.press("p")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert seen.value(page, node_id)[0] == {
        "file": "cat.png",
        "name": "tom",
        "kind": "person",
        "off": True,
        "keep_whole": True,
    }
    assert page.evaluate("() => app.graph.nodes.length") == 1


def test_undo_and_redo_go_step_by_step(page):
    node_id = seen.add_node(page, THREE)
    page.evaluate("() => { app.canvas.emitBeforeChange(); app.canvas.emitAfterChange() }")
    seen.cards(page).first.get_by_role("button", name="Remove astronaut").click()
    seen.cards(page).first.get_by_label("Kind").select_option("person")
    seen.cards(page).first.focus()
    page.keyboard.press("Control+z")
    page.wait_for_function("() => document.querySelector('.magref-card select')?.value === 'object'")
    assert seen.names(page) == ["cat", "coffee"]
    page.keyboard.press("Control+z")
    seen.wait_for_cards(page, 3)
    page.keyboard.press("Control+y")
    seen.wait_for_cards(page, 2)
    assert files_of(seen.value(page, node_id)) == ["cat.png", "coffee.png"]


def test_a_copy_of_the_node_has_the_same_cards_and_its_own_value(page):
    node_id = seen.add_node(page, THREE)
    page.evaluate(
        """id => {
            app.canvas.selectNode(app.graph.getNodeById(id))
            app.canvas.copyToClipboard()
            app.canvas.pasteFromClipboard()
        }""",
        node_id,
    )
    copy = page.evaluate("id => String(app.graph.nodes.find(node => String(node.id) !== id).id)", node_id)
    assert seen.value(page, copy) == seen.value(page, node_id)
    page.evaluate("id => app.graph.remove(app.graph.getNodeById(id))", node_id)
    seen.look_at_node(page, copy)
    seen.cards(page).first.get_by_role("button", name="Remove astronaut").click()
    assert files_of(seen.value(page, copy)) == ["cat.png", "coffee.png"]


def test_a_saved_workflow_brings_the_cards_back(page):
    node_id = seen.add_node(page, THREE)
    seen.cards(page).first.get_by_label("Kind").select_option("person")
    before = seen.value(page, node_id)
    saved = page.evaluate("() => JSON.parse(JSON.stringify(app.graph.serialize()))")
    graph_page.show_workflow(page, graph_page.BLANK)
    graph_page.show_workflow(page, saved)
    seen.look_at_node(page, node_id)
    assert seen.names(page) == ["astronaut", "cat", "coffee"]
    assert seen.value(page, node_id) == before


def test_an_exported_api_workflow_brings_the_cards_back(page):
    seen.add_node(page, THREE)
    seen.cards(page).first.get_by_label("Kind").select_option("person")
    before = seen.prompt_value(page)
    exported = graph_page.to_prompt(page)
    graph_page.show_workflow(page, graph_page.BLANK)
    graph_page.show_workflow(page, exported)
    (node_id,) = graph_page.node_ids_of(page, seen.NODE)
    seen.look_at_node(page, node_id)
    assert seen.names(page) == ["astronaut", "cat", "coffee"]
    assert seen.prompt_value(page) == before


def test_the_gallery_works_inside_a_subgraph(page):
    node_id = seen.add_node(page, THREE)
    page.evaluate(
        """id => {
            const canvas = LiteGraph.createNode('MagrefBuildMaskedCanvas'), node = app.graph.getNodeById(id)
            app.graph.add(canvas)
            canvas.pos = [700, 0]
            node.connect(0, canvas, 'references')
            const {subgraph} = app.graph.convertToSubgraph(new Set([node]))
            app.canvas.setGraph(subgraph)
        }""",
        node_id,
    )
    inside = page.evaluate("() => String(app.canvas.graph.nodes[0].id)")
    page.evaluate(
        """id => {
            const node = app.canvas.graph.getNodeById(id), {ds, canvas} = app.canvas
            ds.scale = 1
            ds.offset[0] = 300 - node.pos[0]
            ds.offset[1] = 300 - node.pos[1]
        }""",
        inside,
    )
    graph_page.settle(page)
    seen.wait_for_cards(page, 3)
    seen.cards(page).first.get_by_role("button", name="Remove astronaut").click()
    page.evaluate("() => app.canvas.setGraph(app.rootGraph ?? app.graph)")
    assert files_of(seen.prompt_value(page)) == ["cat.png", "coffee.png"]


def test_a_list_that_was_promoted_to_the_subgraph_says_where_it_is(page):
    node_id = seen.add_node(page, THREE)
    page.evaluate(
        """id => {
            const {subgraph} = app.graph.convertToSubgraph(new Set([app.graph.getNodeById(id)]))
            const node = subgraph.nodes[0], widget = node.widgets.find(one => one.name === 'references')
            const slot = node.getSlotFromWidget(widget)
            subgraph.addInput('references', String(slot.type)).connect(slot, node)
            app.canvas.setGraph(subgraph)
            app.canvas.ds.scale = 1
            app.canvas.ds.offset = [300 - node.pos[0], 300 - node.pos[1]]
        }""",
        node_id,
    )
    graph_page.settle(page)
    if page.evaluate("() => LiteGraph.vueNodesMode"):
        seen.gallery(page).get_by_text("The list was promoted to the subgraph").wait_for()
        assert seen.cards(page).locator("input:enabled, button:enabled, select:enabled").count() == 0
    else:  # the classic canvas hides every widget whose value comes over a link
        assert seen.gallery(page).count() == 0
    page.evaluate("() => app.canvas.setGraph(app.canvas.graph.rootGraph)")
    assert files_of(seen.prompt_value(page)) == [file.name for file in PICTURES]


BUILD_WITH_LINKS = """() => {
    const make = (type, x, y) => {
        const node = LiteGraph.createNode(type); app.graph.add(node); node.pos = [x, y]; return node
    }
    const picture = make('LoadImage', 0, 0), references = make('MagrefLoadReferences', 500, 0)
    picture.widgets.find(widget => widget.name === 'image').value = 'coffee.png'
    const canvas = make('MagrefBuildMaskedCanvas', 1000, 0)
    picture.connect(0, references, references.inputs.findIndex(input => input.name === 'images.image_1'))
    references.connect(0, canvas, 'references')
    canvas.connect(1, make('PreviewImage', 1500, 0), 'images')
    return String(references.id)
}"""


def test_a_picture_over_a_link_becomes_a_card_once_run(page):
    node_id = page.evaluate(BUILD_WITH_LINKS)
    page.evaluate(seen.SET_VALUE, [node_id, json.dumps([{"file": "cat.png"}])])
    seen.look_at_node(page, node_id)
    seen.wait_for_cards(page, 2)
    assert seen.names(page) == ["cat", "image_1"]
    linked = seen.cards(page).nth(1)
    assert linked.locator("img").count() == 0
    kind, report = graph_page.run(page)
    assert kind == "execution_success", report
    linked.locator("img").wait_for()
    seen.wait_for_thumbnails(page)
    linked.locator(".magref-name").fill("cup")
    linked.locator(".magref-name").press("Enter")
    assert seen.value(page, node_id)[1] == {"image": "image_1", "name": "cup", "kind": "object"}
    seen.wait_for_thumbnails(page)
    assert linked.get_by_role("button", name="Remove").count() == 0
    linked.focus()
    for _ in range(3):  # the host notes a change of size after the run as an act of its own
        page.keyboard.press("Control+z")
        with contextlib.suppress(TimeoutError):
            page.wait_for_function(NAMED_AS_AT_FIRST, timeout=10_000)
            break
    assert page.evaluate(NAMED_AS_AT_FIRST)
    linked.locator("img").wait_for()  # also after ComfyUI has made the node anew
    kind, report = graph_page.run(page)
    assert kind == "execution_success", report


def test_what_is_switched_off_is_not_run_and_photos_are(page):
    node_id = page.evaluate(BUILD_WITH_LINKS)
    entries = [
        {"file": "astronaut.png", "name": "woman", "kind": "person", "photos": ["cat.png"]},
        {"file": "gone.png", "name": "gone", "off": True},
    ]
    page.evaluate(seen.SET_VALUE, [node_id, json.dumps(entries)])
    page.evaluate(
        "() => { window.sent = []; app.api.addEventListener('executed', event => sent.push(event.detail)) }"
    )
    kind, report = graph_page.run(page)
    assert kind == "execution_success", report
    sent = page.evaluate("id => sent.find(item => String(item.node) === id).output", node_id)
    assert [item["reference"] for item in sent["magref_references"]] == ["woman", "woman 2", "image_1"]


def test_the_cards_come_back_when_the_page_is_loaded_again(page, server):
    nodes2 = page.evaluate("() => app.extensionManager.setting.get('Comfy.VueNodes.Enabled')")
    context = page.context.browser.new_context(viewport={"width": 1600, "height": 1000}, locale="en-US")
    fresh = context.new_page()
    graph_page.open_graph(fresh, server.url, nodes2=nodes2)
    seen.add_node(fresh, THREE)
    seen.cards(fresh).first.get_by_label("Kind").select_option("person")
    before = seen.prompt_value(fresh)
    fresh.wait_for_function(
        """() => Object.keys(localStorage).some(key => key.startsWith('Comfy.Workflow.Draft.')
            && localStorage.getItem(key).includes('coffee.png'))"""
    )
    fresh.reload(wait_until="domcontentloaded")
    fresh.wait_for_function(graph_page.READY)
    fresh.wait_for_function("type => app.graph.nodes.some(node => node.type === type)", arg=seen.NODE)
    (node_id,) = graph_page.node_ids_of(fresh, seen.NODE)
    seen.look_at_node(fresh, node_id)
    seen.wait_for_cards(fresh, 3)
    assert seen.prompt_value(fresh) == before
    context.close()
