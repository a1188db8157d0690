"""What can be wrong with placements and pictures: a sentence is shown, and nothing is lost."""

import pytest

from scripts import graph_page
from tests.browser import editor_page as editing

OFF = editing.place(("woman", 700, 0, 300, 300), ("table", -40, 0, 200, 100), ("cat", 0, 200, 100, 100))
EMPTY = editing.place(("woman", 0, 0, 0, 300), ("table", 0, 0, 200, 100), ("cat", 0, 200, 100, 100))
MISSING = editing.place(("woman", 0, 0, 300, 300), ("dog", 0, 0, 200, 100))
TWICE = editing.place(
    ("woman", 0, 0, 10, 10), ("woman", 0, 0, 9, 9), ("cat", 0, 0, 9, 9), ("table", 0, 0, 9, 9)
)
NUMBERS = OFF.replace("300", "NaN")
HALVES = OFF.replace("300", "0.5")

WRONG = {
    OFF: "The box of 'woman' spans x 700 to 1000 and y 0 to 300, but the canvas is 832 x 480 pixels: move or",
    EMPTY: "The box of 'woman' is 0 x 300 pixels, but needs at least 1 x 1: enlarge it.",
    MISSING: "Placement 2 is for the reference 'dog', which does not exist: use one of 'woman', 'cat'",
    TWICE: "Reference 'woman' is placed 2 times, but every reference needs exactly one placement: remove",
    NUMBERS: "The placements are not JSON: write them like",
    HALVES: "Placement 1 of 'woman' has no whole number of pixels for width, height: correct it",
    '{"version": 2, "placements": []}': "The placements are of version 2, but only version 1 can be read",
    "nonsense": "The placements are not JSON: write them like",
}


@pytest.mark.parametrize("text", WRONG, ids=[words[:36] for words in WRONG.values()])
def test_a_saved_value_that_is_wrong_is_kept_named_and_repaired_on_request(page, text):
    editor = editing.open_editor(page, editing.graph(placements=text), subjects=3)
    editing.wait_for_status(page, WRONG[text])
    assert editing.value(page) == text
    editing.drag(page, (700, 240), (600, 200))
    assert editing.value(page) == text
    editor.get_by_role("button", name="Repair").click()
    made = editing.boxes(editing.value(page))
    assert sorted(made) == ["cat", "table", "woman"]
    for x, y, width, height in made.values():
        assert min(x, y) >= 0 and min(width, height) >= 1 and x + width <= 832 and y + height <= 480
    page.wait_for_function(
        "() => document.querySelector('[data-view=clip]:enabled')"
    )  # the server accepts it
    editing.press(editor, "undo")
    assert editing.value(page) == text


def test_the_overlay_of_a_box_beyond_all_measure_is_drawn(page):
    huge = editing.place(("woman", -5, 0, 10**8, 10**8), ("table", 0, 0, 200, 100), ("cat", 900, 0, 10, 10))
    editor = editing.open_editor(page, editing.graph(placements=huge, mask_shape="cutout"), subjects=3)
    editing.press(editor, "mask")
    assert editing.layer(page, ".magref-editor-mask")[..., 3].min() == 255
    editing.wait_for_status(page, "The box of 'woman' spans x -5 to 99999995")
    stand = editor.locator(".magref-editor-stand")
    # The outline stays on the node.
    assert stand.evaluate("stand => getComputedStyle(stand).overflow") == "clip"


def test_nonsense_typed_over_boxes_is_refused_and_they_stay(page):
    placed = editing.place(("woman", 0, 0, 300, 300), ("table", 320, 0, 200, 100), ("cat", 0, 320, 100, 100))
    editor = editing.open_editor(page, editing.graph(placements=placed), subjects=3)
    editor.get_by_text("As JSON").click()
    area = editor.get_by_label("Placements as JSON")
    assert area.input_value() == placed
    for typed in ("{", placed.replace("300", "NaN"), "[]"):
        area.fill(typed)
        area.press("Control+Enter")
        editing.wait_for_status(page, "The old placements stay: the placements")
        assert editing.value(page) == placed
        assert area.input_value() == typed
    area.fill(placed.replace("320", "330"))
    area.press("Control+Enter")
    assert editing.value(page) == placed.replace("320", "330")
    assert editing.status(editor) == ""
    editing.set_widget(page, "placements", "nonsense")
    assert editing.value(page) == placed.replace("320", "330")
    area.fill("")
    area.press("Control+Enter")
    assert editing.value(page) == ""


def test_boxes_that_overlap_are_allowed_and_what_is_covered_is_named(page):
    placed = editing.place(("cat", 0, 0, 300, 300), ("woman", 0, 0, 400, 400), ("table", 10, 10, 60, 60))
    editing.open_editor(page, editing.graph(placements=placed), subjects=3)
    editing.wait_for_status(page, "More than half of 'cat' is covered.")
    assert editing.value(page) == placed
    editing.run(page)


def test_without_pictures_the_editor_says_what_to_do(page):
    given = editing.graph()
    del given[editing.CANVAS_ID]["inputs"]["references"]
    editor = editing.open_editor(page, given)
    editing.wait_for_status(page, "No pictures are connected: connect MAGREF Load References")
    editor.locator(".magref-editor-stage").press("n")
    editor.locator(".magref-editor-stage").press("ArrowLeft")
    editing.drag(page, (100, 100), (200, 200))
    assert editing.value(page) == ""
    editing.open_editor(page, editing.graph("[]"))
    editing.wait_for_status(page, "There is no picture yet: add one in MAGREF Load References.")
    editing.open_editor(page, editing.graph("[{"))
    editing.wait_for_status(page, "The list of pictures cannot be read: correct it")


def test_a_picture_that_is_gone_or_none_is_named(page, server):
    folder = server.base / "input"
    gone = [*editing.PHOTOS[:2], {"file": "gone.png", "name": "gone"}]
    editing.open_editor(page, editing.graph(gone))
    editing.wait_for_status(page, "The picture 'gone.png' is not in ComfyUI's input folder: upload it again")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n no picture")
    editing.open_editor(page, editing.graph([{"file": "broken.png", "name": "broken"}]))
    editing.wait_for_status(page, "The picture 'broken.png' cannot be read: open it in an image viewer")
    (folder / "broken.png").unlink()


def test_a_name_that_looks_like_a_program_is_shown_as_text(page):
    name = '<img src=x onerror="document.title=1">'
    editor = editing.open_editor(page, editing.graph([{"file": "cat.png", "name": name}]), subjects=1)
    page.wait_for_function("() => document.querySelector('[data-view=clip]:enabled')")
    assert name in editor.locator(".magref-editor-numbers").inner_text()
    assert editor.locator("img[src=x]").count() == 0
    editing.drag(page, (416, 240), (300, 240))
    assert list(editing.boxes(editing.value(page))) == [name]


def test_what_the_server_refuses_is_told_in_its_words(page):
    editing.open_editor(page, editing.graph(), subjects=3)
    editing.set_widget(page, "background", "white")
    editing.wait_for_status(page, "The background is 'white', but a colour as #rrggbb is needed: use #ffffff")


def test_placements_over_a_link_cannot_be_changed_here(page):
    given = editing.graph()
    given["7"] = {"class_type": "PrimitiveStringMultiline", "inputs": {"value": ""}}
    given[editing.CANVAS_ID]["inputs"]["placements"] = ["7", 0]
    graph_page.show_workflow(page, given)
    if page.evaluate("() => LiteGraph.vueNodesMode"):
        editing.look_at_editor(page, subjects=3)
        editing.wait_for_status(page, "The placements come over a link, so they cannot be changed here.")
        editing.drag(page, (700, 240), (600, 200))
    else:  # the classic canvas hides every widget whose value comes over a link
        graph_page.look_at(page, graph_page.node_area(page, editing.CANVAS_ID))
        assert page.locator(".magref-editor:visible").count() == 0
    assert editing.value(page) == ["7", 0]
