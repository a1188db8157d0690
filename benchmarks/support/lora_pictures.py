"""Eight pictures of one puppet as a user would have them: photographs, and masks of who is on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from magref_core.world.captions import caption
from magref_core.world.identity import Identity, draw_identity
from magref_core.world.places import paint_place
from magref_core.world.portraits import portrait
from magref_core.world.scene import Scene, SceneOptions, draw_scene

from .quality_sets import FIRST_SEED

Bytes = npt.NDArray[np.uint8]

NUM_PICTURES = 8
ENLARGED = 3
"""Pictures are so many times as high and as wide as the video."""
PUPPET_SEEDS = FIRST_SEED + 50_000_000
"""The puppets' own, from here on, so that no scene shares them."""


def draw_puppet(category: str, seed: int) -> Identity:
    """Somebody whom the training has not seen."""
    return draw_identity(category, np.random.default_rng(PUPPET_SEEDS + seed))


def write_pictures(identity: Identity, options: SceneOptions, folder: Path, *, seed: int) -> None:
    """Write pictures, masks and prompts for `encode_samples.py --cross`.

    Each shows another view, in another place of the world: on white, where the model has never seen
    anybody, a LoRA would learn the white above all.

    Args:
        identity: who.
        options: of the training; for the size and the places.
        folder: made anew.
        seed: of the views and the places.
    """
    rng = np.random.default_rng([PUPPET_SEEDS, seed])
    alone = replace(
        options,
        categories=(identity.category,),
        motions=("stands",),
        subjects={1: 1.0},
        camera=0.0,
        light=0.0,
        background_reference=0.0,
    )
    (folder / "masks").mkdir(parents=True)
    for number in range(NUM_PICTURES):
        scene = draw_scene(rng, alone)
        view = portrait(identity, rng, size=ENLARGED * options.height)
        (folder / f"{number + 1}.txt").write_text(caption(scene), encoding="utf-8")
        picture, mask = _in_place(view, scene, rng)
        Image.fromarray(picture).save(folder / f"{number + 1}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{number + 1}.png")


def _in_place(view: Bytes, scene: Scene, rng: np.random.Generator) -> tuple[Bytes, Bytes]:
    """The view before a place, about as large as in a film, and the mask of it."""
    height, width = ENLARGED * scene.height, ENLARGED * scene.width
    picture = Image.fromarray(paint_place(scene.place, height, width))
    tall = round(height * rng.uniform(0.65, 0.8))
    puppet = Image.fromarray(view)
    puppet = puppet.resize(
        (max(1, round(puppet.width * tall / puppet.height)), tall), Image.Resampling.LANCZOS
    )
    left = round((width - puppet.width) / 2 + width * rng.uniform(-0.15, 0.15))
    place = (left, round(height * 0.94) - tall)
    mask = Image.new("L", picture.size, 0)
    mask.paste(puppet.getchannel("A"), place)
    picture.paste(puppet, place, puppet)
    return np.asarray(picture), np.asarray(mask)
