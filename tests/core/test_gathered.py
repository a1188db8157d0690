"""Photos of one subject in one cell, and a background behind all others."""

from __future__ import annotations

import pytest
import torch

from magref_core.canvas.compose import compose_canvas
from magref_core.canvas.gathered import arrange_behind, arrange_grouped, parts_of
from magref_core.canvas.layout import Box, arrange, cells_for
from magref_core.canvas.placing import place_references
from magref_core.errors import ShapeError

from .canvases import HEIGHT, WIDTH, reference

SIZE = {"height": HEIGHT, "width": WIDTH}
ALONE = [reference("one", height=200), reference("two", width=400), reference("three")]
PHOTOS = [
    reference("ann", subject="ann", height=200),
    reference("cup"),
    reference("ann 2", subject="ann", height=50),
    reference("ann 3", subject="ann"),
]
PLACE = reference("beach", kind="background", height=100, width=200)


def area(box):
    return box.width * box.height


def contains(outer, inner):
    return (
        outer.x <= inner.x and outer.y <= inner.y
        and inner.right <= outer.right and inner.bottom <= outer.bottom
    )  # fmt: skip


def overlap(one, other):
    return max(one.x, other.x) < min(one.right, other.right) and max(one.y, other.y) < min(
        one.bottom, other.bottom
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("order", ["grouped", "behind"])
def test_single_pictures_without_a_background_lie_as_officially(order, seed):
    sizes = [(given.height, given.width) for given in ALONE]
    assert place_references(ALONE, **SIZE, order=order, seed=seed) == arrange(sizes, **SIZE, seed=seed)


@pytest.mark.parametrize("seed", range(5))
def test_photos_of_one_subject_share_its_cell_and_nothing_overlaps(seed):
    placed = arrange_grouped(PHOTOS, **SIZE, seed=seed)
    left, right = cells_for(2, **SIZE)
    boxes = {PHOTOS[placement.reference].name: placement.box for placement in placed}
    home = left if contains(left, boxes["ann"]) else right
    assert all(contains(home, boxes[name]) for name in ("ann", "ann 2", "ann 3"))
    assert contains(right if home == left else left, boxes["cup"])
    cells = [placement.cell for placement in placed]
    assert not any(overlap(one, other) for one in cells for other in cells if one != other)
    assert len(placed) == len(PHOTOS)


def test_a_wide_cell_is_cut_across_and_a_high_one_down():
    assert parts_of(Box(x=5, y=3, width=101, height=40), 2) == (
        Box(x=5, y=3, width=50, height=40),
        Box(x=55, y=3, width=51, height=40),
    )
    assert parts_of(Box(x=0, y=0, width=40, height=90), 3) == tuple(
        Box(x=0, y=30 * row, width=40, height=30) for row in range(3)
    )
    assert sum(map(area, parts_of(Box(x=0, y=0, width=97, height=61), 4))) == 97 * 61


def test_too_many_photos_for_a_cell_are_refused_with_what_to_change():
    many = [reference(f"ann {number}", subject="ann") for number in range(100)]
    with pytest.raises(ShapeError, match=r"100 photos of one subject share a cell of 16 x 9 .* fewer photos"):
        arrange_grouped([*many, reference("cup")], height=9, width=32)


@pytest.mark.parametrize("seed", range(4))
def test_the_background_lies_first_in_the_whole_canvas_and_the_others_as_without_it(seed):
    given = [ALONE[0], PLACE, ALONE[1]]
    first, *others = arrange_behind(given, **SIZE, seed=seed)
    assert first.reference == 1 and first.cell == Box(x=0, y=0, width=WIDTH, height=HEIGHT)
    alone = arrange([(one.height, one.width) for one in (ALONE[0], ALONE[1])], **SIZE, seed=seed)
    assert [placement.box for placement in others] == [placement.box for placement in alone]
    assert [placement.reference for placement in others] == [(0, 2)[one.reference] for one in alone]


@pytest.mark.parametrize(
    ("width", "height", "box"),
    [
        (416, 240, Box(x=0, y=0, width=832, height=480)),
        (640, 480, Box(x=96, y=0, width=640, height=480)),
        (600, 900, Box(x=256, y=0, width=320, height=480)),
        (200, 100, Box(x=0, y=32, width=832, height=416)),
    ],
)
def test_the_background_is_as_large_as_fits_and_keeps_its_shape(width, height, box):
    place = reference("beach", kind="background", height=height, width=width)
    first, _ = arrange_behind([ALONE[0], place], **SIZE)
    assert first.box == box
    canvas = compose_canvas([ALONE[0], place], arrange_behind([ALONE[0], place], **SIZE), **SIZE)
    assert bool(canvas.mask.all()) == (area(box) == WIDTH * HEIGHT)


def test_two_backgrounds_and_one_alone_keep_their_cells():
    for given in ([PLACE], [PLACE, reference("snow", kind="background"), ALONE[0]]):
        sizes = [(one.height, one.width) for one in given]
        assert arrange_behind(given, **SIZE, seed=3) == arrange(sizes, **SIZE, seed=3)


def test_cut_outs_show_the_background_around_them_and_all_of_it_is_marked():
    alpha = torch.zeros(100, 100, dtype=torch.uint8)
    alpha[40:60, 40:60] = 255
    place = reference("beach", kind="background", height=HEIGHT, width=WIDTH)
    cup = reference("cup", alpha=alpha)
    image = cup.image.clone()
    image[:] = 200
    cup = type(cup)(name="cup", image=image, alpha=alpha)
    canvas = compose_canvas([place, cup], arrange_behind([place, cup], **SIZE), **SIZE)
    assert canvas.image[0, 0].tolist() == [90] * 3
    assert canvas.image[HEIGHT // 2, WIDTH // 2].tolist() == [200] * 3
    assert bool(canvas.mask.all())


def test_sixteen_references_have_a_cell_each():
    given = [reference(f"one {number}") for number in range(16)]
    cells = {placement.cell for placement in place_references(given, **SIZE)}
    assert len(cells) == 16 and sum(map(area, cells)) == WIDTH * HEIGHT
