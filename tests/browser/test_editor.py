"""The canvas editor in the node: mouse, keyboard, buttons, undo, and what it leaves behind."""

import json

from scripts import graph_page
from tests.browser import editor_page as editing

OFFICIAL = {"woman": (554, 101, 278, 278), "table": (277, 148, 277, 184), "cat": (0, 148, 277, 184)}
"""Boxes of the official layout of the three photographs for seed 0."""

SAVE_AND_LOAD = (
    "async () => await app.loadGraphData(JSON.parse(JSON.stringify(app.graph.serialize())), true, true)"
)

FRESH = "() => document.querySelector('[data-view=clip]:enabled')"


def own_boxes(page):
    return editing.boxes(editing.value(page))


def test_looking_at_the_editor_leaves_the_node_official(page):
    editor = editing.open_editor(page, editing.graph(), subjects=3)
    before = graph_page.to_prompt(page)
    page.wait_for_function(FRESH)
    for view in ("canvas", "mask", "latent_mask", "clip", "edit"):
        editor.locator(f"[data-view={view}]").first.click()
    editing.press(editor, "mask")
    editing.press(editor, "snap")
    page.mouse.click(*editing.on_page(page, 700, 240))
    assert graph_page.to_prompt(page) == before
    assert editing.value(page) == ""


def test_dragging_writes_boxes_and_undo_makes_it_official_again(page):
    editor = editing.open_editor(page, editing.graph(), subjects=3)
    editing.drag(page, (700, 240), (660, 180))
    moved = own_boxes(page)
    assert list(moved) == ["woman", "table", "cat"]
    assert {name: moved[name] for name in ("table", "cat")} == {n: OFFICIAL[n] for n in ("table", "cat")}
    x, y, *size = moved["woman"]
    assert size == [278, 278]
    assert (x % 16 == 0 or x + 278 in (554, 832)) and abs(x - 514) < 16 and abs(y - 41) < 16
    editing.press(editor, "undo")
    assert editing.value(page) == ""
    editing.press(editor, "redo")
    assert own_boxes(page) == moved
    editor.locator(".magref-editor-stage").press("Control+z")
    assert editing.value(page) == ""
    graph_page.settle(page)
    assert editing.value(page, "width") == 832  # the host has not undone the loading of the graph
    editor.locator(".magref-editor-stage").press("Control+y")
    assert own_boxes(page) == moved


def test_a_corner_scales_in_shape_and_alt_leaves_the_snapping_out(page):
    editing.open_editor(page, editing.graph(), subjects=3)
    page.mouse.click(*editing.on_page(page, 700, 240))
    editing.drag(page, (554, 101), (604, 151), keys="Alt")
    x, y, width, height = own_boxes(page)["woman"]
    assert (x + width, y + height) == (832, 379)
    assert width == height
    assert 220 < width < 235


def test_everything_can_be_done_by_keyboard(page):
    editor = editing.open_editor(page, editing.graph(), subjects=3)
    editor.locator("button[data-view=edit]").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.className") == "magref-editor-stage"
    page.keyboard.press("n")
    for key in ("Shift+ArrowUp", "ArrowLeft", "ArrowLeft", "PageUp"):
        page.keyboard.press(key)
    x, y, width, height = OFFICIAL["woman"]
    assert own_boxes(page)["woman"] == (x - 2, y - 16, width, height)
    assert list(own_boxes(page)) == ["table", "woman", "cat"]
    page.keyboard.press("-")
    assert own_boxes(page)["woman"][2:] == (width - 16, height - 16)
    page.keyboard.press("p")
    page.keyboard.press("ArrowRight")
    assert own_boxes(page)["table"][0] == OFFICIAL["table"][0] + 1
    assert page.evaluate("() => app.graph.nodes.length") == 3  # no key has reached the graph
    editor.locator("[data-action=official]").focus()
    page.keyboard.press("Enter")
    assert editing.value(page) == ""


def test_plain_keys_in_the_editor_do_nothing_to_the_graph(page):
    editor = editing.open_editor(page, editing.graph(), subjects=3)
    page.evaluate("id => app.canvas.selectNode(app.graph.getNodeById(id))", editing.CANVAS_ID)
    page.mouse.click(*editing.on_page(page, 700, 240))
    for key in ("Delete", "Backspace", "w", "."):
        page.keyboard.press(key)
    editing.press(editor, "fill")
    page.keyboard.press("Delete")
    graph_page.settle(page)
    assert page.evaluate("() => app.graph.nodes.length") == 3
    assert page.evaluate("() => app.extensionManager.sidebarTab.activeSidebarTabId") is None
    assert list(own_boxes(page)) == ["woman", "table", "cat"]


def test_a_picture_chosen_in_the_table_by_keyboard_keeps_the_focus_there(page):
    editor = editing.open_editor(page, editing.graph(), subjects=3)
    button = editor.get_by_role("button", name="cat", exact=True)
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "true"
    assert page.evaluate("() => document.activeElement.textContent") == "cat"


def test_the_buttons_lay_out_and_shape(page):
    editor = editing.open_editor(page, editing.graph(layout_seed=4294967295), subjects=3)
    editing.press(editor, "shuffle")
    assert [editing.value(page, name) for name in ("placements", "layout_seed")] == ["", 0]
    editing.press(editor, "arrange")
    assert [editing.value(page, name) for name in ("placements", "order")] == ["", "fitted"]
    page.wait_for_function("() => document.querySelectorAll('.magref-editor-marks .box').length === 3")
    editing.press(editor, "official")
    assert editing.value(page, "order") == "official"
    editing.press(editor, "equalise")
    areas = [width * height for _, _, width, height in own_boxes(page).values()]
    assert max(areas) / min(areas) < 1.02
    editor.get_by_role("button", name="cat", exact=True).click()
    editing.press(editor, "fill")
    _, y, width, height = own_boxes(page)["cat"]
    assert (height, y) == (480, 0) and width > 277
    editing.press(editor, "fit")
    assert own_boxes(page)["cat"][2] == 277
    editing.press(editor, "forward")
    editing.press(editor, "backward")
    editing.press(editor, "backward")
    assert list(own_boxes(page)) == ["cat", "woman", "table"]
    for _ in range(20):
        if editor.locator("[data-action=undo]").is_disabled():
            break
        editing.press(editor, "undo")
    assert [editing.value(page, name) for name in ("placements", "layout_seed")] == ["", 4294967295]


def test_the_colour_of_the_canvas_is_the_background(page):
    editor = editing.open_editor(page, editing.graph(), subjects=3)
    editor.locator("input[type=color]").fill("#204080")
    assert editing.value(page, "background") == "#204080"
    assert tuple(editing.drawn(page)[2, 2]) == (0x20, 0x40, 0x80)
    editing.press(editor, "undo")
    assert editing.value(page, "background") == "#ffffff"


def test_the_panel_tells_what_the_report_tells(page):
    editor = editing.open_editor(page, editing.graph(), subjects=3)
    page.wait_for_function(FRESH)
    asked = editor.locator(".magref-editor-numbers").inner_text()
    editing.run(page)
    (report,) = page.evaluate(f"() => app.nodeOutputs['{editing.CANVAS_ID}'].magref_report")
    told = editor.locator(".magref-editor-numbers").inner_text()
    assert told == asked
    for subject in report["subjects"]:
        row = editor.locator("tr", has=page.get_by_role("button", name=subject["reference"], exact=True))
        words = row.inner_text().replace(",", "").split()
        assert words[1:4] == [str(subject[name]) for name in ("pixels", "latent_cells", "tokens")]
        assert float(words[4]) == round(subject["scale"], 2)
    findings = editor.locator(".magref-editor-finding")
    assert [finding.get_attribute("data-code") for finding in findings.all()] == [
        finding["code"] for finding in report["findings"]
    ]
    assert report["findings"]
    assert report["findings"][0]["remedy"] in findings.first.inner_text()


def test_each_view_shows_its_picture(page):
    editor = editing.open_editor(page, editing.graph(), subjects=3)
    page.wait_for_function(FRESH)
    sizes = {}
    for view in ("canvas", "mask", "latent_mask", "clip"):
        editor.locator(f"[data-view={view}]").first.click()
        picture = editor.locator(f"img[data-view={view}]")
        picture.wait_for()
        page.wait_for_function("img => img.complete && img.naturalWidth", arg=picture.element_handle())
        sizes[view] = picture.evaluate("img => [img.naturalWidth, img.naturalHeight]")
        area, room = picture.bounding_box(), editor.bounding_box()
        assert area["y"] >= room["y"] and area["y"] + area["height"] <= room["y"] + room["height"]
    assert sizes["canvas"] == [832, 480]
    assert sizes["clip"] == [224, 224]
    editor.locator("[data-view=clip]").first.press("ArrowRight")
    editor.locator(".magref-editor-stage").wait_for()


def test_saving_loading_and_pasting_keep_the_boxes(page):
    editing.open_editor(page, editing.graph(), subjects=3)
    editing.drag(page, (700, 240), (660, 180))
    placed = editing.value(page)
    page.evaluate(SAVE_AND_LOAD)
    editor = editing.look_at_editor(page, subjects=3)
    assert editing.value(page) == placed
    assert editor.locator("[data-action=undo]").is_disabled()
    copied = """id => {
        app.canvas.selectNode(app.graph.getNodeById(id))
        app.canvas.copyToClipboard()
        app.canvas.pasteFromClipboard()
        const pasted = app.graph.nodes.filter(n => n.type === 'MagrefBuildMaskedCanvas')
        return pasted.map(n => n.widgets.find(w => w.name === 'placements').value)
    }"""
    assert page.evaluate(copied, editing.CANVAS_ID) == [placed, placed]


def test_the_undo_of_the_graph_brings_boxes_back_too(page):
    editing.open_editor(page, editing.graph(), subjects=3)
    editing.drag(page, (700, 240), (660, 180))
    assert editing.value(page) != ""
    page.evaluate("async () => await app.extensionManager.workflow.activeWorkflow.changeTracker.undo()")
    editing.look_at_editor(page, subjects=3)
    assert editing.value(page) == ""


def test_in_a_subgraph_the_pictures_are_found_outside(page):
    editing.open_editor(page, editing.graph(), subjects=3)
    page.evaluate(
        f"""() => app.canvas.setGraph(app.graph.convertToSubgraph(
            new Set([app.graph.getNodeById('{editing.CANVAS_ID}')])).subgraph)"""
    )
    found = "() => document.querySelectorAll('.magref-editor-numbers th[scope=row]').length === 3"
    inner = "() => app.canvas.graph.nodes.find(n => n.type === 'MagrefBuildMaskedCanvas')"
    page.evaluate(f"""() => {{
        const node = ({inner})(), area = app.canvas.canvas.getBoundingClientRect()
        app.canvas.ds.scale = 1
        app.canvas.ds.offset = [100 - node.pos[0], 60 - node.pos[1]]
        app.canvas.setDirty(true, true)
    }}""")
    page.wait_for_function(found)
    page.evaluate("() => app.canvas.setGraph(app.canvas.graph.rootGraph)")


def test_pictures_over_links_appear_once_they_have_been_made(page):
    given = editing.graph([])
    given["6"] = {
        "class_type": "EmptyImage",
        "inputs": {"width": 64, "height": 96, "batch_size": 1, "color": 255},
    }
    given[editing.LOADER_ID]["inputs"]["images.image_1"] = ["6", 0]
    editor = editing.open_editor(page, given)
    editing.wait_for_status(page, "run the graph once")
    assert editor.locator("[data-action=equalise]").is_disabled()
    editing.run(page)
    editing.look_at_editor(page, subjects=1)
    page.wait_for_function("() => !document.querySelector('.magref-editor-status').textContent")
    assert tuple(editing.drawn(page)[240, 416]) == (0, 0, 255)
    editing.drag(page, (416, 240), (300, 240))
    assert json.loads(editing.value(page))["placements"][0]["reference"] == "image_1"
    page.evaluate("async () => await app.extensionManager.workflow.activeWorkflow.changeTracker.undo()")
    editing.look_at_editor(page, subjects=1)  # ComfyUI has made the node anew, and it was not run again
    assert editing.value(page) == ""
    assert tuple(editing.drawn(page)[240, 416]) == (0, 0, 255)


def test_values_over_links_are_followed_where_the_page_can_know_them(page):
    given = editing.graph()
    given["7"] = {"class_type": "PrimitiveInt", "inputs": {"value": 480}}
    given[editing.CANVAS_ID]["inputs"] |= {"width": ["7", 0], "layout_seed": ["7", 0]}
    editor = editing.open_editor(page, given, subjects=3)
    page.wait_for_function(FRESH)
    assert editing.drawn(page).shape == (480, 480, 3)
    assert editor.locator("[data-action=shuffle]").is_disabled()
    assert editing.status(editor) == ""
    given["8"] = {
        "class_type": "EmptyImage",
        "inputs": {"width": 320, "height": 256, "batch_size": 1, "color": 0},
    }
    given["7"] = {"class_type": "GetImageSize", "inputs": {"image": ["8", 0]}}
    given[editing.CANVAS_ID]["inputs"] |= {"height": ["7", 1], "layout_seed": 0}
    editor = editing.open_editor(page, given, subjects=3)
    editing.wait_for_status(page, "Not known before a run, since it comes over a link: width, height.")
    editing.run(page)
    page.wait_for_function("() => document.querySelector('.magref-editor-picture').height === 256")
    assert editing.drawn(page).shape == (256, 320, 3)
    assert editing.status(editor) == ""


def test_a_change_made_while_the_graph_runs_is_not_taken_for_what_has_run(page):
    placed = editing.place(("woman", 0, 0, 300, 300), ("table", 320, 0, 200, 100), ("cat", 0, 320, 100, 100))
    editor = editing.open_editor(page, editing.graph(placements=placed), subjects=3)
    moved = placed.replace('"x": 320', '"x": 600')
    page.evaluate(
        """([id, moved]) => app.api.addEventListener('execution_start', () => {
            app.graph.getNodeById(id).widgets.find(widget => widget.name === 'placements').value = moved
        }, {once: true})""",
        [editing.CANVAS_ID, moved],
    )
    editing.run(page)
    (report,) = page.evaluate(f"() => app.nodeOutputs['{editing.CANVAS_ID}'].magref_report")
    assert [subject["box"]["x"] for subject in report["subjects"]] == [0, 0, 320]
    assert editing.value(page) == moved
    editor.locator("[data-view=canvas]").first.click()
    page.wait_for_function("() => document.querySelector('img[data-view=canvas]').src.startsWith('data:')")


def test_what_changes_in_the_list_is_followed(page):
    editing.open_editor(page, editing.graph(), subjects=3)
    editing.set_widget(page, "references", json.dumps(editing.PHOTOS[:2]), editing.LOADER_ID)
    editing.look_at_editor(page, subjects=2)
    editing.set_widget(page, "width", 480)
    editing.set_widget(page, "height", 832)
    page.wait_for_function("() => document.querySelector('.magref-editor-picture').height === 832")
    area = page.locator(".magref-editor-picture").bounding_box()
    assert abs(area["width"] / area["height"] - 480 / 832) < 0.02
