from __future__ import annotations

import torch

from magref_core.canvas.clip_view import clip_pixels
from magref_core.canvas.views import MARK, draw_views, thumbnail

from .canvases import canvas_of, opaque_in, reference


def is_marked(picture):
    """(h, w): where a grey picture was mixed with the colour of marks."""
    return picture[..., 0] != picture[..., 2]


def test_the_canvas_is_shown_as_it_is():
    canvas = canvas_of((reference(), (10, 20, 100, 100)))
    assert torch.equal(draw_views(canvas)["canvas"], canvas.image)


def test_the_mask_view_colours_what_is_marked_and_nothing_else():
    given = reference(alpha=opaque_in((0, 0, 50, 100)))
    canvas = canvas_of((given, (10, 20, 100, 100)), mask_shape="cutout")
    assert torch.equal(is_marked(draw_views(canvas)["mask"]), canvas.mask.bool())
    assert MARK[2] > MARK[0]


def test_the_latent_view_colours_whole_cells():
    canvas = canvas_of((reference(), (10, 20, 100, 100)))
    expected = torch.zeros(480, 832, dtype=torch.bool)
    expected[16:120, 8:112] = True  # cells of 8 pixels around x 10 to 110 and y 20 to 120
    assert torch.equal(is_marked(draw_views(canvas)["latent_mask"]), expected)


def test_the_clip_view_is_what_the_encoder_gets_but_for_the_overshoot():
    canvas = canvas_of((reference(), (10, 20, 100, 100)))
    seen = draw_views(canvas)["clip"]
    assert seen.shape == (224, 224, 3) and seen.dtype == torch.uint8
    again = clip_pixels(canvas.pixels()[None])[0]
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    levels = ((again * std + mean) * 255).clamp(0, 255).permute(1, 2, 0)
    assert (seen.float() - levels).abs().max() <= 0.51


def test_a_large_canvas_is_shown_in_1024_pixels():
    canvas = canvas_of((reference(), (10, 20, 100, 100)), height=1040, width=2080)
    shapes = {kind: tuple(view.shape) for kind, view in draw_views(canvas).items()}
    assert shapes == dict.fromkeys(shapes, (512, 1024, 3)) | {"clip": (224, 224, 3)}


def test_a_thumbnail_keeps_shape_and_transparency_and_never_enlarges():
    given = reference(height=300, width=600, alpha=opaque_in((0, 0, 300, 300), height=300, width=600))
    small = thumbnail(given.image, given.alpha, max_side=100)
    assert small.shape == (50, 100, 4) and small.dtype == torch.uint8
    assert small[25, 10, 3] == 255 and small[25, 90, 3] == 0
    assert small[25, 10, :3].tolist() == [90, 90, 90]
    assert thumbnail(given.image, None, max_side=1000).shape == (300, 600, 4)
