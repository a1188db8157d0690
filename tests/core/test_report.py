"""The numbers of the report, against slow counting; its schema, against the documentation."""

from __future__ import annotations

import json
import re

import pytest
import torch

from magref_core.canvas import findings
from magref_core.canvas.compose import OPAQUE, compose_canvas
from magref_core.canvas.layout import Box
from magref_core.canvas.placing import place_references
from magref_core.canvas.references import Reference
from magref_core.canvas.report import make_report
from scripts import ROOT

from .canvases import HEIGHT, WIDTH, canvas_of, opaque_in, reference

PAGE = (ROOT / "docs" / "preview.md").read_text(encoding="utf-8")


def shows(canvas):
    """(H, W): the index of the reference that shows in each pixel, -1 for none; picture by picture."""
    top = torch.full((canvas.height, canvas.width), -1)
    for placement in canvas.placements:
        box, given = placement.box, canvas.references[placement.reference]
        assert (box.height, box.width) == (given.height, given.width), "no resampling in this oracle"
        for y in range(given.height):
            for x in range(given.width):
                if given.alpha is None or given.alpha[y, x] >= OPAQUE:
                    top[box.y + y, box.x + x] = placement.reference
    return top


def squares(top, index, stride):
    """How many squares of some pixels a side hold a pixel of one reference."""
    found = set()
    for y, x in (top == index).nonzero().tolist():
        found.add((y // stride, x // stride))
    return len(found)


def test_pixels_cells_and_tokens_are_those_in_which_a_subject_shows():
    generator = torch.Generator().manual_seed(1)
    ragged = torch.randint(0, 256, (50, 40), generator=generator, dtype=torch.uint8)
    canvas = canvas_of(
        (reference("below", height=60, width=70), (5, 9, 70, 60)),
        (reference("ragged", height=50, width=40, alpha=ragged), (50, 40, 40, 50)),
        (reference("apart", height=33, width=21), (100, 3, 21, 33)),
        height=96,
        width=128,
    )
    top = shows(canvas)
    for index, subject in enumerate(make_report(canvas).as_object()["subjects"]):
        assert subject["pixels"] == int((top == index).sum())
        assert subject["latent_cells"] == squares(top, index, 8)
        assert subject["tokens"] == squares(top, index, 16)


def test_boxes_cells_scales_and_pictures():
    given = [reference("one", height=200, width=100), reference("two", height=50, width=400)]
    placed = place_references(given, height=HEIGHT, width=WIDTH, order="reading")
    one, two = make_report(compose_canvas(given, placed, height=HEIGHT, width=WIDTH)).as_object()["subjects"]
    assert one["cell"] == {"x": 0, "y": 0, "width": 416, "height": 480}
    assert one["box"] == {"x": 88, "y": 0, "width": 240, "height": 480}
    assert one["picture"] == {"width": 100, "height": 200} and one["scale"] == 2.4
    assert two["box"] == {"x": 416, "y": 214, "width": 416, "height": 52} and two["scale"] == 1.04


def test_the_larger_scale_of_a_distorted_picture_counts():
    canvas = canvas_of((reference(), (0, 0, 300, 50)))
    assert make_report(canvas).as_object()["subjects"][0]["scale"] == 3


def test_a_box_of_ones_own_has_no_cell():
    assert make_report(canvas_of((reference(), (0, 0, 100, 100)))).as_object()["subjects"][0]["cell"] is None


def test_subjects_are_listed_in_the_order_of_the_references_and_not_of_pasting():
    given = [reference(name) for name in ("one", "two", "three", "four")]
    placed = place_references(given, height=HEIGHT, width=WIDTH, order="official", seed=3)
    assert [placement.reference for placement in placed] != [0, 1, 2, 3]
    report = make_report(compose_canvas(given, placed, height=HEIGHT, width=WIDTH)).as_object()
    assert [subject["reference"] for subject in report["subjects"]] == ["one", "two", "three", "four"]


@pytest.mark.parametrize(("box_height", "expected"), [(50, 15.0), (100, 30.0), (333, 99.9)])
def test_the_height_of_a_face_is_that_on_the_canvas(box_height, expected):
    canvas = canvas_of((reference(kind="person"), (0, 0, 100, box_height)))
    report = make_report(canvas, find_face=lambda _: Box(x=0, y=0, width=9, height=30)).as_object()
    assert report["subjects"][0]["face_height"] == expected


@pytest.mark.parametrize("find_face", [None, lambda _: None])
def test_a_face_that_is_not_found_has_no_height(find_face):
    canvas = canvas_of((reference(kind="person"), (0, 0, 100, 100)))
    assert make_report(canvas, find_face=find_face).as_object()["subjects"][0]["face_height"] is None


def rich_report():
    """A report in which every optional part is filled, and one finding of each severity."""
    given = [
        reference("alice", kind="person", alpha=opaque_in((5, 5, 95, 95)), subject="al"),
        *(reference(name) for name in ("two", "three", "four")),
    ]
    placed = place_references(given, height=HEIGHT, width=WIDTH, order="fitted")
    canvas = compose_canvas(given, placed, height=HEIGHT, width=WIDTH)
    return make_report(canvas, prompt="nobody", find_face=lambda _: Box(x=0, y=0, width=5, height=5))


def test_the_report_is_json_without_loss():
    report = rich_report()
    assert json.loads(report.as_json()) == report.as_object()
    assert "NaN" not in report.as_json()


def test_a_name_beyond_ascii_stays_readable():
    report = make_report(canvas_of((reference("爱丽丝"), (0, 0, 100, 100))))
    assert "爱丽丝" in report.as_json()


def fields(value, prefix=""):
    """Path -> type name of everything in a JSON value; the items of a list count as one."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from fields(item, f"{prefix}.{key}" if prefix else key)
        return
    yield prefix, type(value).__name__
    if isinstance(value, list):
        for item in value:
            yield from fields(item, f"{prefix}[]")


def section(title):
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def documented():
    """Path -> types, from the table of fields in docs/preview.md."""
    rows = re.findall(r"^\| `([\w.\[\]]+)` \| ([^|]+) \|", section("The report"), re.MULTILINE)
    return {path: set(types.strip().split(" or ")) for path, types in rows}


NAMES = {"int": "whole number", "float": "number", "str": "text", "NoneType": "null", "list": "list"}


def test_the_documented_fields_are_those_of_a_report():
    real = {}
    plain = make_report(canvas_of((reference(), (0, 0, 100, 100))))
    for report in (rich_report(), plain):
        for path, kind in fields(report.as_object()):
            real.setdefault(path, set()).add(NAMES[kind])
    real = {path: kinds for path, kinds in real.items() if path not in ("subjects[]", "findings[]")}
    assert documented() == real


def test_the_documented_findings_are_those_of_the_source():
    rows = re.findall(r"^\| `(\w+)` \| (info|warning|error) \|", section("Findings"), re.MULTILINE)
    source = (ROOT / "magref_core" / "canvas" / "findings.py").read_text(encoding="utf-8")
    graded = re.findall(r'severity="(\w+)",\s+code="(\w+)"', source)
    warned = re.findall(r'_warn\(\s+"(\w+)"', source)
    assert sorted(rows) == sorted(
        [(code, severity) for severity, code in graded] + [(c, "warning") for c in warned]
    )
    assert {code for code, _ in rows} >= {"enlarged", "small_face", "name_missing", "many_subjects"}


@pytest.mark.parametrize(
    "name",
    [name for name in dir(findings) if name.startswith(("MAX_", "MIN_"))],
)
def test_the_bounds_of_the_source_stand_in_the_documentation(name):
    bound = getattr(findings, name)
    said = {f"{bound:g}", f"{bound:.0%}"}
    rows = section("Findings")
    assert any(re.search(rf"(?<![\d.]){re.escape(text)}(?![\d.]*\d)", rows) for text in said), bound


def test_a_report_on_an_empty_canvas_is_empty():
    canvas = compose_canvas([], [], height=16, width=16)
    assert make_report(canvas, prompt="a").as_object() == {
        "version": 1,
        "width": 16,
        "height": 16,
        "latent": {"width": 2, "height": 2},
        "subjects": [],
        "findings": [],
    }


def test_a_reference_is_its_own_subject_unless_another_is_named():
    assert isinstance(reference(), Reference)
    canvas = canvas_of(
        (reference("alice 2", subject="alice"), (0, 0, 64, 64)), (reference("b"), (80, 0, 64, 64))
    )
    assert [subject["subject"] for subject in make_report(canvas).as_object()["subjects"]] == ["alice", "b"]
