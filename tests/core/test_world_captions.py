"""Captions name what moves and where, in closed words, and never a look."""

import itertools

import numpy as np

from magref_core.world.captions import VOCABULARY, caption
from magref_core.world.identity import EYES, HATS, MOUTHS, PATTERNS, is_object
from magref_core.world.motions import MOTIONS
from magref_core.world.palette import PALETTE
from magref_core.world.scene import SceneOptions, draw_scene

HAT_WORDS = set(itertools.chain.from_iterable(HATS.values()))
LOOKS = {*PALETTE, *PATTERNS, *EYES, *MOUTHS, *HAT_WORDS, "scarf", "glasses"} - {
    "ball",
    "sky",
}  # a category, a place


def scenes(count=300, **options):
    rng = np.random.default_rng(0)
    options = SceneOptions(**{"camera": 0.3, "light": 0.5, **options})
    return [draw_scene(rng, options) for _ in range(count)]


def words_of(scene):
    return caption(scene).replace(",", "").split()


def test_the_vocabulary_is_sorted_small_and_holds_no_look():
    assert list(VOCABULARY) == sorted(set(VOCABULARY))
    assert len(VOCABULARY) < 64
    assert not LOOKS & set(VOCABULARY)


def test_every_word_is_of_the_vocabulary_and_every_word_is_used():
    photos = (np.zeros((40, 60, 3), np.uint8),)
    used = {word for scene in scenes(600, photos=photos, photo=0.1) for word in words_of(scene)}
    assert used == set(VOCABULARY)


def test_a_caption_is_short():
    for scene in scenes():
        changes = scene.camera.motion != "still" or scene.light.motion != "steady"
        assert len(words_of(scene)) <= (29 if changes else 25)


def test_every_category_motion_and_place_is_named():
    assert set(MOTIONS) >= {actor.motion for scene in scenes() for actor in scene.actors}
    for scene in scenes():
        text = caption(scene)
        assert scene.place.word in text
        assert scene.camera.motion == "still" or f"the camera {scene.camera.motion}" in text
        assert scene.light.motion == "steady" or f"it {scene.light.motion}" in text
        for actor in scene.actors:
            assert f" {actor.identity.category}" in text
            deed = actor.motion
            if is_object(actor.identity.category):
                deed = deed.replace("walks", "moves").replace("waves", "sways")
            assert deed in text


def test_the_sides_are_named_in_the_order_of_the_actors():
    for scene in scenes(subjects={2: 1, 3: 1}):
        text = caption(scene)
        sides = ["on the left", "on the right"]
        if len(scene.actors) == 3:
            sides.insert(1, "in the middle")
        places = [
            text.index(f"{actor.identity.category} {side}")
            for actor, side in zip(scene.actors, sides, strict=True)
        ]
        assert places == sorted(places)
        assert [(a.start + a.end) / 2 for a in scene.actors] == sorted(
            (a.start + a.end) / 2 for a in scene.actors
        ) or any(a.motion == "passes in front" for a in scene.actors)


def test_a_second_one_of_a_category_is_another_one():
    for scene in scenes(40, subjects={2: 1}, same_category=1.0):
        category = scene.actors[0].identity.category
        assert caption(scene).startswith(f"a {category} on the left")
        assert f"another {category} on the right" in caption(scene)


def test_two_examples():
    options = {
        "categories": ("girl", "kite"),
        "places": ("beach",),
        "same_category": 0.0,
        "camera": 0.0,
        "light": 0.0,
    }
    [alone] = scenes(1, motions=("jumps",), subjects={1: 1}, **options)
    assert caption(alone) in ("a girl jumps, on the beach", "a kite jumps, on the beach")
    [pair] = scenes(1, motions=("walks right",), subjects={2: 1}, **options)
    assert caption(pair) in (
        "a girl on the left walks right and a kite on the right moves right, on the beach",
        "a kite on the left moves right and a girl on the right walks right, on the beach",
    )
