from __future__ import annotations

import json
import random

import pytest
import torch
from magref_pack.magref_core.canvas.references import Reference
from magref_pack.nodes.canvas import BuildMaskedCanvas, parse_colour

WHITE = 255


def references(*colours, height=10, width=10):
    return tuple(
        Reference(name=f"r{value}", image=torch.full((height, width, 3), value, dtype=torch.uint8))
        for value in colours
    )


def build(
    given,
    *,
    width=64,
    height=32,
    order="official",
    seed=0,
    mask_shape="rectangle",
    placements="",
    background="#ffffff",
):
    return BuildMaskedCanvas.execute(
        given, width, height, order, seed, mask_shape, background, placements
    ).args


def test_the_seed_gives_the_layout_that_python_random_gives_officially():
    for seed in range(8):
        _, image, _ = build(references(10, 200), seed=seed)
        indices, cells = [0, 1], [0, 1]
        generator = random.Random(seed)
        generator.shuffle(indices)
        generator.shuffle(cells)
        left = dict(zip(cells, indices, strict=True))[0]
        assert round(float(image[0, 16, 16, 0]) * 255) == (10, 200)[left]


def test_image_and_mask_follow_the_hosts_ranges_and_polarity():
    canvas, image, mask = build(references(0), width=64, height=32)
    assert image.shape == (1, 32, 64, 3) and mask.shape == (1, 32, 64)
    assert image.dtype == mask.dtype == torch.float32
    assert mask[0, 16, 32] == 1 and image[0, 16, 32].sum() == 0, "on the reference"
    assert mask[0, 16, 0] == 0 and image[0, 16, 0].sum() == 3, "on the white beside it"
    assert torch.equal(canvas.mask.float(), mask[0])


def test_boxes_of_ones_own_win_over_the_layout():
    boxes = {"version": 1, "placements": [{"reference": "r10", "x": 40, "y": 8, "width": 16, "height": 16}]}
    _, image, mask = build(references(10), placements=json.dumps(boxes))
    marked = mask[0].nonzero()
    assert marked.min(0).values.tolist() == [8, 40] and marked.max(0).values.tolist() == [23, 55]
    assert round(float(image[0, 9, 41, 0]) * 255) == 10


def test_the_background_takes_the_colour_given():
    _, image, _ = build(references(0), background="#ff0080")
    assert (image[0, 16, 0] * 255).round().tolist() == [255, 0, 128]


@pytest.mark.parametrize(
    ("width", "height", "sentence"),
    [
        (830, 480, "use 832 x 480"),
        (832, 479, "use 832 x 480"),
        (0, 480, "use 16 x 480"),
        (100000, 480, "no side may be over 4096"),
    ],
)
def test_a_size_off_the_grid_is_refused_before_anything_runs(width, height, sentence):
    answer = BuildMaskedCanvas.validate_inputs(width=width, height=height, background="#ffffff")
    assert sentence in answer
    with pytest.raises(ValueError, match=sentence):
        build(references(0), width=width, height=height)


def test_values_that_come_over_links_are_looked_at_later():
    assert BuildMaskedCanvas.validate_inputs(width=None, height=480, background=None) is True
    assert "use #ffffff" in BuildMaskedCanvas.validate_inputs(width=None, height=None, background="white")


def test_a_good_size_passes():
    assert BuildMaskedCanvas.validate_inputs(width=480, height=832, background="#000000") is True


@pytest.mark.parametrize("text", ["white", "#fff", "#gggggg", ""])
def test_a_colour_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match=r"a colour as #rrggbb is needed"):
        parse_colour(text)


def test_a_picture_too_thin_for_its_cell_is_refused_by_name():
    with pytest.raises(ValueError, match=r"r0.* 1 x 1000"):
        build(references(0, height=1000, width=1))
