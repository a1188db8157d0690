import random
from collections import Counter
from dataclasses import replace

import pytest
import torch

from magref_core.canvas.layout import Box, arrange, cells_for, fit_in_cell
from magref_core.errors import MagrefError, ShapeError
from magref_core.training.masking import PAPER, LayoutConfig, random_layout, split_cells

SIZES = ((120, 50), (64, 96), (300, 451), (30, 52), (40, 30), (110, 60), (50, 90), (31, 31))
"""Height and width of some references."""
CANVAS = {"height": 96, "width": 160}
FREE = LayoutConfig(larger_grids=0.5, splits=0.3)


def layout(count, seed, config, *, sizes=SIZES):
    return random_layout(sizes[:count], **CANVAS, config=config, rng=random.Random(seed))


def painted(boxes, *, height, width):
    """How many boxes lie over each pixel."""
    counts = torch.zeros(height, width, dtype=torch.int)
    for box in boxes:
        counts[box.y : box.bottom, box.x : box.right] += 1
    return counts


def is_inside(box, cell):
    return cell.x <= box.x and cell.y <= box.y and box.right <= cell.right and box.bottom <= cell.bottom


@pytest.mark.parametrize("count", range(1, 9))
@pytest.mark.parametrize("config", [PAPER, LayoutConfig(), FREE], ids=["paper", "default", "free"])
def test_the_mask_is_as_large_as_its_rectangles_together(count, config):
    whole = Box(x=0, y=0, width=160, height=96)
    for seed in range(40):
        placements = layout(count, seed, config)
        boxes = [placement.box for placement in placements]
        counts = painted(boxes, **CANVAS)
        assert counts.max() == 1
        assert counts.sum() == sum(box.width * box.height for box in boxes)
        assert sorted(placement.reference for placement in placements) == list(range(count))
        assert all(is_inside(placement.box, placement.cell) for placement in placements)
        assert all(is_inside(box, whole) for box in boxes)


@pytest.mark.parametrize("count", range(1, 9))
def test_the_paper_has_the_official_layouts_and_no_others(count):
    """Up to the order of pasting, which cannot be seen as long as nothing overlaps."""
    seeds = range(300 if count < 4 else 50)
    sizes = SIZES[:count]
    ours = {frozenset(layout(count, seed, PAPER)) for seed in seeds}
    theirs = {frozenset(arrange(sizes, **CANVAS, seed=seed)) for seed in seeds}
    if count < 4:
        assert ours == theirs
    cells = cells_for(count, **CANVAS)
    for placements in ours:
        assert {placement.cell for placement in placements} <= set(cells)
        for placement in placements:
            height, width = sizes[placement.reference]
            assert placement.box == fit_in_cell(placement.cell, height=height, width=width)


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_each_picture_is_in_each_cell_equally_often(count):
    seen = Counter()
    cells = cells_for(count, height=8, width=12)
    for seed in range(10_000):
        rng = random.Random(seed)
        for placement in random_layout([(1, 1)] * count, height=8, width=12, config=PAPER, rng=rng):
            seen[placement.reference, placement.cell] += 1
    assert len(seen) == count * len(cells)
    for times in seen.values():
        assert times / 10_000 == pytest.approx(1 / len(cells), abs=0.01)


def test_each_picture_is_pasted_last_equally_often():
    last = Counter(layout(3, seed, PAPER)[-1].reference for seed in range(3000))
    for times in last.values():
        assert times / 3000 == pytest.approx(1 / 3, abs=0.03)


def test_larger_grids_and_splits_come_up_at_their_rates():
    config = LayoutConfig(larger_grids=0.4, splits=0.25)
    grids = {count: set(cells_for(count, **CANVAS)) for count in (1, 2, 3, 4, 6, 8)}
    families = Counter()
    for seed in range(4000):
        cells = {placement.cell for placement in layout(2, seed, config)}
        families[next((count for count, grid in grids.items() if cells <= grid), "split")] += 1
    assert families["split"] / 4000 == pytest.approx(0.25, abs=0.02)
    assert families[2] / 4000 == pytest.approx(0.75 * 0.6, abs=0.025)
    for count in (3, 4, 6, 8):
        assert families[count] / 4000 == pytest.approx(0.75 * 0.4 / 4, abs=0.02)


def test_eight_references_have_no_larger_grid():
    placements = layout(8, 0, replace(PAPER, larger_grids=1.0))
    assert {placement.cell for placement in placements} == set(cells_for(8, **CANVAS))


def test_scale_and_position_use_their_whole_range():
    config = replace(PAPER, jitter=1.0, scale=(0.5, 1.0))
    boxes = [layout(1, seed, config, sizes=[(96, 160)])[0].box for seed in range(2000)]
    scales = [box.width / 160 for box in boxes]
    assert min(scales) == pytest.approx(0.5, abs=0.01)
    assert max(scales) == pytest.approx(1.0, abs=0.01)
    assert sum(scales) / 2000 == pytest.approx(0.75, abs=0.01)
    free = [box.x / (160 - box.width) for box in boxes if box.width < 140]
    assert min(free) < 0.02
    assert max(free) > 0.98
    assert sum(free) / len(free) == pytest.approx(0.5, abs=0.02)


def test_without_jitter_pictures_stay_in_the_middle():
    for seed in range(50):
        (placement,) = layout(1, seed, replace(PAPER, scale=(0.6, 1.0)), sizes=[(96, 96)])
        box, cell = placement.box, placement.cell
        assert abs(2 * box.x + box.width - cell.width) <= 1
        assert abs(2 * box.y + box.height - cell.height) <= 1


@pytest.mark.parametrize("count", range(1, 10))
def test_splits_fill_the_canvas_without_overlap(count):
    for seed in range(30):
        parts = split_cells(count, Box(x=0, y=0, width=160, height=96), random.Random(seed))
        assert len(parts) == count
        assert (painted(parts, **CANVAS) == 1).all()
        assert min(part.width * part.height for part in parts) > 96 * 160 / count / 8


@pytest.mark.parametrize("count", range(1, 13))
def test_even_the_smallest_canvas_is_split_into_whole_pixels(count):
    for seed in range(20):
        parts = split_cells(count, Box(x=0, y=0, width=4, height=3), random.Random(seed))
        assert (painted(parts, height=3, width=4) == 1).all()


def test_a_canvas_of_fewer_pixels_than_cells_is_refused():
    with pytest.raises(
        ShapeError, match="a canvas of 4 x 3 pixels cannot be cut into 13 cells: use a larger one"
    ):
        split_cells(13, Box(x=0, y=0, width=4, height=3), random.Random(0))
    with pytest.raises(ShapeError, match="the canvas is 3 x 1 pixels, but 4 references need 2 x 2 cells"):
        random_layout([(1, 1)] * 4, height=1, width=3, config=PAPER, rng=random.Random(0))


def test_a_picture_that_is_too_thin_is_refused():
    with pytest.raises(ShapeError, match="too thin"):
        layout(1, 0, PAPER, sizes=[(1, 500)])


def test_the_layout_follows_from_the_seed():
    assert layout(4, 5, FREE) == layout(4, 5, FREE)
    assert len({layout(4, seed, FREE) for seed in range(20)}) == 20


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"larger_grids": 1.5}, "larger_grids of the layout is 1.5, but must be from 0 to 1"),
        ({"splits": -0.5}, "splits of the layout is -0.5"),
        ({"jitter": float("nan")}, "jitter of the layout is nan"),
        ({"scale": (0.0, 1.0)}, "the scale of the layout is 0.0 to 1.0, but must rise within 0 to 1"),
        ({"scale": (0.9, 0.8)}, "the scale of the layout is 0.9 to 0.8"),
        ({"scale": (0.9, 1.1)}, "the scale of the layout is 0.9 to 1.1"),
    ],
)
def test_bad_values_are_refused(change, sentence):
    with pytest.raises(MagrefError, match=sentence):
        LayoutConfig(**change)
