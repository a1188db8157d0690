from __future__ import annotations

import pytest
import torch
from magref_pack.magref_core.canvas.references import Reference
from magref_pack.magref_core.errors import MagrefError
from magref_pack.nodes.segmentation import AutoMaskSubject, choose

HEIGHT, WIDTH = 48, 64


def disc(name="ball", kind="object", **extras):
    """A red disc on a green ground, and where it is."""
    rows, columns = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    inside = (rows - HEIGHT / 2) ** 2 + (columns - WIDTH / 2) ** 2 < 14**2
    image = torch.tensor([20, 150, 40]).repeat(HEIGHT, WIDTH, 1)
    image[inside] = torch.tensor([210, 30, 30])
    return Reference(name=name, kind=kind, image=image.to(torch.uint8), **extras), inside


def cut(references, method="auto", subjects="", grow=0, feather=0, mask=None):
    return AutoMaskSubject.execute(tuple(references), method, subjects, grow, feather, mask)


def overlap(alpha, inside):
    marked = alpha >= 128
    return ((marked & inside).sum() / (marked | inside).sum()).item()


def test_auto_cuts_out_what_has_no_transparency_of_its_own():
    reference, inside = disc()
    assert overlap(cut([reference]).args[0][0].alpha, inside) > 0.9


def test_auto_keeps_the_transparency_of_the_file():
    alpha = torch.zeros(HEIGHT, WIDTH, dtype=torch.uint8)
    alpha[:20, :20] = 255
    reference, _ = disc(alpha=alpha)
    assert overlap(cut([reference]).args[0][0].alpha, alpha >= 128) > 0.99


def test_a_background_and_those_not_named_pass_unchanged():
    place, _ = disc("room", "background")
    first, second = disc("first")[0], disc("second")[0]
    result = cut([place, first, second], subjects="second").args[0]
    assert result[0] is place and result[1] is first
    assert result[2].alpha is not None
    assert cut([place]).args[0][0] is place


def test_a_mask_is_taken_for_the_subject_that_is_named():
    reference, inside = disc()
    other, _ = disc("other")
    result = cut([reference, other], "mask", "ball", mask=inside[None].float()).args[0]
    assert overlap(result[0].alpha, inside) == 1
    assert result[1] is other


def test_the_node_shows_the_cut_outs_and_says_what_is_doubtful(caplog):
    reference, _ = disc()
    assert cut([reference]).ui.as_dict()["images"]
    assert caplog.text == ""
    cut([reference], "transparency")
    assert "has no transparency" in caplog.text


def test_a_picture_too_thin_for_the_preview_still_passes():
    thin = Reference(name="pole", image=torch.full((16000, 80, 3), 7, dtype=torch.uint8))
    assert cut([thin], "transparency").args[0][0] is thin


def test_a_method_that_came_over_a_link_is_refused_if_there_is_none_such():
    with pytest.raises(MagrefError, match=r"the method is 'sam', which is unknown: choose one of auto"):
        cut([disc()[0]], "sam")


def test_what_shall_stay_whole_is_cut_out_only_when_it_is_named():
    whole, _ = disc("cup", keep_whole=True)
    assert cut([whole], "grabcut").args[0][0] is whole
    named = cut([whole], "grabcut", subjects="cup").args[0][0]
    assert named.alpha is not None and named.keep_whole


def test_a_mask_for_nothing_but_backgrounds_is_refused():
    with pytest.raises(MagrefError, match=r"all references are backgrounds"):
        cut([disc("room", "background")[0]], "mask", mask=torch.ones(1, HEIGHT, WIDTH))


def test_an_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(MagrefError, match=r"no reference named 'dog': choose among ball"):
        choose((disc()[0],), "dog")


def test_method_mask_without_a_mask_is_refused():
    with pytest.raises(MagrefError, match=r"no mask is connected"):
        cut([disc()[0]], "mask")


def test_one_mask_for_several_subjects_is_refused():
    with pytest.raises(MagrefError, match=r"would cut out ball, other: name one of them"):
        cut([disc()[0], disc("other")[0]], "mask", mask=torch.ones(1, HEIGHT, WIDTH))


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(MagrefError, match=r"is 64 x 64, but its picture is 64 x 48"):
        cut([disc()[0]], "mask", mask=torch.ones(1, 64, 64))


def test_an_empty_mask_is_refused():
    with pytest.raises(MagrefError, match=r"is empty, but it must be 1 on the subject"):
        cut([disc()[0]], "mask", mask=torch.zeros(1, HEIGHT, WIDTH))
