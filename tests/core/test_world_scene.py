"""Scenes follow their options, and the options are checked."""

import pickle
from collections import Counter

import numpy as np
import pytest

from magref_core.errors import MagrefError, ShapeError
from magref_core.world.identity import CATEGORIES
from magref_core.world.motions import MOTIONS, PAIR_MOTIONS, SOLO_MOTIONS, WALKS, track
from magref_core.world.places import PHOTO, PLACES
from magref_core.world.scene import CAMERAS, LIGHTS, Camera, Light, SceneOptions, draw_scene


def draw(seed=0, **options):
    return draw_scene(np.random.default_rng(seed), SceneOptions(**options))


def test_the_same_seed_draws_the_same_scene():
    assert draw(7) == draw(7)
    assert draw(7) != draw(8)


def test_options_and_scenes_can_be_sent_to_another_process():
    options = SceneOptions(subjects={1: 1.0})
    assert pickle.loads(pickle.dumps(options)) == options
    assert pickle.loads(pickle.dumps(draw())) == draw()


def test_the_weights_of_the_subjects_are_followed():
    rng = np.random.default_rng(0)
    options = SceneOptions(subjects={1: 3.0, 3: 1.0})
    counts = Counter(len(draw_scene(rng, options).actors) for _ in range(400))
    assert set(counts) == {1, 3}
    assert 0.65 < counts[1] / 400 < 0.85


def test_only_what_is_allowed_is_drawn():
    rng = np.random.default_rng(0)
    options = SceneOptions(
        height=64, width=96, length=33, categories=("fox", "car"), places=("room",), motions=("jumps",),
        subjects={1: 1, 2: 1}, camera=0.0, light=0.0,
    )  # fmt: skip
    for _ in range(30):
        scene = draw_scene(rng, options)
        assert (scene.height, scene.width, scene.length) == (64, 96, 33)
        assert scene.place.word == "room"
        assert scene.camera.motion == "still"
        assert scene.light.motion == "steady"
        for actor in scene.actors:
            assert actor.identity.category in ("fox", "car")
            assert actor.motion == "jumps"


def test_everything_is_drawn_in_the_end():
    rng = np.random.default_rng(0)
    scenes = [draw_scene(rng, SceneOptions(camera=0.4, light=0.4)) for _ in range(600)]
    assert {actor.identity.category for scene in scenes for actor in scene.actors} == set(CATEGORIES)
    assert {actor.motion for scene in scenes for actor in scene.actors} == set(MOTIONS)
    assert {scene.place.word for scene in scenes} == set(PLACES)
    assert {scene.camera.motion for scene in scenes} == set(CAMERAS)
    assert {scene.light.motion for scene in scenes} == set(LIGHTS)
    assert {scene.background_reference for scene in scenes} == {True, False}


def test_categories_repeat_only_when_asked_to():
    rng = np.random.default_rng(0)
    never, always = (SceneOptions(subjects={2: 1}, same_category=chance) for chance in (0.0, 1.0))
    for _ in range(50):
        assert len({actor.identity.category for actor in draw_scene(rng, never).actors}) == 2
        first, second = draw_scene(rng, always).actors
        assert first.identity.category == second.identity.category
        assert first.identity != second.identity


def test_motions_of_pairs_come_in_pairs():
    rng = np.random.default_rng(0)
    options = SceneOptions(subjects={1: 1, 2: 2, 3: 1}, motions=("stands", *PAIR_MOTIONS))
    seen = Counter(
        tuple(sorted(actor.motion for actor in draw_scene(rng, options).actors)) for _ in range(300)
    )
    allowed = {("meets", "meets"), ("passes in front", "stands")}
    assert {motions for motions in seen if set(motions) & set(PAIR_MOTIONS)} == allowed


def test_camera_and_light_never_change_together():
    rng = np.random.default_rng(0)
    for _ in range(200):
        scene = draw_scene(rng, SceneOptions(camera=0.5, light=1.0))
        assert scene.camera.motion == "still" or scene.light.motion == "steady"


def test_the_one_that_passes_in_front_is_in_front():
    rng = np.random.default_rng(0)
    options = SceneOptions(subjects={2: 1}, motions=("stands", "passes in front"))
    for _ in range(60):
        scene = draw_scene(rng, options)
        motions = [actor.motion for actor in scene.actors]
        if "passes in front" in motions:
            assert scene.order[-1] == motions.index("passes in front")


@pytest.mark.parametrize("motion", SOLO_MOTIONS)
@pytest.mark.parametrize("category", ["girl", "teapot"])
def test_a_track_does_what_its_motion_says(motion, category):
    actor = draw(1, categories=(category,), motions=(motion,), subjects={1: 1}).actors[0]
    steps = track(actor, 17)
    xs, ys = np.array([step.x for step in steps]), np.array([step.y for step in steps])
    assert actor.direction == motion.split()[-1] if motion in WALKS else actor.direction == "none"
    assert len(steps) == 17
    if motion in WALKS:
        sign = 1 if motion == "walks right" else -1
        np.testing.assert_allclose(np.diff(xs), sign * 0.36 / 16, atol=1e-9)
        assert all(step.facing == sign for step in steps)
        assert len({step.pose for step in steps}) == 3
    else:
        assert np.ptp(xs) == 0
    assert (np.ptp(ys) > 0.08) == (motion in ("jumps", "bounces"))
    assert (steps[0].scale < 0.6) == (motion == "grows")
    assert (max(step.angle for step in steps) == 360) == (motion == "spins")
    assert any(step.pose.wave > 0 for step in steps) == (motion == "waves")


def test_a_longer_film_walks_the_same_way_with_more_steps():
    actor = draw(1, motions=("walks right",), subjects={1: 1}).actors[0]
    short, long = track(actor, 17), track(actor, 33)
    assert short[-1].x == pytest.approx(long[-1].x)
    assert [step.pose for step in short] == [step.pose for step in long[:17]]


def test_photos_stand_for_places_as_often_as_asked():
    photos = (np.zeros((40, 60, 3), np.uint8), np.full((90, 50, 3), 200, np.uint8))
    assert draw(0, photos=photos, photo=1.0).place.word == PHOTO
    assert draw(0, photos=photos, photo=0.0).place.word in PLACES


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"height": 16}, "160 x 16 pixels is too small: both sides need at least 32"),
        ({"width": 31}, "31 x 96 pixels is too small"),
        ({"categories": ()}, "list of categories is empty: give at least one"),
        ({"places": ()}, "list of places is empty"),
        ({"motions": ()}, "list of motions is empty"),
        ({"categories": ("fox", "dragon")}, "no puppet 'dragon': choose one of girl"),
        ({"places": ("moon",)}, "no place 'moon': choose one of hills"),
        ({"motions": ("flies",)}, "no motion 'flies': choose one of stands"),
        ({"motions": PAIR_MOTIONS}, "one that a single puppet can do: add one of stands"),
        ({"subjects": {}}, "no number of subjects is given: give weights for some of 1, 2, 3"),
        ({"subjects": {4: 1.0}}, "cannot have 4 subjects: choose from 1, 2, 3"),
        ({"subjects": {1: 1.0, 2: 0.0}}, "weight of 2 subjects is 0: give a positive number"),
        ({"subjects": {1: -1.0}}, "weight of 1 subjects is -1"),
        ({"subjects": {1: float("nan")}}, "weight of 1 subjects is nan"),
        ({"subjects": {1: float("inf")}}, "weight of 1 subjects is inf"),
        ({"same_category": 1.5}, "chance 'same_category' is 1.5: give a number from 0 to 1"),
        ({"camera": -0.1}, "chance 'camera' is -0.1"),
        ({"light": float("nan")}, "chance 'light' is nan"),
        ({"background_reference": 2}, "chance 'background_reference' is 2"),
        ({"photo": 2.0}, "chance 'photo' is 2"),
        ({"photo": 0.5}, "chance of a photo is 0.5, but there are none: give some"),
        (
            {"photos": (np.zeros((40, 40), np.uint8),)},
            r"shape \(40, 40\) of uint8: give \(height, width, 3\)",
        ),
        ({"photos": (np.zeros((40, 40, 3), np.float32),)}, "of float32: give"),
        ({"photos": (np.zeros((40, 20, 3), np.uint8),)}, "both sides at least 32"),
    ],
)
def test_a_bad_option_is_refused_with_the_remedy(options, message):
    with pytest.raises(MagrefError, match=message):
        SceneOptions(**options)


def test_a_length_that_is_no_multiple_of_four_plus_one_is_refused():
    with pytest.raises(ShapeError, match=r"16 frames.*use 17"):
        SceneOptions(length=16)


def test_an_unknown_camera_or_light_is_refused():
    with pytest.raises(MagrefError, match="no camera motion 'tilts': choose one of still"):
        Camera(motion="tilts")
    with pytest.raises(MagrefError, match="no light motion 'flickers': choose one of steady"):
        Light(motion="flickers")
