"""The layouts that the JavaScript of the editor is tested against are those of the core."""

import json
from itertools import product

from magref_core.canvas.layout import arrange
from scripts import ROOT

FILE = ROOT / "tests" / "js" / "layouts.json"
SHAPES = ((300, 200), (200, 300), (1000, 100), (77, 78), (513, 511), (64, 640))
"""(width, height) of the pictures; repeated as often as needed."""
CANVASES = ((832, 480), (480, 832), (96, 64), (1280, 720))
CASES = tuple(
    product((1, 2, 3, 5, 8, 11), CANVASES, (("official", 0), ("official", 4294967295), ("reading", 7)))
)


def layouts() -> list[dict]:
    """Every case with its boxes, in the order of pasting."""
    made = []
    for count, (width, height), (order, seed) in CASES:
        shapes = [SHAPES[index % len(SHAPES)] for index in range(count)]
        sizes = [(high, wide) for wide, high in shapes]
        placed = arrange(sizes, height=height, width=width, seed=seed, order=order)
        boxes = [[p.reference, p.box.x, p.box.y, p.box.width, p.box.height] for p in placed]
        made.append(
            {"shapes": shapes, "width": width, "height": height, "order": order, "seed": seed, "boxes": boxes}
        )
    return made


def test_the_stored_layouts_are_those_of_the_core():
    assert json.loads(FILE.read_text(encoding="utf-8")) == json.loads(json.dumps(layouts()))
