"""Pictures of puppets and places of the drawn world, as the demo model takes them for references.

python scripts/draw_pictures.py
    draws those of the workflows again, into workflows/pictures

python scripts/draw_pictures.py fox --seed 7 --out my_fox.png
    draws another one; the seed decides who it is, --view how it stands there
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts import ROOT
from scripts.host import use_host_python
from scripts.host_install import HostError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FOLDER = ROOT / "workflows" / "pictures"
PUPPET_SIDE = 256
"""Of the square in which a puppet is drawn, before it is cropped; in pixels."""
PLACE_HEIGHT, PLACE_WIDTH = 256, 384


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """A puppet or a place, and one view of it."""

    word: str
    """A category or a place of the world."""
    seed: int
    """Who or which it is."""
    view: int
    """Seed of pose, side, tilt, size and light."""


SHIPPED = {
    "puppet_robot.png": Drawing(word="robot", seed=1_000_052, view=1_000_001),
    "puppet_fox.png": Drawing(word="fox", seed=1_000_039, view=1_000_002),
    "puppet_fox_2.png": Drawing(word="fox", seed=1_000_133, view=1_000_000),
    "puppet_girl.png": Drawing(word="girl", seed=1_000_102, view=1_000_002),
    "puppet_ball.png": Drawing(word="ball", seed=1_000_105, view=1_000_002),
    "place_beach.png": Drawing(word="beach", seed=1_000_003, view=1_000_003),
}
"""File -> what is on it; training draws from seeds below 1 000 000, so the model knows none of them."""


def draw(drawing: Drawing) -> npt.NDArray[np.uint8]:
    """Draw a picture.

    Returns:
        (h, w, 4) with straight alpha for a puppet, (h, w, 3) for a place; in 0..255.

    Raises:
        MagrefError: the word is neither a category nor a place.
    """
    import numpy as np

    from magref_core.errors import MagrefError
    from magref_core.world.identity import CATEGORIES, draw_identity
    from magref_core.world.places import PLACES, draw_place
    from magref_core.world.portraits import portrait, view_of_place

    who, view = np.random.default_rng(drawing.seed), np.random.default_rng(drawing.view)
    if drawing.word in PLACES:
        return view_of_place(draw_place(who, drawing.word), view, PLACE_HEIGHT, PLACE_WIDTH)
    if drawing.word in CATEGORIES:
        return portrait(draw_identity(drawing.word, who), view, size=PUPPET_SIDE)
    known = ", ".join((*CATEGORIES, *PLACES))
    raise MagrefError(f"there is no puppet and no place '{drawing.word}': choose one of {known}")


def save(drawing: Drawing, file: Path) -> None:
    """Draw a picture into a file."""
    from PIL import Image

    picture = Image.fromarray(draw(drawing))
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.save(file, optimize=True)
    print(f"{file}: {picture.width} x {picture.height}, {file.stat().st_size / 1000:.0f} kB", flush=True)


def seed(text: str) -> int:
    """A whole number of 0 or more; a `ValueError` otherwise."""
    if (number := int(text)) < 0:
        raise ValueError
    return number


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("word", nargs="?", help="a category such as fox, or a place such as beach")
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="who it is")
    parser.add_argument("--view", type=seed, default=0, metavar="N", help="how it stands there")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the picture goes")
    arguments = parser.parse_args()
    use_host_python()
    if arguments.word is None:
        for name, drawing in SHIPPED.items():
            save(drawing, FOLDER / name)
        return
    drawing = Drawing(word=arguments.word, seed=arguments.seed, view=arguments.view)
    save(drawing, arguments.out or Path(f"{arguments.word}.png"))


if __name__ == "__main__":
    from magref_core.errors import MagrefError

    try:
        main()
    except (HostError, MagrefError) as error:
        raise SystemExit(f"error: {error}") from error
