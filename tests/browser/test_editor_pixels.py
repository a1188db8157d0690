"""What the editor draws is what the server composes."""

import numpy as np
import pytest

from tests.browser import editor_page as editing

PUPPETS = (
    {"file": "puppet_robot.png", "name": "robot", "kind": "person"},
    {"file": "puppet_fox.png", "name": "fox", "kind": "object"},
    {"file": "place_beach.png", "name": "beach", "kind": "background"},
)
SEVERAL_PHOTOS = (
    {"file": "puppet_fox.png", "name": "fox", "kind": "object", "photos": ["puppet_fox_2.png"]},
    {"file": "place_beach.png", "name": "beach", "kind": "background"},
)
OVERLAPPING = editing.place(
    ("beach", 0, 0, 832, 480), ("robot", 16, 32, 300, 400), ("fox", 200, 100, 500, 380)
)
CASES = {
    "official": editing.graph(),
    "another seed and size": editing.graph(layout_seed=7, width=256, height=128),
    "larger than the pictures": editing.graph(width=1920, height=1088, order="reading"),
    "transparent, over another and over a colour": editing.graph(
        PUPPETS, background="#204080", placements=OVERLAPPING
    ),
    "fitted": editing.graph(PUPPETS, order="fitted", background="#20a040"),
    "behind": editing.graph(PUPPETS, order="behind", layout_seed=3),
    "grouped": editing.graph(SEVERAL_PHOTOS, order="grouped", layout_seed=2),
    "cut out": editing.graph(cut=True),
}


@pytest.mark.parametrize("case", CASES)
def test_the_editor_draws_what_the_server_composes(page, server, case):
    editing.open_editor(page, CASES[case], subjects=3)
    editing.run(page)
    page.wait_for_function("() => document.querySelector('[data-view=clip]:enabled')")
    composed = editing.composed(page, server.url)
    page.wait_for_timeout(400)  # the pictures of the run replace those of the files
    editing.check_equal(editing.drawn(page), composed)


def test_the_comparison_sees_a_picture_that_lies_four_pixels_beside(page, server):
    editing.open_editor(page, editing.graph(), subjects=3)
    editing.run(page)
    moved = np.roll(editing.drawn(page), 4, axis=1)
    with pytest.raises(AssertionError):
        editing.check_equal(moved, editing.composed(page, server.url))


@pytest.mark.parametrize("case", ["transparent, over another and over a colour", "behind", "grouped"])
def test_before_a_run_the_same_is_drawn_from_the_files(page, server, case):
    editing.open_editor(page, CASES[case], subjects=3)
    drawn = editing.drawn(page)
    editing.run(page)
    editing.check_equal(drawn, editing.composed(page, server.url))


def test_what_was_dragged_is_composed(page, server):
    editor = editing.open_editor(page, editing.graph(PUPPETS), subjects=3)
    editing.press(editor, "official")
    editing.drag(page, (400, 240), (600, 100))
    drawn = editing.drawn(page)
    editing.run(page)
    assert editing.value(page) != ""
    editing.check_equal(drawn, editing.composed(page, server.url))


@pytest.mark.parametrize("shape", ["rectangle", "cutout"])
def test_the_overlay_marks_what_the_mask_marks(page, server, shape):
    given = editing.graph(PUPPETS, placements=OVERLAPPING.replace("832", "300"), mask_shape=shape)
    given["5"] = {"class_type": "MaskToImage", "inputs": {"mask": [editing.CANVAS_ID, 2]}}
    given["3"]["inputs"]["images"] = ["5", 0]
    editor = editing.open_editor(page, given, subjects=3)
    editing.press(editor, "mask")
    drawn = editing.layer(page, ".magref-editor-mask")[..., 3] > 0
    editing.run(page)
    marked = editing.composed(page, server.url, node_id="3")[..., 0] > 127
    assert 0.3 < marked.mean() < 0.9
    assert (drawn != marked).mean() < 0.004
