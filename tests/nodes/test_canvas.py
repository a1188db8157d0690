from __future__ import annotations

import json
import random
import re
from pathlib import Path

import comfy.model_management
import comfy.utils
import folder_paths
import numpy as np
import pytest
import torch
from magref_pack.magref_core.canvas.layout import arrange
from magref_pack.magref_core.canvas.references import Reference
from magref_pack.nodes.canvas import BuildMaskedCanvas
from magref_pack.nodes.preview import parse_colour
from PIL import Image

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
    return run(given, width, height, order, seed, mask_shape, background, placements).args[:3]


def run(*given):
    return BuildMaskedCanvas.execute(*given)


def check(width=64, height=32, background="#ffffff", placements=""):
    """What is said before anything runs; True for nothing."""
    return BuildMaskedCanvas.validate_inputs(
        width=width, height=height, background=background, placements=placements
    )


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
    assert sentence in check(width, height)
    with pytest.raises(ValueError, match=sentence):
        build(references(0), width=width, height=height)


def test_values_that_come_over_links_are_looked_at_later():
    assert check(width=None, height=480, background=None, placements=None) is True
    assert check(width=None, height=480, placements="{") is True
    assert "use #ffffff" in check(width=None, height=None, background="white")


def test_a_good_size_passes():
    assert check(width=480, height=832, background="#000000") is True


@pytest.mark.parametrize("text", ["white", "#fff", "#gggggg", ""])
def test_a_colour_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match=r"a colour as #rrggbb is needed"):
        parse_colour(text)


def test_a_picture_too_thin_for_its_cell_is_refused_by_name():
    with pytest.raises(ValueError, match=r"r0.* 1 x 1000"):
        build(references(0, height=1000, width=1))


def boxes(**sides):
    side = {"x": 0, "y": 0, "width": 16, "height": 16} | sides
    return json.dumps({"version": 1, "placements": [{"reference": "r10", **side}]})


@pytest.mark.parametrize(
    ("placements", "sentence"),
    [
        ("alice left", "the placements are not JSON"),
        (
            boxes(x=60),
            "spans x 60 to 76 and y 0 to 16, but the canvas is 64 x 32 pixels: move or shrink the box",
        ),
        (boxes(width=0), "is 0 x 16 pixels, but needs at least 1 x 1: enlarge it"),
        (boxes(y=float("nan")), "y nan, width 16, height 16, but whole numbers of pixels are needed"),
    ],
)
def test_bad_placements_are_refused_before_anything_runs(placements, sentence):
    assert sentence in check(placements=placements)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        build(references(10), placements=placements)


def test_blank_placements_and_good_ones_pass():
    assert check(placements="  ") is True and check(placements=boxes()) is True


def test_overlapping_boxes_are_pasted_in_the_order_of_the_list():
    both = {"version": 1, "placements": [json.loads(boxes())["placements"][0], {**BOX, "reference": "r200"}]}
    _, image, _ = build(references(10, 200), placements=json.dumps(both))
    assert round(float(image[0, 8, 8, 0]) * 255) == 200
    both["placements"].reverse()
    _, image, _ = build(references(10, 200), placements=json.dumps(both))
    assert round(float(image[0, 8, 8, 0]) * 255) == 10


BOX = {"x": 4, "y": 4, "width": 16, "height": 16}


def test_the_fitted_order_cuts_cells_by_the_pictures():
    canvas = build(references(10, 200, height=10, width=40), width=64, height=32, order="fitted")[0]
    assert [placement.box.width for placement in canvas.placements] == [64, 64], "one above the other"
    canvas = build(references(10, 200, height=10, width=40), width=64, height=32)[0]
    assert [placement.box.width for placement in canvas.placements] == [32, 32], "side by side officially"


def shown(given, **changes):
    values = {"order": "official", "placements": ""} | changes
    return run(given, 832, 480, values["order"], 0, "rectangle", "#ffffff", values["placements"])


def test_the_report_is_an_output_and_goes_to_the_page():
    output = shown(references(10, 200))
    report = json.loads(output.args[3])
    assert [subject["reference"] for subject in report["subjects"]] == ["r10", "r200"]
    assert [finding["code"] for finding in report["findings"]] == ["enlarged", "enlarged"]
    assert output.ui["magref_report"] == [report]
    assert len(output.ui["images"]) == 1, "the ordinary preview"


@pytest.mark.parametrize("step", [1, 3])
def test_a_canvas_of_large_pictures_can_be_cancelled_between_two_of_them(monkeypatch, step):
    steps = []

    def cancel_later(self, value):
        steps.append(value)
        comfy.model_management.interrupt_current_processing(len(steps) == step)

    monkeypatch.setattr(comfy.utils.ProgressBar, "update", cancel_later)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        shown(references(10, 200))
    assert len(steps) == step
    shown(references(10, 200))
    assert len(steps) == step + 4, "two pictures, pasted and sent to the page"


def opened(entry):
    assert entry["type"] == "temp"
    return np.array(
        Image.open(Path(folder_paths.get_temp_directory()) / entry["subfolder"] / entry["filename"])
    )


def test_the_page_is_given_the_views_and_the_canvas_exactly():
    output = shown(references(10, 200))
    views = {view["kind"]: opened(view) for view in output.ui["magref_views"]}
    assert list(views) == ["canvas", "mask", "latent_mask", "clip"]
    assert (views["canvas"] == output.args[0].image.numpy()).all()
    assert views["clip"].shape == (224, 224, 3)


def test_the_page_is_given_each_reference_with_its_transparency_and_at_most_512_pixels():
    alpha = torch.zeros(600, 1200, dtype=torch.uint8)
    alpha[:, :600] = 255
    image = torch.full((600, 1200, 3), 77, dtype=torch.uint8)
    given = (Reference(name="wide", kind="person", image=image, alpha=alpha), *references(5))
    wide, small = shown(given).ui["magref_references"]
    assert (wide["reference"], wide["kind"], wide["width"], wide["height"]) == ("wide", "person", 1200, 600)
    picture = opened(wide)
    assert picture.shape == (256, 512, 4)
    assert picture[100, 10].tolist() == [77, 77, 77, 255] and picture[100, 500, 3] == 0
    assert (small["reference"], opened(small).shape) == ("r5", (10, 10, 4))


def test_the_same_picture_is_written_once():
    before = shown(references(10)).ui["magref_references"]
    assert shown(references(10)).ui["magref_references"] == before


def test_warnings_stand_in_the_log_and_information_does_not(caplog):
    given = references(1, 2, 3, 4, height=400, width=400)
    report = json.loads(shown(given).args[3])
    assert [finding["code"] for finding in report["findings"]] == ["many_subjects"]
    assert not caplog.records
    shown(references(10))
    assert "the picture of 'r10' is enlarged 48.0 times" in caplog.text
    assert "use a larger picture of it" in caplog.text


def test_without_placements_the_layout_is_made_as_if_they_were_blank():
    given = references(10, 200)
    values = (given, 64, 32, "official", 4, "rectangle", "#ffffff")
    assert run(*values).args[0].placements == run(*values, "").args[0].placements
    assert BuildMaskedCanvas.validate_inputs(width=64, height=32, background="#ffffff") is True


def test_untouched_the_node_is_official():
    """Its defaults give the layout that the official program gives after random.seed(0)."""
    given = {item.id: getattr(item, "default", None) for item in BuildMaskedCanvas.GET_SCHEMA().inputs}
    del given["references"]
    assert (given["order"], given["placements"]) == ("official", "")
    canvas = BuildMaskedCanvas.execute(references(10, 200, 30), **given).args[0]
    expected = arrange([(10, 10)] * 3, height=480, width=832, seed=0)
    assert canvas.placements == expected
