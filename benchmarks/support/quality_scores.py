"""All measures of one clip against its scene, as answers that are averaged over scenes.

A score is a sum and a count: the mean of a measure over scenes is all sums over all counts.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from magref_core.canvas.references import Reference
from magref_core.evaluation.identity import Search, candidate_costs, is_first, shows_each_once
from magref_core.evaluation.places import layout_costs, place_costs
from magref_core.evaluation.smoothness import roughness
from magref_core.world.film import Film, film, render_actor
from magref_core.world.motions import SOLO_MOTIONS
from magref_core.world.places import PLACES, Place, draw_place, paint_place
from magref_core.world.scene import Scene, SceneOptions, draw_scene
from scripts.training import scoring
from scripts.training.staging import Staged

Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Score = tuple[float, float]
"""Sum and count of answers."""
Scores = dict[str, Score]
"""By measure; one of which a scene says nothing is left out."""

NUM_PLACES = 8
VIEWS_PER_WORD = 32
"""Places with which the word of a place is told."""
_SHIFTS = (-0.08, -0.04, 0.0, 0.04, 0.08)
"""To the side, in frame widths, by which a background may be off."""
_MARGIN = 9
"""Pixels around a subject that do not count as background."""


def score_clip(staged: Staged, frames: Bytes, *, seed: int, only_looks: bool = False) -> Scores:
    """Measure one clip.

    Args:
        staged: what was asked for.
        frames: (F - 1, H, W, 3) in 0..255, without the canvas.
        seed: of the candidates that the clip is compared with.
        only_looks: leave out what the references do not decide: motion, direction, words and smoothness.

    Returns:
        identity: actors recognised among eight of their category.
        swapped: scenes with several of one category that do not show the references one each.
        reordered: such scenes with the references in another order than they are given.
        bled: actors of different categories that wear the colours of another one.
        place: places recognised among eight of the same word, where the place is a reference.
        motion, direction: actors that do what the prompt says; direction speaks of walks.
        place_word: places of the kind that the prompt says.
        pasted: actors that look more like their reference's picture than like a new view of it.
        paste_margin: by how much, as the mean squared difference of colours; below 0 is a new view.
        roughness: second differences of subjects; the count is that of the real film.
        flicker: second differences of the background in grey levels, where it should be still.
    """
    scene = staged.scene
    drawn = film(scene)
    scores = _identity(staged, frames, seed) | _swaps(scene, frames)
    outside = _outside(drawn)
    if scene.background_reference:
        scores["place"] = _mean([_is_place(scene, frames, outside, seed)])
    if only_looks:
        return scores
    scores |= _motions(staged, frames) | _pasting(staged, frames)
    scores["place_word"] = _mean([_is_word(scene, frames, outside)])
    return scores | _smoothness(scene, drawn, frames, outside)


def _mean(answers: list[bool] | list[float]) -> Score:
    return float(sum(answers)), float(len(answers))


def _rng(seed: int) -> np.random.Generator:
    """Draws candidates; never as the scene of that seed was drawn, which would be among them then."""
    return np.random.default_rng((seed, 1))


def _identity(staged: Staged, frames: Bytes, seed: int) -> Scores:
    return {"identity": _mean(scoring.score_identity(staged, frames, _rng(seed)))}


def _swaps(scene: Scene, frames: Bytes) -> Scores:
    """Of actors of one category, and of the colours of actors of several."""
    scores: Scores = {}
    groups = scoring.groups_of(scene)
    if groups:
        costs = [scoring.group_costs(scene, frames, group) for group in groups]
        each_once = [shows_each_once(cost) for cost in costs]
        scores["swapped"] = _mean([not each for each in each_once])
        as_named = [bool((cost.argmin(1) == np.arange(len(cost))).all()) for cost in costs]
        scores["reordered"] = _mean(
            [not named for named, once in zip(as_named, each_once, strict=True) if once]
        )
    bled: list[bool] = []
    for index, actor in enumerate(scene.actors):
        others = [
            other.identity for other in scene.actors if other.identity.category != actor.identity.category
        ]
        if others:
            dressed = [replace(actor.identity, colours=other.colours) for other in others]
            costs = scoring.identity_costs(scene, frames, index, (actor.identity, *dressed))
            bled.append(not is_first(costs))
    return scores | ({"bled": _mean(bled)} if bled else {})


def _motions(staged: Staged, frames: Bytes) -> Scores:
    scene = staged.scene
    answers = {"motion": list[bool](), "direction": list[bool]()}
    for index, actor in enumerate(scene.actors):
        if actor.motion in SOLO_MOTIONS:
            answers["motion"].append(motion_of(scene, frames, index) == actor.motion)
        if actor.direction != "none":
            answers["direction"].append(scoring.direction_of(staged, frames, index) == actor.direction)
    return {name: _mean(given) for name, given in answers.items() if given}


def motion_of(scene: Scene, frames: Bytes, index: int) -> str:
    """The motion whose drawing, by the true identity in the same place, explains the clip best.

    Args:
        scene: what was asked for.
        frames: (F - 1, H, W, 3) in 0..255, without the canvas.
        index: of the actor.

    Returns:
        One of `SOLO_MOTIONS`.
    """
    doing = [
        (motion, _acting(scene, index, motion, facing))
        for motion in SOLO_MOTIONS
        for facing in ((0,) if motion.startswith("walks") else (1, -1))
    ]

    def render(candidate: int, frame: int, scale: float) -> Floats:
        return render_actor(doing[candidate][1], index, frame, scale=scale)

    times = tuple(round(1 + (scene.length - 2) * part / 5) for part in range(6))
    search = Search(reach=4, scales=(0.93, 1.0, 1.07), frames=times, together=True)
    visible = scoring.in_sight(scene, index)
    video = scoring.count_from_canvas(frames)
    costs = candidate_costs(video, render, len(doing), search=search, visible=visible)
    return doing[int(costs.argmin())][0]


def _acting(scene: Scene, index: int, motion: str, facing: int) -> Scene:
    """The scene with another motion of an actor; facing 0 looks where it walks."""
    start, end = _way(motion, index, len(scene.actors), scene.height, scene.width)
    looks = facing or (1 if end > start else -1)
    actor = replace(scene.actors[index], motion=motion, start=start, end=end, facing=looks)
    return replace(scene, actors=(*scene.actors[:index], actor, *scene.actors[index + 1 :]))


@lru_cache(maxsize=256)
def _way(motion: str, index: int, count: int, height: int, width: int) -> tuple[float, float]:
    """Where an actor of a slot begins and ends, to about 2 % of the width."""
    options = SceneOptions(height=height, width=width, motions=(motion,), subjects={count: 1.0})
    actor = draw_scene(np.random.default_rng(0), options).actors[index]
    return actor.start, actor.end


def _outside(drawn: Film) -> Bools:
    """(F - 1, H, W): where no subject is near."""
    kernel = np.ones((_MARGIN, _MARGIN), np.uint8)
    seen = np.any(drawn.masks, 0)[1:]
    return np.stack([cv2.dilate(mask.astype(np.uint8), kernel) == 0 for mask in seen])


def _is_place(scene: Scene, frames: Bytes, outside: Bools, seed: int) -> bool:
    """Whether the true place is recognised among others of the same word."""
    rng = _rng(seed)
    word = scene.place.word if scene.place.word in PLACES else None
    places = (scene.place, *(draw_place(rng, word) for _ in range(NUM_PLACES - 1)))
    times = scoring.compared_frames(scene)
    views = np.stack(
        [[[_view(scene, place, time, shift) for time in times] for shift in _SHIFTS] for place in places]
    )
    chosen = [time - 1 for time in times]
    return is_first(place_costs(frames[chosen], outside[chosen], views))


def _view(scene: Scene, place: Place, frame: int, shift: float) -> Bytes:
    part = frame / (scene.length - 1)
    panned, zoom = scene.camera.view(part)
    light = scene.light.gain(part)
    return paint_place(place, scene.height, scene.width, light=light, shift=(panned + shift, 0.0), zoom=zoom)


def _is_word(scene: Scene, frames: Bytes, outside: Bools) -> bool:
    """Whether the shapes of the background are those of the word, whatever its colours."""
    words, views = _places_of_words(scene.height, scene.width)
    chosen = [scene.length // 3 - 1, 2 * scene.length // 3 - 1]
    return words[int(layout_costs(frames[chosen], outside[chosen], views).argmin())] == scene.place.word


@lru_cache(maxsize=2)
def _places_of_words(height: int, width: int) -> tuple[list[str], Bytes]:
    rng = np.random.default_rng(0)
    words = [word for word in PLACES for _ in range(VIEWS_PER_WORD)]
    return words, np.stack([paint_place(draw_place(rng, word), height, width) for word in words])


def _pasting(staged: Staged, frames: Bytes) -> Scores:
    margins = [
        _paste_margin(staged.scene, reference, frames, index)
        for reference, index in zip(staged.canvas.references, staged.subjects, strict=True)
        if index is not None
    ]
    if not margins:
        return {}
    return {"pasted": _mean([margin > 0 for margin in margins]), "paste_margin": _mean(margins)}


def _paste_margin(scene: Scene, reference: Reference, frames: Bytes, index: int) -> float:
    """How much better the reference's very picture explains an actor than the true view does.

    Both are looked for in the same places; the difference is that of the mean squared colours, 0..3.
    """
    video, visible = scoring.count_from_canvas(frames), scoring.in_sight(scene, index)
    search = Search(frames=scoring.compared_frames(scene))

    def render(candidate: int, frame: int, scale: float) -> Floats:
        sprite = render_actor(scene, index, frame, scale=scale)
        return pasted(reference, sprite) if candidate else sprite

    costs = candidate_costs(video, render, 2, search=search, visible=visible)
    of_view, of_picture = (
        float(cost)
        / max(sum(float((render(each, t, 1.0)[..., 3] * visible(t)).sum()) for t in search.frames), 1.0)
        for each, cost in enumerate(costs)
    )
    return of_view - of_picture


def pasted(reference: Reference, sprite: Floats) -> Floats:
    """The picture of a reference in place of a sprite: same height and middle, not turned."""
    height, width = sprite.shape[:2]
    rows, columns = np.flatnonzero(sprite[..., 3].any(1)), np.flatnonzero(sprite[..., 3].any(0))
    if not len(rows) or reference.alpha is None:
        return np.zeros_like(sprite)
    alpha = reference.alpha.numpy()[..., None].astype(np.float32) / 255
    picture = np.concatenate([reference.image.numpy().astype(np.float32) / 255 * alpha, alpha], 2)
    factor = (rows[-1] + 1 - rows[0]) / len(picture)
    size = (max(1, round(picture.shape[1] * factor)), max(1, round(len(picture) * factor)))
    small = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.float32)
    left = (columns[0] + columns[-1] + 1 - size[0]) / 2
    move = np.array([[1, 0, left], [0, 1, rows[0]]], np.float64)
    return np.asarray(cv2.warpAffine(small, move, (width, height)), np.float32)


def _smoothness(scene: Scene, drawn: Film, frames: Bytes, outside: Bools) -> Scores:
    seen = np.any(drawn.masks, 0)[1:]
    scores: Scores = {"roughness": (roughness(frames, seen), roughness(drawn.frames[1:], seen))}
    if scene.camera.motion == "still" and scene.light.motion == "steady":
        scores["flicker"] = (roughness(frames, np.broadcast_to(outside.all(0), outside.shape)), 1.0)
    return scores
