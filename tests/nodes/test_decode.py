from __future__ import annotations

import pytest
import torch
from magref_pack.magref_core.errors import ShapeError
from magref_pack.nodes.decode import DecodeVideo

from . import models


def latent(frames=3, height=8, width=12, seed=0):
    return {
        "samples": torch.randn(1, 16, frames, height, width, generator=torch.Generator().manual_seed(seed))
    }


def decode(samples, *, fps=15.0, drop=4, tile_size=0, tile_frames=0):
    return DecodeVideo.execute(samples, models.vae(), fps, drop, tile_size, tile_frames).args


def test_the_first_four_frames_are_dropped_and_the_others_are_the_hosts():
    images, _ = decode(latent())
    expected = models.vae().decode(latent()["samples"])[0]
    assert images.shape == (5, 64, 96, 3)
    torch.testing.assert_close(images, expected[4:], rtol=0, atol=1e-6)
    assert images.min() >= 0 and images.max() <= 1


def test_the_video_has_the_frames_and_the_rate():
    images, video = decode(latent(), fps=12.0)
    components = video.get_components()
    assert components.frame_rate == 12
    assert torch.equal(components.images, images)


def test_tiles_come_as_near_to_the_whole_frame_as_the_hosts_own():
    given = latent(height=16, width=16)
    whole, _ = decode(given)
    tiled, _ = decode(given, tile_size=96)
    host_tiled = models.vae().decode_tiled(given["samples"], tile_x=12, tile_y=12, overlap=3)[0][4:]
    ours, hosts = ((video - whole).abs().mean() for video in (tiled, host_tiled))
    assert 0 < ours <= 1.05 * hosts, "random weights see the whole frame, so tiles cannot be equal"


def test_a_rate_of_nothing_that_came_over_a_link_is_refused():
    with pytest.raises(ValueError, match=r"fps is 0, but a video needs a rate above 0: use 15"):
        decode(latent(), fps=0.0)


def test_a_video_without_a_frame_left_is_refused():
    with pytest.raises(ShapeError, match=r"holds 1 frames and drop_frames is 4.*at least 5 frames"):
        decode(latent(frames=1))


@pytest.mark.parametrize(("tile_size", "tile_frames"), [(32, 0), (0, 4)])
def test_tiles_too_small_to_overlap_are_refused(tile_size, tile_frames):
    assert "at least" in DecodeVideo.validate_inputs(tile_size=tile_size, tile_frames=tile_frames)
    assert DecodeVideo.validate_inputs(tile_size=None, tile_frames=None) is True
    with pytest.raises(ShapeError, match="at least"):
        decode(latent(), tile_size=tile_size, tile_frames=tile_frames)


@pytest.mark.parametrize("shape", [(1, 16, 8, 12), (1, 4, 3, 8, 12)])
def test_a_latent_of_another_kind_is_refused(shape):
    with pytest.raises(ShapeError, match=r"a video latent with 16 channels is needed"):
        decode({"samples": torch.zeros(shape)})
