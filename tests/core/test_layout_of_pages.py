"""The layouts that the JavaScript of the editor is tested against are those of the core."""

import json
from itertools import product

from magref_core.canvas.placing import place_references
from scripts import ROOT

from .canvases import reference

FILE = ROOT / "tests" / "js" / "layouts.json"
SHAPES = ((300, 200), (200, 300), (1000, 100), (77, 78), (513, 511), (64, 640))
"""(width, height) of the pictures; repeated as often as needed."""
CANVASES = ((832, 480), (480, 832), (96, 64), (1280, 720))
ORDERS = (
    *(("official", 0), ("official", 4294967295), ("reading", 7)),
    *(("grouped", 0), ("grouped", 4294967295), ("behind", 5)),
)
CASES = tuple(product((1, 2, 3, 5, 8, 11, 16), CANVASES, ORDERS))


def given(count: int) -> list:
    """References of which the second is a place, and of the others every three are photos of one subject."""
    made = []
    for index in range(count):
        width, height = SHAPES[index % len(SHAPES)]
        kind = "background" if index == 1 else "object"
        subject = None if index == 1 else f"subject {index // 3}"
        made.append(reference(str(index), height=height, width=width, kind=kind, subject=subject))
    return made


def layouts() -> list[dict]:
    """Every case with its boxes, in the order of pasting."""
    made = []
    for count, (width, height), (order, seed) in CASES:
        references = given(count)
        shapes = [(one.width, one.height) for one in references]
        placed = place_references(references, height=height, width=width, seed=seed, order=order)
        boxes = [[p.reference, p.box.x, p.box.y, p.box.width, p.box.height] for p in placed]
        case = {"width": width, "height": height, "order": order, "seed": seed, "boxes": boxes}
        made.append({"shapes": shapes, "subjects": [one.subject for one in references]} | case)
    return made


def test_the_stored_layouts_are_those_of_the_core():
    assert json.loads(FILE.read_text(encoding="utf-8")) == json.loads(json.dumps(layouts()))
