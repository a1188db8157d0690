"""The layout that follows the pictures."""

from __future__ import annotations

import random

import pytest

from magref_core.canvas.fitted import WEIGHTS, arrange_fitted
from magref_core.canvas.layout import Box, arrange
from magref_core.canvas.references import KINDS
from magref_core.errors import ShapeError

from .canvases import HEIGHT, WIDTH, opaque_in, reference


def pictures(count, *, seed=0):
    """References of random shapes and kinds."""
    draw = random.Random(seed)
    return [
        reference(
            f"r{index}", height=draw.randint(20, 200), width=draw.randint(20, 200), kind=draw.choice(KINDS)
        )
        for index in range(count)
    ]


def overlapping(one, other):
    return one.x < other.right and other.x < one.right and one.y < other.bottom and other.y < one.bottom


def least_area(given, placed):
    """Pixels of the picture that got least for its weight."""
    return min(
        placement.box.width * placement.box.height / WEIGHTS[given[placement.reference].kind]
        for placement in placed
    )


@pytest.mark.parametrize("count", range(1, 17))
@pytest.mark.parametrize(("height", "width"), [(480, 832), (832, 480), (512, 512)])
def test_cells_tile_the_canvas_on_whole_tokens_and_hold_their_pictures(count, height, width):
    placed = arrange_fitted(pictures(count, seed=count), height=height, width=width)
    assert [placement.reference for placement in placed] == list(range(count))
    cells = [placement.cell for placement in placed]
    assert all(value % 16 == 0 for cell in cells for value in (cell.x, cell.y, cell.right, cell.bottom))
    assert not any(overlapping(cell, other) for i, cell in enumerate(cells) for other in cells[:i])
    assert all(
        cell.x >= 0 and cell.y >= 0 and cell.right <= width and cell.bottom <= height for cell in cells
    )
    for placement in placed:
        box, cell = placement.box, placement.cell
        assert cell.x <= box.x and cell.y <= box.y and box.right <= cell.right and box.bottom <= cell.bottom
        assert box.width == cell.width or box.height == cell.height


@pytest.mark.parametrize("count", range(1, 17))
def test_no_picture_gets_much_less_than_in_the_official_grid(count):
    for seed in range(5):
        given = pictures(count, seed=seed)
        sizes = [(one.height, one.width) for one in given]
        official = arrange(sizes, height=HEIGHT, width=WIDTH, order="reading")
        fitted = arrange_fitted(given, height=HEIGHT, width=WIDTH)
        # The borders of the official cells move by up to 8 pixels to whole tokens.
        assert least_area(given, fitted) > 0.8 * least_area(given, official)


def test_three_wide_pictures_are_not_squeezed_into_three_narrow_cells():
    given = [reference(name, height=100, width=200) for name in ("one", "two", "three")]
    official = arrange([(100, 200)] * 3, height=HEIGHT, width=WIDTH, order="reading")
    fitted = arrange_fitted(given, height=HEIGHT, width=WIDTH)
    assert least_area(given, fitted) > 1.3 * least_area(given, official)


def test_a_person_gets_more_of_the_canvas_than_a_thing_of_the_same_shape():
    given = [reference("cup"), reference("alice", kind="person")]
    cup, alice = arrange_fitted(given, height=480, width=640)
    assert alice.box.width * alice.box.height > 1.2 * cup.box.width * cup.box.height


def test_a_single_background_lies_behind_cut_outs_on_the_whole_canvas():
    alpha = opaque_in((10, 10, 90, 90))
    given = [
        reference("alice", kind="person", alpha=alpha),
        reference("beach", kind="background", height=240, width=416),
        reference("cup", alpha=alpha),
    ]
    placed = arrange_fitted(given, height=HEIGHT, width=WIDTH)
    assert [placement.reference for placement in placed] == [1, 0, 2], "pasted first"
    whole = Box(x=0, y=0, width=WIDTH, height=HEIGHT)
    assert placed[0].cell == placed[0].box == whole
    assert sum(placement.cell.width * placement.cell.height for placement in placed[1:]) == WIDTH * HEIGHT


@pytest.mark.parametrize(
    "kinds",
    [
        ("person", "background", "object"),  # not cut out: whole pictures would hide it
        ("background", "background", "object"),
        ("background",),
    ],
)
def test_a_background_lies_beside_the_others_unless_it_is_one_and_they_are_cut_out(kinds):
    given = [reference(f"r{index}", kind=kind) for index, kind in enumerate(kinds)]
    placed = arrange_fitted(given, height=HEIGHT, width=WIDTH)
    cells = [placement.cell for placement in placed]
    assert not any(overlapping(cell, other) for i, cell in enumerate(cells) for other in cells[:i])


def test_a_canvas_of_a_few_tokens_still_gets_cells():
    placed = arrange_fitted(pictures(9), height=16, width=16)
    assert len(placed) == 9 and all(placement.cell.width == 5 for placement in placed[:2])


def test_a_picture_too_thin_is_refused_by_its_name():
    with pytest.raises(ShapeError, match=r"the picture 'needle' of 1 x 3000 pixels is too thin"):
        arrange_fitted([reference("needle", height=3000, width=1)], height=HEIGHT, width=WIDTH)
