import itertools

import pytest
import torch
import torch.nn.functional as F

from magref_core.errors import MagrefError, ShapeError
from magref_core.latents import Tiling, canvas_video, decode_video, encode_canvas

PIXELS = torch.rand(3, 32, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1


def noise(num_frames: int, height: int, width: int, batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, 16, num_frames, height, width, generator=torch.Generator().manual_seed(1))


def stub_encode(video: torch.Tensor) -> torch.Tensor:
    """The mean of each 8 x 8 pixels of every fourth frame, in 16 channels."""
    frames = F.avg_pool3d(video[:, :, ::4], (1, 8, 8))
    return frames.mean(dim=1, keepdim=True).repeat(1, 16, 1, 1, 1)


def stub_decode(latents: torch.Tensor, *, reach: int = 5, past: int = 3) -> torch.Tensor:
    """A small causal VAE: a pixel sees `reach` pixels around and `past` frames before it, zeros beyond."""
    colours = latents.unflatten(1, (2, 8)).mean(2)  # (B, 2, T, h, w)
    colours = torch.cat([colours, latents[:, :1].abs()], dim=1)  # (B, 3, T, h, w)
    later = colours[:, :, 1:].repeat_interleave(4, dim=2)
    frames = torch.cat([colours[:, :, :1], later], dim=2)  # (B, 3, 4 T - 3, h, w)
    frames = frames.repeat_interleave(8, dim=3).repeat_interleave(8, dim=4)
    frames = window_sums(window_sums(frames, 3, reach, reach), 4, reach, reach) / (2 * reach + 1) ** 2
    return window_sums(frames, 2, past, 0)


def window_sums(frames: torch.Tensor, axis: int, before: int, after: int) -> torch.Tensor:
    """Sum of each value, those `before` it and those `after` it along an axis, with zeros beyond the ends."""
    total = torch.zeros_like(frames)
    length = frames.shape[axis]
    for shift in range(-before, after + 1):
        kept = max(0, length - abs(shift))
        source = frames.narrow(axis, max(0, shift), kept)
        total.narrow(axis, max(0, -shift), kept).add_(source)
    return total


def test_the_canvas_is_frame_0_and_all_others_are_mid_grey():
    video = canvas_video(PIXELS, 9)
    assert video.shape == (1, 3, 9, 32, 48)
    assert torch.equal(video[0, :, 0], PIXELS)
    assert not video[:, :, 1:].any()


def test_a_canvas_video_of_another_length_is_refused():
    with pytest.raises(ShapeError, match=r"has 10 frames, .*: use 9"):
        canvas_video(PIXELS, 10)


def test_the_canvas_and_its_empty_frames_go_through_the_vae_together():
    latents = encode_canvas(PIXELS, 9, stub_encode)
    assert torch.equal(latents, stub_encode(canvas_video(PIXELS, 9)))


def test_a_vae_of_another_family_is_recognised_when_it_encodes():
    def encode_wan22(video: torch.Tensor) -> torch.Tensor:
        return torch.zeros(1, 48, 3, video.shape[3] // 16, video.shape[4] // 16)

    sentence = r"VAE returned \(1, 48, 3, 2, 3\), but \(1, 16, 3, 4, 6\) is needed: load the Wan 2.1 VAE"
    with pytest.raises(ShapeError, match=sentence):
        encode_canvas(PIXELS, 9, encode_wan22)


def test_a_vae_of_another_family_is_recognised_when_it_decodes():
    with pytest.raises(
        ShapeError, match=r"VAE returned \(1, 3, 9, 64, 96\), but \(1, 3, 9, 32, 48\) is needed"
    ):
        decode_video(noise(3, 4, 6), lambda latents: torch.zeros(1, 3, 9, 64, 96))


@pytest.mark.parametrize("drop_frames", [0, 1, 4, 8])
@pytest.mark.parametrize("tiling", [None, Tiling(), Tiling(height=8, width=8, overlap=2, frames=5)])
def test_what_fits_into_one_tile_is_decoded_as_it_is(drop_frames, tiling):
    latents = noise(3, 4, 6, batch=2)
    video = decode_video(latents, stub_decode, drop_frames=drop_frames, tiling=tiling)
    assert torch.equal(video, stub_decode(latents)[:, :, drop_frames:])


def test_the_first_4_frames_are_dropped_unless_said_otherwise():
    latents = noise(3, 4, 6)
    assert torch.equal(decode_video(latents, stub_decode), stub_decode(latents)[:, :, 4:])


def test_nothing_left_after_dropping_is_refused():
    sentence = "video has 1 frames and 4 are to be dropped, .*: drop at most 0, or make a longer video"
    with pytest.raises(ShapeError, match=sentence):
        decode_video(noise(1, 4, 6), stub_decode)


def test_latents_of_another_model_are_refused():
    with pytest.raises(ShapeError, match=r"latents are \(1, 4, 64, 64\), .*: use latents of a Wan 2.1 video"):
        decode_video(torch.zeros(1, 4, 64, 64), stub_decode)


TILINGS = [
    Tiling(height=6, overlap=4),
    Tiling(width=7, overlap=4),
    Tiling(height=6, width=8, overlap=3),
    Tiling(frames=4, frame_overlap=2),
    Tiling(frames=3, frame_overlap=2),
    Tiling(height=6, width=6, overlap=4, frames=4, frame_overlap=3),
]


@pytest.mark.parametrize("tiling", TILINGS)
@pytest.mark.parametrize("drop_frames", [0, 4, 6])
def test_tiles_do_not_show_where_the_vae_sees_no_further_than_the_overlap_allows(tiling, drop_frames):
    """A quarter of 3 latent cells is 6 pixels, more than the 5 the stub sees; half of 5 frames is 2."""
    latents = noise(7, 10, 11)
    whole = stub_decode(latents, past=2)[:, :, drop_frames:]
    tiled = decode_video(
        latents, lambda tile: stub_decode(tile, past=2), drop_frames=drop_frames, tiling=tiling
    )
    torch.testing.assert_close(tiled, whole, atol=1e-5, rtol=1e-5)


def test_where_the_vae_sees_further_tiles_differ_from_the_whole_but_only_near_the_cuts():
    latents = noise(2, 8, 32)
    far = stub_decode(latents, reach=30)[:, :, 4:]
    tiled = decode_video(
        latents, lambda tile: stub_decode(tile, reach=30), tiling=Tiling(width=20, overlap=8)
    )
    error = (tiled - far).abs().amax(dim=(0, 1, 2, 3))
    assert error.max() > 1e-3
    first_cut, second_cut = 12 * 8, 20 * 8  # the tiles share the columns between
    assert error[:first_cut].max() < 1e-4 and error[second_cut:].max() < 1e-4


def test_neighbours_are_blended_by_a_linear_ramp_in_the_middle_half_of_what_they_share():
    calls = itertools.count()

    def decode_constant(tile: torch.Tensor) -> torch.Tensor:
        _, _, num_frames, height, width = tile.shape
        return torch.full((1, 3, 4 * num_frames - 3, 8 * height, 8 * width), float(next(calls)))

    tiling = Tiling(width=12, overlap=4)
    row = decode_video(noise(2, 2, 20), decode_constant, tiling=tiling)[0, 0, 0, 0]
    shared = row[8 * 8 : 12 * 8]
    assert row[: 8 * 8].eq(0).all() and row[12 * 8 :].eq(1).all()
    assert shared[:8].eq(0).all() and shared[-8:].eq(1).all()
    torch.testing.assert_close(shared[8:24], (torch.arange(16) + 0.5) / 16)


def test_without_overlap_tiles_stand_side_by_side():
    latents = noise(2, 4, 8)
    tiled = decode_video(latents, lambda tile: stub_decode(tile, reach=0), tiling=Tiling(width=4, overlap=0))
    torch.testing.assert_close(tiled, stub_decode(latents, reach=0)[:, :, 4:])


def test_no_tile_is_larger_than_asked_and_neighbours_share_enough():
    seen = []

    def decode(tile: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(tile.shape[2:]))
        return stub_decode(tile, reach=0, past=0)

    decode_video(noise(7, 15, 17), decode, tiling=Tiling(height=6, width=8, overlap=3, frames=4))
    assert set(seen) == {(4, 6, 8)}
    assert len(seen) == 4 * 3 * 3


def test_progress_counts_the_tiles_and_can_interrupt():
    reports = []
    decode_video(
        noise(2, 4, 8), stub_decode, tiling=Tiling(width=4, overlap=1), progress=lambda *r: reports.append(r)
    )
    assert reports == [(1, 3), (2, 3), (3, 3)]

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode_video(noise(2, 4, 8), stub_decode, progress=stop)


def test_tiles_are_blended_alike_in_any_range_of_the_decoder():
    latents = noise(6, 16, 20)
    tiling = Tiling(height=8, width=8, overlap=2, frames=4, frame_overlap=2)
    video = decode_video(latents, stub_decode, tiling=tiling)
    halved = decode_video(latents, lambda tile: stub_decode(tile) / 2 + 0.5, tiling=tiling)
    torch.testing.assert_close(halved, video / 2 + 0.5)


def test_half_precision_tiles_are_blended_in_float32():
    latents = noise(2, 4, 8)
    decode = lambda tile: stub_decode(tile).bfloat16()  # noqa: E731
    assert decode_video(latents, decode).dtype == torch.bfloat16
    assert decode_video(latents, decode, tiling=Tiling(width=4, overlap=2)).dtype == torch.float32


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"height": 8, "overlap": 8},
            "tile height is 8 latent cells and the overlap 8, .* use an overlap of 2",
        ),
        ({"width": 4, "overlap": 5}, "tile width is 4 .* must be smaller: enlarge the tile"),
        ({"width": 4, "overlap": -1}, "overlap -1"),
        ({"height": -8}, "tile height is -8"),
        (
            {"frames": 4, "frame_overlap": 0},
            "time window is 4 latent frames and its overlap 0, .* at least 1",
        ),
        ({"frames": 2, "frame_overlap": 2}, "its overlap 2, .* less than the window"),
    ],
)
def test_tilings_that_cannot_work_are_refused(settings, sentence):
    with pytest.raises(MagrefError, match=sentence):
        Tiling(**settings)
