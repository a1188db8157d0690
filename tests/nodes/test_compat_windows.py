"""The host's context windows: each window keeps the canvas that MAGREF has in its first latent frame."""

from __future__ import annotations

import pytest
import torch
from comfy_extras.nodes_context_windows import WanContextWindowsManualNode

from . import runs

pytestmark = pytest.mark.usefixtures("one_attention")

FRAMES = 7
WINDOW = 3
"""Latent frames of a window; later windows get one more, the frame before them."""
GUIDANCE = slice(16, 36)
"""Channels of mask and canvas behind those of the noise."""


def with_windows(model, *, retain, freenoise=False, schedule="standard_static"):
    return WanContextWindowsManualNode.execute(
        model,
        context_length=4 * WINDOW - 3,
        context_overlap=4,
        context_schedule=schedule,
        context_stride=1,
        closed_loop=False,
        fuse_method="pyramid",
        freenoise=freenoise,
        retain_first_frame=retain,
    ).args[0]


def sample(model, frames=FRAMES, **changes):
    return runs.sample(model, pair=runs.prompts(frames=frames), latent=runs.empty(frames=frames), **changes)


def canvas_slots(model):
    """Mask and canvas channels of the first frame of each forward, (B, 20, h, w)."""
    watched, calls = runs.watch(model)
    sample(watched)
    return [call["x"][:, GUIDANCE, 0] for call in calls]


def test_each_window_has_the_canvas_in_its_first_frame():
    model = runs.our_model()
    canvas = canvas_slots(model)[0]
    slots = canvas_slots(with_windows(model, retain=True))
    assert len(slots) == 2 * 3  # steps by windows, positive and negative in one forward
    assert canvas.any()
    assert all(torch.equal(slot, canvas) for slot in slots)


def test_without_retain_first_frame_later_windows_lose_the_canvas():
    model = runs.our_model()
    canvas = canvas_slots(model)[0]
    slots = canvas_slots(with_windows(model, retain=False))
    assert [torch.equal(slot, canvas) for slot in slots] == [True, False, False] * 2


def test_the_other_frames_of_a_window_are_those_of_the_whole_video():
    model = runs.our_model()
    watched, calls = runs.watch(model)
    sample(watched, steps=1)
    whole = calls[0]["x"]
    watched, calls = runs.watch(with_windows(model, retain=True))
    sample(watched, steps=1)
    positions = [range(3), range(1, 5), range(3, 7)]  # overlap of one, and the frame before
    for call, frames in zip(calls, positions, strict=True):
        torch.testing.assert_close(call["x"][:, :, 1:], whole[:, :, frames[1:]], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("schedule", "freenoise"), [("standard_static", False), ("standard_uniform", True), ("batched", False)]
)
def test_windows_give_the_numbers_of_native_wan(schedule, freenoise):
    options = {"retain": True, "freenoise": freenoise, "schedule": schedule}
    model = runs.our_model()
    ours = sample(with_windows(model, **options), cfg=1.0)
    native = sample(with_windows(runs.native_model(), **options), cfg=1.0)
    assert torch.isfinite(ours).all()
    assert runs.largest_difference(ours, native) <= 1e-4
    assert runs.largest_difference(ours, sample(model, cfg=1.0)) > 0.1


def test_windows_work_with_our_sampler_and_whole_timesteps():
    run = {"pair": runs.prompts(frames=FRAMES), "latent": runs.empty(frames=FRAMES), "cfg": 1.0}
    ours, native = (
        runs.magref_sample(with_windows(model, retain=True), **run)
        for model in (runs.our_model(), runs.native_model())
    )
    assert runs.largest_difference(ours, native) <= 2e-4
    assert runs.largest_difference(ours, runs.magref_sample(runs.our_model(), **run)) > 0.1


def test_a_video_that_fits_one_window_is_left_alone():
    model = runs.our_model()
    assert torch.equal(sample(with_windows(model, retain=True), frames=WINDOW), sample(model, frames=WINDOW))
