"""Cut-outs: what back-ends promise to the rest, and the two that only pass something on."""

import importlib
import sys

import pytest
import torch

from magref_core.canvas.references import Reference
from magref_core.errors import MagrefError, ShapeError
from magref_core.segmentation.alpha import OwnAlpha
from magref_core.segmentation.cascade_faces import cascade_finder
from magref_core.segmentation.cleanup import Cleanup, clean, fill_holes
from magref_core.segmentation.cutout import CutOut, cut_out
from magref_core.segmentation.faces import load_insightface
from magref_core.segmentation.given import GivenMask
from magref_core.segmentation.grabcut import GrabCut
from magref_core.segmentation.sam_checkpoint import load_segment_anything


def reference(*, alpha: torch.Tensor | None = None, height: int = 40, width: int = 60) -> Reference:
    return Reference(name="cup", image=torch.zeros(height, width, 3, dtype=torch.uint8), alpha=alpha)


def block(*, height: int = 40, width: int = 60, rows: slice = slice(10, 30), columns: slice = slice(20, 50)):
    """(H, W) uint8; 255 on a rectangle."""
    alpha = torch.zeros(height, width, dtype=torch.uint8)
    alpha[rows, columns] = 255
    return alpha


def answering(alpha: torch.Tensor | None, *warnings: str):
    return lambda reference: CutOut(alpha=alpha, warnings=warnings)


def test_the_alpha_of_a_back_end_becomes_that_of_the_reference():
    given = reference()
    cut, warnings = cut_out(given, answering(block()))
    assert torch.equal(cut.alpha, block())
    assert (cut.name, cut.kind, warnings) == ("cup", "object", ())
    assert cut.image is given.image
    assert given.alpha is None


def test_a_back_end_without_an_answer_leaves_the_reference_alone():
    given = reference(alpha=block())
    assert cut_out(given, answering(None, "look")) == (given, ("look",))


def test_an_empty_cut_out_is_not_applied_and_says_so():
    given = reference()
    cut, warnings = cut_out(given, answering(torch.full((40, 60), 127, dtype=torch.uint8)))
    assert cut is given
    sentence = (
        "the cut-out of 'cup' is empty, so its picture is used as it was: choose another method, or connect"
    )
    assert warnings == (f"{sentence} a mask",)


def test_a_cut_out_that_cleaning_empties_is_not_applied():
    given = reference()
    cut, warnings = cut_out(given, answering(block()), cleanup=Cleanup(grow=-20))
    assert cut is given
    assert "is empty" in warnings[0]


@pytest.mark.parametrize(
    ("alpha", "sentence"),
    [
        (
            torch.full((40, 60), 255, dtype=torch.uint8),
            "covers the whole picture, nothing was cut away: choose",
        ),
        (block(rows=slice(0, 7), columns=slice(0, 10)), "covers only 2.9% of its picture: look at it"),
    ],
)
def test_a_suspicious_cut_out_is_applied_with_a_warning(alpha, sentence):
    cut, warnings = cut_out(reference(), answering(alpha, "first"))
    assert torch.equal(cut.alpha, alpha)
    assert warnings[0] == "first" and sentence in warnings[1]


def test_the_transparency_of_the_file_is_taken():
    given = reference(alpha=block())
    cut, warnings = cut_out(given, OwnAlpha())
    assert torch.equal(cut.alpha, block()) and warnings == ()


def test_a_file_without_transparency_stays_whole_with_a_warning():
    cut, warnings = cut_out(reference(), OwnAlpha())
    assert cut.alpha is None
    assert "'cup' has no transparency, so the whole picture is used: choose another method" in warnings[0]


def test_a_fallback_is_asked_where_the_file_has_no_transparency():
    method = OwnAlpha(fallback=answering(block(columns=slice(0, 30))))
    assert torch.equal(cut_out(reference(), method)[0].alpha, block(columns=slice(0, 30)))
    assert torch.equal(cut_out(reference(alpha=block()), method)[0].alpha, block())


def test_a_given_mask_becomes_the_alpha_and_keeps_its_soft_edge():
    mask = torch.linspace(0, 1.2, 60).expand(40, 60)
    cut, _ = cut_out(reference(), GivenMask(mask=mask))
    assert torch.equal(cut.alpha, (mask.clamp(0, 1) * 255).round().to(torch.uint8))


@pytest.mark.parametrize(
    ("mask", "given"),
    [(torch.ones(64, 64), "64 x 64"), (torch.ones(60, 40), "40 x 60"), (torch.ones(1, 40, 60), "of shape")],
)
def test_a_mask_of_another_size_is_refused(mask, given):
    with pytest.raises(
        ShapeError, match=f"mask of 'cup' is {given}.*, but its picture is 60 x 40: give a mask"
    ):
        cut_out(reference(), GivenMask(mask=mask))


@pytest.mark.parametrize("level", [0.0, 0.49])
def test_an_empty_mask_is_refused_with_the_likely_reason(level):
    sentence = (
        "mask of 'cup' is empty, .* Load Image's MASK marks the transparent part, so put InvertMask between"
    )
    with pytest.raises(MagrefError, match=sentence):
        cut_out(reference(), GivenMask(mask=torch.full((40, 60), level)))


def test_no_cleanup_changes_nothing_and_needs_no_opencv(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    alpha = torch.randint(0, 256, (40, 60), dtype=torch.uint8)
    assert torch.equal(clean(alpha, Cleanup()), alpha)


def test_a_missing_opencv_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(
        MagrefError, match=r"needs OpenCV, which cannot be imported \(.*\): install opencv-python"
    ):
        clean(block(), Cleanup(feather=3))


@pytest.fixture
def broken_package(tmp_path, monkeypatch):
    """A package of some name whose import runs the lines given, in place of the real one."""

    def install(name, lines):
        (tmp_path / name).mkdir()
        if lines is not None:
            (tmp_path / name / "__init__.py").write_text(lines)
        for module in {name, *(loaded for loaded in sys.modules if loaded.startswith(f"{name}."))}:
            monkeypatch.setitem(sys.modules, module, None)  # noted, so that all is as before afterwards
            del sys.modules[module]
        monkeypatch.setattr(sys, "path", [str(tmp_path)] if lines is None else [str(tmp_path), *sys.path])
        importlib.invalidate_caches()

    return install


LIBGL = "raise ImportError('libGL.so.1: cannot open shared object file')"
BUILT_FOR_ANOTHER = "raise ValueError('numpy.dtype size changed')"


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (LIBGL, r"cannot be imported \(libGL.so.1: cannot open shared object file\): install opencv-python"),
        (BUILT_FOR_ANOTHER, r"cannot be imported \(numpy.dtype size changed\): install opencv-python"),
        (None, r"of which only an empty folder cv2 is left: install opencv-python again"),
    ],
)
def test_an_opencv_that_is_broken_is_named_and_faces_are_not_looked_for(broken_package, lines, sentence):
    broken_package("cv2", lines)
    with pytest.raises(MagrefError, match=sentence):
        cut_out(reference(), GrabCut())
    assert cascade_finder() is None


@pytest.mark.parametrize(
    ("name", "load"), [("insightface", load_insightface), ("segment_anything", load_segment_anything)]
)
def test_a_package_that_was_built_for_another_version_is_named(broken_package, name, load):
    broken_package(name, BUILT_FOR_ANOTHER)
    with pytest.raises(MagrefError, match=r"cannot be imported \(numpy.dtype size changed\): install"):
        load()


def test_only_the_largest_part_is_kept():
    alpha = block()
    alpha[0:4, 0:4] = 255
    alpha[35:40, 0:20] = 100
    assert torch.equal(clean(alpha, Cleanup(keep_largest=True)), block())


def test_a_single_part_is_kept_with_its_soft_edge():
    alpha = block()
    alpha[9, 20:50] = 40
    assert torch.equal(clean(alpha, Cleanup(keep_largest=True)), alpha)


def test_holes_are_filled_and_bays_are_not():
    alpha = block()
    alpha[15:20, 25:30] = 0
    alpha[20:25, 20:23] = 0  # open to the left
    filled = clean(alpha, Cleanup(fill_holes=True))
    assert filled[15:20, 25:30].eq(255).all()
    assert filled[20:25, 20:23].eq(0).all()


def test_holes_above_a_share_of_the_subject_stay_open():
    alpha = block()  # 600 pixels
    alpha[12:14, 22:25] = 0  # 6, one per cent of the 569 that remain
    alpha[20:25, 30:35] = 0  # 25
    filled = fill_holes(alpha.numpy(), largest=0.02)
    assert filled[12:14, 22:25].all()
    assert not filled[20:25, 30:35].any()


def test_a_gap_that_only_meets_at_a_corner_is_a_hole():
    alpha = torch.full((5, 5), 255, dtype=torch.uint8)
    alpha[1, 1] = alpha[0, 0] = 0
    assert clean(alpha, Cleanup(fill_holes=True)).tolist()[1][1] == 255
    assert clean(alpha, Cleanup(fill_holes=True)).tolist()[0][0] == 0


@pytest.mark.parametrize("pixels", [1, 4, -1, -4])
def test_growing_moves_every_edge_by_as_many_pixels(pixels):
    grown = clean(block(), Cleanup(grow=pixels)) >= 128
    rows, columns = grown.any(dim=1).nonzero(), grown.any(dim=0).nonzero()
    assert (rows.min().item(), rows.max().item()) == (10 - pixels, 29 + pixels)
    assert (columns.min().item(), columns.max().item()) == (20 - pixels, 49 + pixels)


def test_growing_an_empty_or_full_alpha_changes_nothing():
    for level in (0, 255):
        alpha = torch.full((40, 60), level, dtype=torch.uint8)
        assert torch.equal(clean(alpha, Cleanup(grow=5)), alpha)


def test_a_feather_softens_the_edge_and_leaves_it_where_it_was():
    soft = clean(block(), Cleanup(feather=4))
    row = soft[20, 20 - 6 : 20 + 6].int()
    assert (row.diff() >= 0).all() and (row.diff() > 0).sum() >= 4
    assert row[5] < 128 <= row[6]


def test_a_negative_feather_is_refused():
    with pytest.raises(MagrefError, match="feather is -1 pixels, but it cannot be negative: use 0 or more"):
        Cleanup(feather=-1)
