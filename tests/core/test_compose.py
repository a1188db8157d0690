import pytest
import torch
from PIL import Image

from magref_core.canvas.compose import compose_canvas
from magref_core.canvas.layout import Box, Placement, arrange
from magref_core.canvas.references import Reference
from magref_core.errors import MagrefError, ShapeError

RED = (200, 30, 10)
BLUE = (0, 0, 250)


def plain(name: str, colour, *, height: int = 20, width: int = 30, alpha=None) -> Reference:
    image = torch.tensor(colour, dtype=torch.uint8).expand(height, width, 3).contiguous()
    return Reference(name=name, image=image, alpha=alpha)


def half_alpha(*, height: int = 20, width: int = 30) -> torch.Tensor:
    """Opaque on the left half."""
    alpha = torch.zeros(height, width, dtype=torch.uint8)
    alpha[:, : width // 2] = 255
    return alpha


def at(index: int, x: int, y: int, width: int, height: int) -> Placement:
    return Placement(reference=index, box=Box(x=x, y=y, width=width, height=height))


def colours(region: torch.Tensor) -> set[tuple[int, ...]]:
    return {tuple(pixel) for pixel in region.reshape(-1, 3).tolist()}


def test_no_reference_gives_a_blank_canvas():
    canvas = compose_canvas([], [], height=32, width=48)
    assert colours(canvas.image) == {(255, 255, 255)}
    assert not canvas.mask.any()
    assert (canvas.height, canvas.width) == (32, 48)


def test_a_picture_fills_its_box_and_nothing_else():
    canvas = compose_canvas([plain("a", RED)], [at(0, 5, 3, 10, 7)], height=32, width=48)
    assert colours(canvas.image[3:10, 5:15]) == {RED}
    canvas.image[3:10, 5:15] = 255
    assert colours(canvas.image) == {(255, 255, 255)}


def test_the_mask_is_one_on_the_boxes_alone():
    references = [plain("a", RED), plain("b", BLUE)]
    placements = [at(1, 40, 20, 8, 12), at(0, 0, 0, 10, 7)]
    mask = compose_canvas(references, placements, height=32, width=48).mask
    expected = [[int((x < 10 and y < 7) or (x >= 40 and y >= 20)) for x in range(48)] for y in range(32)]
    assert mask.tolist() == expected
    assert mask.dtype == torch.uint8


def test_a_picture_is_resized_by_lanczos_on_8_bits():
    image = torch.randint(0, 256, (17, 23, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    canvas = compose_canvas([Reference(name="a", image=image)], [at(0, 0, 0, 40, 9)], height=16, width=48)
    resized = Image.fromarray(image.numpy()).resize((40, 9), Image.Resampling.LANCZOS)
    assert torch.equal(
        canvas.image[:9, :40],
        torch.frombuffer(bytearray(resized.tobytes()), dtype=torch.uint8).view(9, 40, 3),
    )


def test_transparent_parts_show_the_background_colour():
    reference = plain("a", RED, alpha=half_alpha())
    canvas = compose_canvas([reference], [at(0, 0, 0, 30, 20)], height=32, width=48, background=(1, 2, 3))
    assert colours(canvas.image[:20, 16:30]) == {(1, 2, 3)}
    assert colours(canvas.image[:20, :14]) == {RED}
    assert colours(canvas.image[20:]) == {(1, 2, 3)}


def test_half_transparent_parts_are_mixed_with_the_background():
    alpha = torch.full((20, 30), 128, dtype=torch.uint8)
    canvas = compose_canvas([plain("a", (0, 0, 0), alpha=alpha)], [at(0, 0, 0, 30, 20)], height=32, width=48)
    assert colours(canvas.image[:20, :30]) == {(127, 127, 127)}


def test_the_rectangle_mask_holds_transparent_parts_and_the_cutout_does_not():
    reference = plain("a", RED, alpha=half_alpha())
    masks = {
        shape: compose_canvas([reference], [at(0, 0, 0, 60, 40)], height=48, width=64, mask_shape=shape).mask
        for shape in ("rectangle", "cutout")
    }
    assert masks["rectangle"][:40, :60].all() and masks["rectangle"].sum() == 40 * 60
    assert masks["cutout"][:40, :30].all() and masks["cutout"].sum() == 40 * 30


def test_a_cutout_is_bounded_at_half_opacity():
    alpha = torch.tensor([[127, 128, 255]], dtype=torch.uint8)
    reference = plain("a", RED, height=1, width=3, alpha=alpha)
    canvas = compose_canvas([reference], [at(0, 0, 0, 3, 1)], height=16, width=16, mask_shape="cutout")
    assert canvas.mask[0, :3].tolist() == [0, 1, 1]


def test_a_cutout_that_is_nowhere_opaque_is_refused_and_its_rectangle_is_not():
    references = [plain("bob", BLUE), plain("ghost", RED, alpha=torch.full((20, 30), 127, dtype=torch.uint8))]
    placements = [at(0, 0, 0, 30, 20), at(1, 30, 0, 15, 10)]
    sentence = (
        "cut-out of 'ghost' is less than half opaque all over its 15 x 10 pixels, but the mask needs an "
        "opaque one: make it larger or more opaque, or choose the mask shape rectangle"
    )
    with pytest.raises(MagrefError, match=sentence):
        compose_canvas(references, placements, height=32, width=48, mask_shape="cutout")
    assert compose_canvas(references, placements, height=32, width=48).mask[:10, 30:45].all()


def test_a_subject_that_resizing_thins_away_is_refused():
    alpha = torch.zeros(40, 400, dtype=torch.uint8)
    alpha[:, 200] = 255
    reference = plain("rope", RED, height=40, width=400, alpha=alpha)
    with pytest.raises(MagrefError, match="cut-out of 'rope' is less than half opaque all over its 40 x 4"):
        compose_canvas([reference], [at(0, 0, 0, 40, 4)], height=16, width=48, mask_shape="cutout")


def test_an_unknown_mask_shape_is_refused_with_the_known_ones():
    with pytest.raises(MagrefError, match=r"shape is 'circle', .*: choose one of rectangle, cutout$"):
        compose_canvas([], [], height=16, width=16, mask_shape="circle")


def test_a_later_picture_covers_an_earlier_one_and_shows_it_through_its_transparent_parts():
    references = [plain("below", BLUE), plain("above", RED, alpha=half_alpha())]
    placements = [at(0, 0, 0, 30, 20), at(1, 0, 0, 30, 20)]
    canvas = compose_canvas(references, placements, height=32, width=48)
    assert colours(canvas.image[:20, :14]) == {RED}
    assert colours(canvas.image[:20, 16:30]) == {BLUE}


def test_pixels_are_the_canvas_in_minus_one_to_one():
    canvas = compose_canvas([plain("a", (0, 255, 51))], [at(0, 0, 0, 16, 16)], height=16, width=16)
    pixels = canvas.pixels()
    assert pixels.shape == (3, 16, 16) and pixels.dtype == torch.float32
    torch.testing.assert_close(pixels[:, 3, 5], torch.tensor([-1.0, 1.0, -0.6]))


@pytest.mark.parametrize("count", [1, 7, 12])
def test_the_area_of_the_mask_is_that_of_the_boxes(count):
    references = [plain(f"r{index}", RED, height=10 + index, width=40 - index) for index in range(count)]
    sizes = [(reference.height, reference.width) for reference in references]
    placements = arrange(sizes, height=96, width=128, seed=4)
    canvas = compose_canvas(references, placements, height=96, width=128)
    assert canvas.mask.sum() == sum(placement.box.width * placement.box.height for placement in placements)
    assert canvas.placements == placements and canvas.references == tuple(references)


def test_a_reference_without_a_place_is_not_dropped_silently():
    references = [plain("alice", RED), plain("bob", BLUE)]
    with pytest.raises(
        MagrefError, match=r"'bob' is placed 0 times, .* exactly one placement: add one for it"
    ):
        compose_canvas(references, [at(0, 0, 0, 8, 8)], height=16, width=16)


def test_a_box_over_the_edge_is_refused():
    with pytest.raises(ShapeError, match=r"box of 'alice' spans x 10 to 18 .* canvas is 16 x 16 pixels"):
        compose_canvas([plain("alice", RED)], [at(0, 10, 0, 8, 8)], height=16, width=16)


@pytest.mark.parametrize("background", [(256, 0, 0), (0, -1, 0), (0, 0)])
def test_a_background_that_is_no_colour_is_refused(background):
    with pytest.raises(
        MagrefError, match=r"three levels from 0 to 255 are needed: white is \(255, 255, 255\)"
    ):
        compose_canvas([], [], height=16, width=16, background=background)


def test_a_canvas_without_pixels_is_refused():
    with pytest.raises(ShapeError, match="canvas is 16 x 0 pixels: use at least 16 x 16"):
        compose_canvas([], [], height=0, width=16)
