import json
import random
import re
from collections import Counter

import pytest

from magref_core.canvas.layout import (
    Box,
    Placement,
    arrange,
    cells_for,
    check_placements_text,
    fit_in_cell,
    grid_for,
    placements_from_json,
    placements_to_json,
    shuffle_pairs,
)
from magref_core.errors import MagrefError, ShapeError

NAMES = ["alice", "bob", "cup"]
SIZES = [(120, 50), (64, 96), (300, 451), (10, 10), (400, 9), (11, 600), (30, 52), (1, 1)]
"""Height and width of some references."""


def covered(cells, *, height, width):
    """How many cells lie over each pixel; the oracle counts them one by one."""
    counts = [[0] * width for _ in range(height)]
    for cell in cells:
        for y in range(cell.y, cell.bottom):
            for x in range(cell.x, cell.right):
                counts[y][x] += 1
    return counts


def test_the_official_grids_serve_up_to_8_references():
    grids = [grid_for(count) for count in range(9)]
    assert grids == [(1, 1), (1, 1), (2, 1), (3, 1), (2, 2), (3, 2), (3, 2), (4, 2), (4, 2)]


def test_the_grid_grows_above_8_references():
    grids = {count: grid_for(count) for count in (9, 10, 12, 13, 16, 17, 25, 26)}
    assert grids == {
        9: (3, 3),
        10: (4, 3),
        12: (4, 3),
        13: (4, 4),
        16: (4, 4),
        17: (5, 4),
        25: (5, 5),
        26: (6, 5),
    }


@pytest.mark.parametrize("count", range(18))
@pytest.mark.parametrize(("height", "width"), [(48, 83), (37, 29), (16, 16)])
def test_cells_cover_every_pixel_exactly_once_and_are_enough(count, height, width):
    cells = cells_for(count, height=height, width=width)
    assert len(cells) >= count
    assert covered(cells, height=height, width=width) == [[1] * width] * height


def test_the_last_column_and_row_take_what_is_left_over():
    assert [cell.width for cell in cells_for(3, height=480, width=832)] == [277, 277, 278]
    assert [cell.height for cell in cells_for(4, height=101, width=179)] == [50, 50, 51, 51]


def test_cells_are_listed_row_by_row():
    cells = cells_for(6, height=480, width=832)
    assert [(cell.x, cell.y) for cell in cells] == [
        (0, 0),
        (277, 0),
        (554, 0),
        (0, 240),
        (277, 240),
        (554, 240),
    ]


def test_a_canvas_with_fewer_pixels_than_cells_is_refused():
    with pytest.raises(
        ShapeError, match="canvas is 3 x 9 pixels, but 8 references need 4 x 2 cells: use a larger"
    ):
        cells_for(8, height=9, width=3)


def test_references_are_drawn_before_cells_and_the_generator_is_advanced_by_both():
    cells = cells_for(5, height=480, width=832)
    rng, expected = random.Random(3), random.Random(3)
    pairs = shuffle_pairs(5, cells, rng)
    indices, shuffled = list(range(5)), list(cells)
    expected.shuffle(indices)
    expected.shuffle(shuffled)
    assert pairs == tuple(zip(indices, shuffled[:5], strict=True))
    assert rng.random() == expected.random()


def test_pairs_end_where_the_cells_do():
    pairs = shuffle_pairs(9, cells_for(8, height=480, width=832), random.Random(0))
    assert len({index for index, _ in pairs}) == len({cell for _, cell in pairs}) == 8


def test_a_square_in_half_the_canvas_leaves_bars_above_and_below():
    cell = Box(x=416, y=0, width=416, height=480)
    assert fit_in_cell(cell, height=70, width=70) == Box(x=416, y=32, width=416, height=416)


def test_a_small_picture_is_enlarged():
    assert fit_in_cell(Box(x=0, y=0, width=100, height=60), height=1, width=1) == Box(
        x=20, y=0, width=60, height=60
    )


def test_sides_are_truncated_as_officially():
    whole = Box(x=0, y=0, width=832, height=480)
    assert fit_in_cell(whole, height=40, width=41).width == 491  # 480 * 41 / 40 = 492 without rounding


def test_a_picture_of_the_shape_of_its_cell_is_fitted_by_its_height_as_officially():
    cell = Box(x=0, y=0, width=2, height=49)
    assert fit_in_cell(cell, height=98, width=4).width == 1  # 49 * (4 / 98) is a hair below 2


def test_the_odd_pixel_of_padding_goes_right_and_to_the_bottom():
    cell = Box(x=10, y=20, width=11, height=10)
    assert fit_in_cell(cell, height=10, width=10) == Box(x=10, y=20, width=10, height=10)
    cell = Box(x=10, y=20, width=10, height=11)
    assert fit_in_cell(cell, height=10, width=10) == Box(x=10, y=20, width=10, height=10)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_fitted_picture_fills_its_cell_in_one_direction_and_keeps_its_shape(height, width):
    cell = Box(x=5, y=7, width=277, height=241)
    box = fit_in_cell(cell, height=height, width=width)
    assert box.width == cell.width or box.height == cell.height
    assert box.x >= cell.x and box.right <= cell.right and box.y >= cell.y and box.bottom <= cell.bottom
    assert abs(box.width * height - box.height * width) <= max(height, width)


@pytest.mark.parametrize(("height", "width", "scaled"), [(1000, 1, "0 x 480"), (1, 2000, "832 x 0")])
def test_a_picture_too_thin_for_its_cell_is_refused(height, width, scaled):
    sentence = rf"{width} x {height} pixels is too thin for a cell of 832 x 480, .* {scaled}: crop it, or use"
    with pytest.raises(ShapeError, match=sentence):
        fit_in_cell(Box(x=0, y=0, width=832, height=480), height=height, width=width)


@pytest.mark.parametrize("order", ["official", "reading"])
@pytest.mark.parametrize(("names", "label"), [(NAMES, "the picture 'bob'"), (None, "picture 2")])
def test_a_picture_too_thin_for_its_cell_is_called_by_its_name_or_number(order, names, label):
    with pytest.raises(ShapeError, match=f"^{label} of 1 x 3000 pixels is too thin for a cell of 27. x 480"):
        arrange([(9, 9), (3000, 1), (9, 9)], height=480, width=832, seed=3, order=order, names=names)


def test_an_unknown_order_is_refused_with_the_known_ones():
    with pytest.raises(MagrefError, match=r"order is 'random', .*: choose one of official, reading$"):
        arrange(SIZES[:2], height=480, width=832, order="random")


def test_the_seed_alone_decides_the_official_order():
    layouts = [arrange(SIZES[:4], height=480, width=832, seed=seed) for seed in (7, 7, 8)]
    assert layouts[0] == layouts[1] != layouts[2]


def test_arranging_leaves_the_global_generator_alone():
    random.seed(5)
    expected = random.Random(5).random()
    arrange(SIZES[:4], height=480, width=832, seed=1)
    assert random.random() == expected


def test_the_reading_order_is_that_of_the_references():
    placements = arrange(SIZES[:4], height=480, width=832, seed=99, order="reading")
    assert [placement.reference for placement in placements] == [0, 1, 2, 3]
    assert [(placement.cell.x, placement.cell.y) for placement in placements] == [
        (0, 0),
        (416, 0),
        (0, 240),
        (416, 240),
    ]


@pytest.mark.parametrize("count", [0, 1, 5, 8, 9, 16])
def test_every_reference_gets_a_cell_of_its_own(count):
    placements = arrange([(40, 30)] * count, height=480, width=832, seed=2)
    assert sorted(placement.reference for placement in placements) == list(range(count))
    assert len({placement.cell for placement in placements}) == count


def test_every_reference_comes_into_every_cell_equally_often():
    seen = Counter(
        (placement.reference, placement.cell)
        for seed in range(3000)
        for placement in arrange(SIZES[:3], height=480, width=832, seed=seed)
    )
    assert len(seen) == 9
    assert all(abs(times / 3000 - 1 / 3) < 0.03 for times in seen.values())


def placed(index: int, **sides: int) -> Placement:
    return Placement(reference=index, box=Box(**{"x": 0, "y": 0, "width": 10, "height": 10, **sides}))


def entry(name: str, **sides: object) -> dict[str, object]:
    return {"reference": name, "x": 0, "y": 0, "width": 10, "height": 10, **sides}


def read(document: object) -> tuple[Placement, ...]:
    return placements_from_json(json.dumps(document), NAMES, height=480, width=832)


def test_placements_survive_json_in_their_order():
    placements = (placed(2, x=100, y=30), placed(0, width=832, height=480), placed(1))
    text = placements_to_json(placements, NAMES)
    assert placements_from_json(text, NAMES, height=480, width=832) == placements


def test_further_keys_are_ignored():
    entries = [entry(name) | {"locked": True} for name in NAMES]
    assert len(read({"version": 1, "placements": entries, "editor": "x"})) == 3


THREE = [entry(name) for name in NAMES]


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ([], "hold no list 'placements': write them like"),
        ({"version": 1}, "hold no list 'placements'"),
        ({"version": 2, "placements": THREE}, "are of version 2, but only version 1 can be read"),
        ({"placements": THREE}, "are of version None"),
        (
            {"version": 1, "placements": [3]},
            "placement 1 is for the reference None, but its name as a text is needed: write it like",
        ),
        (
            {"version": 1, "placements": [entry("eve")]},
            "placement 1 is for the reference 'eve', .* not exist",
        ),
        (
            {"version": 1, "placements": THREE[:2]},
            "'cup' is placed 0 times, .* exactly one placement: add one",
        ),
        (
            {"version": 1, "placements": [*THREE, entry("bob")]},
            "'bob' is placed 2 times, .*: remove the others",
        ),
        (
            {"version": 1, "placements": [entry("bob", x=1.5)]},
            "placement 1 of 'bob' has x 1.5, .* whole numbers of pixels are needed",
        ),
        ({"version": 1, "placements": [entry("bob", x=True)]}, "has x True"),
        ({"version": 1, "placements": [entry("bob", height=None)]}, "height None"),
    ],
)
def test_other_json_is_refused(document, sentence):
    with pytest.raises(MagrefError, match=sentence):
        read(document)


def test_text_that_is_not_json_is_refused_with_an_example():
    with pytest.raises(MagrefError, match=r"not JSON \(.*\): write them like \{\"version\": 1"):
        placements_from_json("{", NAMES, height=480, width=832)


@pytest.mark.parametrize(
    ("sides", "sentence"),
    [
        ({"width": 0}, "box of 'bob' is 0 x 10 pixels, but needs at least 1 x 1: enlarge it"),
        (
            {"x": 823},
            "box of 'bob' spans x 823 to 833 and y 0 to 10, but the canvas is 832 x 480 pixels: move",
        ),
        ({"y": -1}, "spans x 0 to 10 and y -1 to 9"),
        ({"height": 481}, "y 0 to 481"),
    ],
)
def test_boxes_outside_of_the_canvas_are_refused(sides, sentence):
    with pytest.raises(ShapeError, match=sentence):
        read({"version": 1, "placements": [entry("bob", **sides)]})


def boxed(x="0", y="0", width="9", height="9"):
    """The text of one placement, with values that Python's JSON would not write."""
    sides = f'"x": {x}, "y": {y}, "width": {width}, "height": {height}'
    return f'{{"version": 1, "placements": [{{"reference": "bob", {sides}}}]}}'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            boxed(x="NaN"),
            "has x nan, y 0, width 9, height 9, but whole numbers of pixels are needed: correct",
        ),
        (boxed(y="-Infinity"), "y -inf, width 9, height 9, but whole numbers"),
        (boxed(width="1e999"), "width inf"),
        (boxed(width="-5"), "box of 'bob' is -5 x 9 pixels, but needs at least 1 x 1: enlarge it"),
        (boxed(height="0"), "box of 'bob' is 9 x 0 pixels, but needs at least 1 x 1: enlarge it"),
        (boxed(x="1000000"), "but the canvas is 832 x 480 pixels: move or shrink the box"),
        (boxed(x="1000001"), "box of 'bob' lies more than 1000000 pixels away or is as large: move or"),
        (boxed(x="9" * 4300, width="9" * 4300), "box of 'bob' lies more than 1000000 pixels away"),
        ("[" * 100_000, "the placements are nested too deeply: write them like"),
        ('{"version": true, "placements": []}', "are of version True, but only version 1 can be read"),
        ('{"version": 1.5, "placements": []}', "are of version 1.5"),
        ("NaN", "hold no list 'placements'"),
        ("9" * 5000, "the placements are not JSON"),
        ("alice left, bob right", "the placements are not JSON"),
    ],
)
def test_what_is_no_placement_is_refused_before_and_during_a_run(text, sentence):
    with pytest.raises(MagrefError, match=re.escape(sentence)):
        placements_from_json(text, NAMES, height=480, width=832)
    with pytest.raises(MagrefError, match=re.escape(sentence)):
        check_placements_text(text, height=480, width=832)


def test_a_message_repeats_only_the_start_of_a_long_value():
    document = {"version": 1, "placements": [entry("<img src=x onerror=alert(1)>" + "a" * 10_000)]}
    with pytest.raises(
        MagrefError, match=r"for the reference '<img .*aaa\.\.\., which does not exist"
    ) as caught:
        read(document)
    assert len(str(caught.value)) < 200


def test_boxes_that_overlap_or_cover_one_another_are_pasted_in_their_order():
    document = {"version": 1, "placements": [entry("cup"), entry("bob"), entry("alice")]}
    assert [placement.reference for placement in read(document)] == [2, 1, 0]


def test_before_a_run_the_names_of_the_references_are_not_known():
    text = json.dumps({"version": 1, "placements": [entry("nobody")]})
    check_placements_text(text, height=480, width=832)
    with pytest.raises(MagrefError, match="'nobody', which does not exist"):
        placements_from_json(text, NAMES, height=480, width=832)
