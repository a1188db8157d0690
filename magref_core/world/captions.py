"""What a caption says of a scene, in few and fixed words; it never tells a look."""

from __future__ import annotations

import itertools

from .identity import CATEGORIES, is_object
from .motions import MOTIONS, Actor
from .places import PHOTO
from .scene import CAMERAS, LIGHTS, Scene

_SIDES: dict[int, tuple[str, ...]] = {
    1: ("",),
    2: ("on the left", "on the right"),
    3: ("on the left", "in the middle", "on the right"),
}
_PLACE_PHRASES: dict[str, str] = {
    "hills": "on the hills",
    "room": "in the room",
    "sky": "in the sky",
    "beach": "on the beach",
    "street": "on the street",
    "wall": "at the wall",
    "forest": "in the forest",
    "snow": "in the snow",
    PHOTO: "in a photo",
}
_THING_WORDS = {"walks left": "moves left", "walks right": "moves right", "waves": "sways"}


def caption(scene: Scene) -> str:
    """Describe a scene: who stands where and does what, the place, and what camera and light do.

    Returns:
        lower-case words of `VOCABULARY` and commas, such as "a girl on the left walks right and a fox on the
        right jumps, on the beach, the camera pans left". At most 29 words, 25 under a still
        camera and a steady light.
    """
    count = len(scene.actors)
    seen: set[str] = set()
    names: list[str] = []
    for actor, side in zip(scene.actors, _SIDES[count], strict=True):
        category = actor.identity.category
        article = "another" if category in seen else "a"
        seen.add(category)
        names.append(" ".join(part for part in (article, category, side) if part))
    deeds = [deed(actor) for actor in scene.actors]
    if deeds == ["meets", "meets"]:
        action = f"{names[0]} meets {names[1]}"
    else:
        parts = [f"{name} {deed}" for name, deed in zip(names, deeds, strict=True)]
        action = " and ".join(parts) if count < 3 else f"{parts[0]}, {parts[1]} and {parts[2]}"
    sentences = [action, _PLACE_PHRASES[scene.place.word]]
    if scene.camera.motion != "still":
        sentences.append(f"the camera {scene.camera.motion}")
    if scene.light.motion != "steady":
        sentences.append(f"it {scene.light.motion}")
    return ", ".join(sentences)


def deed(actor: Actor) -> str:
    """What an actor does, as captions say it."""
    return (
        _THING_WORDS.get(actor.motion, actor.motion) if is_object(actor.identity.category) else actor.motion
    )


def _list_words() -> tuple[str, ...]:
    sides = itertools.chain.from_iterable(_SIDES.values())
    phrases = (
        *CATEGORIES, *sides, *_PLACE_PHRASES.values(), *MOTIONS, *_THING_WORDS.values(),
        *CAMERAS[1:], *LIGHTS[1:], "a another and the camera it",
    )  # fmt: skip
    return tuple(sorted({word for phrase in phrases for word in phrase.split()}))


VOCABULARY: tuple[str, ...] = _list_words()
"""Every word that a caption can hold, sorted."""
