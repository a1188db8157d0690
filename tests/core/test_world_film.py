"""Films, masks, boxes and the measuring stick agree with each other."""

from dataclasses import replace

import numpy as np
import pytest

from magref_core.errors import MagrefError
from magref_core.world.film import film, render_actor
from magref_core.world.identity import draw_identity
from magref_core.world.motions import PAIR_MOTIONS
from magref_core.world.places import paint_place
from magref_core.world.scene import Light, SceneOptions, draw_scene

SMALL = {"height": 64, "width": 96}


def draw(seed=0, **options):
    return draw_scene(np.random.default_rng(seed), SceneOptions(**{**SMALL, **options}))


def test_the_same_scene_gives_the_same_film():
    first, second = film(draw(3)), film(draw(3))
    assert np.array_equal(first.frames, second.frames)
    assert np.array_equal(first.masks, second.masks)
    assert np.array_equal(first.boxes, second.boxes)


def test_the_first_frames_are_those_of_the_whole_film():
    scene = draw(3, subjects={2: 1}, camera=1.0)
    whole, short = film(scene), film(scene, num_frames=5)
    assert short.frames.shape == (5, 64, 96, 3)
    assert np.array_equal(short.frames, whole.frames[:5])
    assert np.array_equal(short.masks, whole.masks[:, :5])
    assert np.array_equal(short.boxes, whole.boxes[:, :5])
    assert len(film(scene, num_frames=99).frames) == 17


@pytest.mark.parametrize(
    ("height", "width", "length"), [(64, 96, 17), (96, 160, 5), (96, 64, 33), (64, 64, 1), (50, 70, 9)]
)
def test_a_film_has_the_size_that_was_asked_for(height, width, length):
    scene = draw(1, height=height, width=width, length=length, subjects={2: 1})
    drawn = film(scene)
    assert drawn.frames.shape == (length, height, width, 3)
    assert drawn.frames.dtype == np.uint8
    assert drawn.masks.shape == (2, length, height, width)
    assert drawn.boxes.shape == (2, length, 4)
    assert drawn.masks.any((1, 2, 3)).all()


@pytest.mark.parametrize("seed", range(6))
def test_a_film_is_its_place_and_its_actors_laid_over_each_other(seed):
    scene = draw(seed, subjects={1: 1, 2: 1, 3: 1}, camera=0.5, light=0.5)
    drawn = film(scene)
    for index in (0, 7, 16):
        part = index / 16
        shift, zoom = scene.camera.view(part)
        frame = paint_place(
            scene.place, 64, 96, light=scene.light.gain(part), shift=(shift, 0.0), zoom=zoom
        ).astype(np.float64)
        seen = np.zeros((len(scene.actors), 64, 96), bool)
        for number in scene.order:
            layer = render_actor(scene, number, index)
            frame = frame * (1 - layer[..., 3:]) + layer[..., :3] * 255
            seen &= layer[..., 3] < 0.5
            seen[number] |= layer[..., 3] >= 0.5
        assert np.abs(frame - drawn.frames[index]).max() <= 1.5  # rounding, once per actor
        assert np.array_equal(seen, drawn.masks[:, index])


def test_masks_do_not_overlap_and_boxes_hold_them():
    for seed in range(12):
        drawn = film(draw(seed, subjects={2: 1, 3: 1}, camera=0.3))
        assert drawn.masks.sum(0).max() <= 1
        for masks, boxes in zip(drawn.masks, drawn.boxes, strict=True):
            for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
                assert 0 <= left <= right <= 96
                assert 0 <= top <= bottom <= 64
                outside = mask.copy()
                outside[top:bottom, left:right] = False
                assert not outside.any()


@pytest.mark.parametrize("category", ["girl", "fox", "ball"])
@pytest.mark.parametrize(("motion", "sign"), [("walks right", 1), ("walks left", -1)])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_walk_crosses_a_fifth_of_the_frame_and_stays_in_it(category, motion, sign, count):
    scene = draw(
        4,
        categories=(category,),
        motions=(motion,),
        subjects={count: 1},
        camera=0.0,
        background_reference=0.0,
    )
    for number in range(count):
        alphas = [render_actor(scene, number, index)[..., 3] for index in (0, 16)]
        first, last = ((alpha.sum(0) @ np.arange(96)) / alpha.sum() / 96 for alpha in alphas)
        assert sign * (last - first) >= 0.2
        step = scene.actors[number]
        for alpha in alphas:
            assert alpha.sum() > 0.6 * max(a.sum() for a in alphas), step


@pytest.mark.parametrize(("count", "low", "high"), [(1, 0.55, 0.85), (2, 0.45, 0.68), (3, 0.35, 0.58)])
def test_subjects_are_as_tall_as_their_number_allows(count, low, high):
    for seed in range(8):
        boxes = film(
            draw(
                seed,
                motions=("stands",),
                subjects={count: 1},
                camera=0.0,
                categories=("girl", "bear", "robot"),
            )
        ).boxes
        heights = (boxes[:, 0, 3] - boxes[:, 0, 1]) / 64
        assert (heights > low).all()
        assert (heights < high).all()


def test_the_one_in_front_hides_the_other():
    rng = np.random.default_rng(0)
    options = SceneOptions(**SMALL, subjects={2: 1}, motions=("stands", *PAIR_MOTIONS), camera=0.0)
    passed = 0
    for _ in range(40):
        scene = draw_scene(rng, options)
        motions = [actor.motion for actor in scene.actors]
        if "passes in front" not in motions:
            continue
        behind = motions.index("stands")
        sizes = film(scene).masks[behind].sum((1, 2))
        passed += 1
        assert sizes.min() < 0.6 * sizes[0]
    assert passed >= 5


def test_another_identity_takes_the_same_track():
    scene = draw(2, subjects={1: 1}, camera=0.0)
    other = draw_identity(scene.actors[0].identity.category, np.random.default_rng(9))
    changed = replace(scene, actors=(replace(scene.actors[0], identity=other),))
    for index in (0, 9):
        stick = render_actor(scene, 0, index, identity=other)
        assert np.array_equal(stick, render_actor(changed, 0, index))
        assert not np.array_equal(stick, render_actor(scene, 0, index))


def test_the_measuring_stick_can_be_moved_and_scaled():
    scene = draw(2, subjects={1: 1}, motions=("stands",), camera=0.0)
    base = render_actor(scene, 0, 0)
    moved = render_actor(scene, 0, 0, dx=3, dy=-2)
    np.testing.assert_allclose(moved[6:-6, 6:-6], np.roll(base, (-2, 3), (0, 1))[6:-6, 6:-6], atol=0.06)
    smaller = render_actor(scene, 0, 0, scale=0.9)
    assert smaller[..., 3].sum() == pytest.approx(0.81 * base[..., 3].sum(), rel=0.03)
    assert base.dtype == np.float32
    assert (base[..., :3] <= base[..., 3:] + 1e-6).all()


def test_an_actor_out_of_the_frame_leaves_nothing():
    scene = draw(2, subjects={1: 1})
    assert not render_actor(scene, 0, 0, dx=500).any()
    away = replace(scene, actors=(replace(scene.actors[0], start=4.0, end=4.0),))
    drawn = film(away)
    assert not drawn.masks.any()
    assert not drawn.boxes.any()


def test_an_unknown_actor_or_frame_is_refused():
    scene = draw(2, subjects={2: 1})
    with pytest.raises(MagrefError, match="has 2 actors: there is no index 2"):
        render_actor(scene, 2, 0)
    with pytest.raises(MagrefError, match="has 17 frames: there is no index 17"):
        render_actor(scene, 0, 17)


def test_darkness_falls_on_place_and_actors_alike():
    scene = replace(draw(2, subjects={1: 1}, camera=0.0), light=Light(motion="gets dark", start=1.0, end=0.5))
    day = replace(scene, light=Light())
    dark, bright = film(scene), film(day)
    assert np.array_equal(dark.frames[0], bright.frames[0])
    ratio = dark.frames[-1].astype(float).mean() / bright.frames[-1].astype(float).mean()
    assert ratio == pytest.approx(0.5, abs=0.02)
    assert np.array_equal(dark.masks, bright.masks)
