import pytest

from magref_core.errors import ShapeError
from magref_core.sizes import check_num_frames, check_video_size, num_latent_frames


@pytest.mark.parametrize(("height", "width"), [(16, 16), (480, 832), (1280, 720)])
def test_a_video_of_whole_tokens_is_accepted(height, width):
    check_video_size(height=height, width=width)


@pytest.mark.parametrize(
    ("height", "width", "nearest"),
    [
        (479, 832, "832 x 480"),
        (480, 837, "832 x 480"),
        (480, 840, "848 x 480"),
        (7, 832, "832 x 16"),
        (0, -3, "16 x 16"),
    ],
)
def test_a_video_off_the_token_grid_is_refused_with_the_nearest_size(height, width, nearest):
    sentence = rf"is {width} x {height} pixels, .* multiples of 16: use {nearest}$"
    with pytest.raises(ShapeError, match=sentence):
        check_video_size(height=height, width=width)


def test_exactly_every_fourth_length_has_latent_frames():
    allowed = {}
    for num_frames in range(-4, 100):
        try:
            allowed[num_frames] = num_latent_frames(num_frames)
        except ShapeError:
            continue
    assert allowed == {4 * n + 1: n + 1 for n in range(25)}


@pytest.mark.parametrize(("num_frames", "nearest"), [(80, 81), (82, 81), (83, 85), (84, 85), (0, 1), (-9, 1)])
def test_a_length_between_is_refused_with_the_nearest_one(num_frames, nearest):
    with pytest.raises(
        ShapeError, match=rf"has {num_frames} frames, .* multiple of 4 plus 1: use {nearest}$"
    ):
        check_num_frames(num_frames)
