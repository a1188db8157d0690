"""Each finding: one picture that triggers it, and one that just does not."""

from __future__ import annotations

import pytest

from magref_core.canvas.compose import compose_canvas
from magref_core.canvas.findings import find_all, names_missing
from magref_core.canvas.layout import Box
from magref_core.canvas.measures import measure
from magref_core.canvas.placing import place_references

from .canvases import HEIGHT, WIDTH, canvas_of, opaque_in, reference


def findings_of(*placed, prompt="", find_face=None, height=HEIGHT, width=WIDTH):
    canvas = canvas_of(*placed, height=height, width=width)
    return find_all(measure(canvas, find_face), height=height, width=width, prompt=prompt)


def codes(*placed, **options):
    return [finding.code for finding in findings_of(*placed, **options)]


def alone(*placed, **options):
    """The one finding that there is."""
    (finding,) = findings_of(*placed, **options)
    return finding


def test_a_picture_that_is_shown_well_gives_no_finding():
    assert codes((reference(), (0, 0, 100, 100))) == []


def test_enlarged():
    found = alone((reference(), (0, 0, 201, 201)))
    assert (found.code, found.severity, found.reference) == ("enlarged", "warning", "alice")
    assert "enlarged 2.0 times, from 100 x 100 to 201 x 201 pixels" in found.text
    assert "larger picture" in found.remedy
    assert codes((reference(), (0, 0, 200, 200))) == []


@pytest.mark.parametrize(("box_height", "expected"), [(127, ["small_face"]), (128, [])])
def test_small_face(box_height, expected):
    face = Box(x=0, y=0, width=40, height=50)
    placed = (reference(kind="person"), (0, 0, box_height, box_height))
    assert codes(placed, find_face=lambda _: face) == expected, "50 of 100 pixels, measured on the canvas"


def test_faces_are_looked_for_in_persons_only():
    face = Box(x=0, y=0, width=4, height=4)
    assert codes((reference(kind="object"), (0, 0, 100, 100)), find_face=lambda _: face) == []


def test_small_subject():
    found = alone((reference(), (0, 0, 63, 63)))
    assert found.code == "small_subject" and found.severity == "warning"
    assert "shows in only 3969 pixels, but below 4 x 4 tokens (64 x 64 pixels)" in found.text
    assert codes((reference(), (3, 5, 64, 64))) == []


def test_small_subject_counts_the_cut_out_and_not_its_box():
    small = reference(alpha=opaque_in((20, 20, 83, 83)))
    assert "small_subject" in codes((small, (0, 0, 100, 100)))
    assert "small_subject" not in codes((reference(alpha=opaque_in((20, 20, 84, 84))), (0, 0, 100, 100)))


def test_distorted():
    found = alone((reference(), (0, 0, 112, 100)))
    assert found.code == "distorted" and found.remedy == "use 112 x 112 or 100 x 100"
    assert codes((reference(), (0, 0, 109, 100))) == []


def test_transparent():
    def half_seen(columns):
        alpha = opaque_in((10, 10, 190, 190), height=200, width=200)
        alpha[10:190, 50 : 50 + columns] = 100
        return reference(height=200, width=200, alpha=alpha)

    found = alone((half_seen(91), (0, 0, 200, 200)))
    assert found.code == "transparent" and found.severity == "warning"
    assert "51% of what is seen of 'alice' is less than half opaque" in found.text
    assert codes((half_seen(90), (0, 0, 200, 200))) == []


def test_margin():
    found = alone((reference(alpha=opaque_in((10, 10, 80, 80))), (0, 0, 100, 100)))
    assert found.code == "margin" and found.severity == "info" and "fills only 49%" in found.text
    assert codes((reference(alpha=opaque_in((10, 10, 81, 81))), (0, 0, 100, 100))) == []


def touching(side, length):
    """An alpha of 80 x 80 pixels in the middle, of which a strip of some length reaches one border."""
    alpha = opaque_in((10, 10, 90, 90))
    strip = slice(20, 20 + length)
    if side == "left":
        alpha[strip, :10] = 255
    elif side == "right":
        alpha[strip, 90:] = 255
    elif side == "upper":
        alpha[:10, strip] = 255
    else:
        alpha[90:, strip] = 255
    return alpha


@pytest.mark.parametrize("side", ["left", "right", "upper", "lower"])
def test_cut_at_border(side):
    found = alone((reference(alpha=touching(side, 21)), (0, 0, 100, 100)))
    assert found.code == "cut_at_border" and f"touches the {side} border" in found.text
    assert codes((reference(alpha=touching(side, 20)), (0, 0, 100, 100))) == []


def test_a_portrait_may_end_at_the_lower_border():
    person = reference(kind="person", alpha=touching("lower", 60))
    assert codes((person, (0, 0, 100, 100))) == []
    cut = reference(kind="person", alpha=touching("upper", 60))
    assert codes((cut, (0, 0, 100, 100))) == ["cut_at_border"]


def test_a_picture_without_a_cut_out_is_not_called_cut():
    assert codes((reference(), (0, 0, 100, 100))) == []


def test_shared_latent_cells():
    left, right = reference("left"), reference("right")
    found = alone((left, (0, 0, 100, 100)), (right, (100, 0, 100, 100)))
    assert found.code == "shared_latent_cells" and found.severity == "info"
    assert "'left' and 'right' share 13 latent cells" in found.text
    assert codes((left, (0, 0, 100, 100)), (right, (104, 0, 100, 100))) == []


@pytest.mark.parametrize(("order", "count"), [("official", 2), ("fitted", 0)])
def test_the_official_cells_of_three_share_latent_cells_and_the_fitted_do_not(order, count):
    given = [reference(name, height=200, width=300) for name in ("one", "two", "three")]
    placed = place_references(given, height=HEIGHT, width=WIDTH, order=order)
    canvas = compose_canvas(given, placed, height=HEIGHT, width=WIDTH)
    found = [finding.code for finding in find_all(measure(canvas), height=HEIGHT, width=WIDTH)]
    assert found.count("shared_latent_cells") == count


def test_a_subject_before_a_background_shares_no_cell_with_it():
    behind = reference("beach", kind="background", height=HEIGHT, width=WIDTH)
    assert codes((behind, (0, 0, WIDTH, HEIGHT)), (reference(), (3, 3, 100, 100))) == []


def test_small_background():
    behind = reference("beach", kind="background", height=240, width=416)
    found = alone((behind, (0, 0, 415, 240)))
    assert found.code == "small_background" and found.severity == "warning"
    assert "covers only 25% of the canvas" in found.text and "order fitted" in found.remedy
    assert codes((behind, (0, 0, 416, 240))) == []
    assert codes((reference(height=240, width=415), (0, 0, 415, 240))) == [], "only backgrounds need so much"


BEACH = reference("beach", kind="background", height=HEIGHT, width=WIDTH), (0, 0, WIDTH, HEIGHT)


def test_a_background_behind_a_picture_that_is_not_cut_out():
    girl = reference("girl", height=240, width=240), (0, 0, 416, 416)
    robot = reference(
        "robot", height=240, width=240, alpha=opaque_in((60, 60, 230, 230), height=240, width=240)
    )
    found = alone(BEACH, girl, (robot, (416, 0, 416, 416)))
    assert (found.code, found.severity, found.reference) == ("covered_background", "warning", "beach")
    assert found.text == "'girl' and what else lies over 'beach' cover 65% of it"
    assert found.remedy.startswith("cut 'girl' out")
    assert codes(BEACH, (robot, (0, 0, 416, 416)), (robot, (416, 0, 416, 416))) == []


def test_a_background_may_be_covered_by_cut_outs_until_a_quarter_of_the_canvas_is_left():
    alpha = opaque_in((0, 0, WIDTH, HEIGHT - 120), height=HEIGHT, width=WIDTH)
    person = reference("ann", kind="object", height=HEIGHT, width=WIDTH, alpha=alpha)
    size = (0, 0, WIDTH, HEIGHT)
    assert "covered_background" not in codes(BEACH, (person, size))
    alpha[HEIGHT - 120] = 255
    (found,) = [each for each in findings_of(BEACH, (person, size)) if each.code == "covered_background"]
    assert found.reference == "beach" and "cover 75% of it" in found.text
    assert found.remedy == "give what lies over it smaller boxes"


@pytest.mark.parametrize(
    ("name", "prompt", "expected"),
    [
        ("alice", "Bob drinks coffee", ["name_missing"]),
        ("alice", "Malice is what Bob feels", ["name_missing"]),
        ("alice", "Alice drinks coffee", []),
        ("alice", "", []),
        ("alice", "  \n", []),
    ],
)
def test_name_missing(name, prompt, expected):
    assert codes((reference(name), (0, 0, 100, 100)), prompt=prompt) == expected


def test_several_pictures_of_one_subject_are_missed_once_and_by_the_name_of_the_subject():
    given = [reference("alice"), reference("alice 2", subject="alice")]
    (found,) = names_missing(given, "bob walks")
    assert found.text == "the prompt does not name 'alice'" and found.reference == "alice"
    assert names_missing(given, "alice walks") == ()


def row(count, **options):
    return [(reference(f"r{index}", **options), (index * 104, 0, 100, 100)) for index in range(count)]


def test_many_subjects():
    found = alone(*row(4))
    assert found.code == "many_subjects" and found.severity == "info" and found.reference is None
    assert "there are 4 subjects, but the paper tested at most 3" in found.text
    assert codes(*row(3)) == []
    assert codes(*row(4, subject="alice")) == [], "four pictures of one subject"


def test_covered():
    below, above = reference("below"), reference("above")
    found = alone((below, (0, 0, 100, 100)), (above, (74, 0, 100, 100)))
    assert found.code == "covered" and found.reference == "below"
    assert "'above' and what else lies over 'below' cover 26% of it" in found.text
    assert codes((below, (0, 0, 100, 100)), (above, (75, 0, 100, 100))) == []


def test_hidden():
    below, above = reference("below"), reference("above", height=200, width=200)
    found = alone((below, (0, 0, 100, 100)), (above, (0, 0, 200, 200)))
    assert (found.code, found.severity) == ("hidden", "error")
    assert found.text == "nothing of 'below' can be seen, since 'above' lies over it"
    assert "hidden" not in codes((below, (0, 0, 100, 100)), (above, (0, 1, 200, 200)))


def test_a_picture_that_is_nowhere_half_opaque_is_hidden_too():
    faint = reference(alpha=opaque_in((0, 0, 100, 100), level=127))
    found = findings_of((faint, (0, 0, 100, 100)))[0]
    assert found.code == "hidden" and found.text == "nothing of 'alice' can be seen at half opacity or more"
    firm = reference(alpha=opaque_in((0, 0, 100, 100), level=128))
    assert "hidden" not in codes((firm, (0, 0, 100, 100)))


def test_the_gravest_comes_first():
    below, above = reference("below"), reference("above", height=200, width=200)
    found = findings_of((below, (0, 0, 100, 100)), (above, (0, 0, 401, 401)), *row(4)[2:], prompt="nobody")
    ranks = [("error", "warning", "info").index(finding.severity) for finding in found]
    assert ranks == sorted(ranks) and ranks[0] == 0 and ranks[-1] == 2


def test_every_finding_says_what_is_and_what_to_do():
    below, above = reference("below"), reference("above", height=200, width=200)
    for found in findings_of((below, (0, 0, 100, 100)), (above, (0, 0, 401, 401)), *row(4)[2:], prompt="no"):
        assert found.sentence == f"{found.text}: {found.remedy}"
        assert found.text and found.remedy and not found.sentence.endswith(".")
