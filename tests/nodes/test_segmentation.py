from __future__ import annotations

import pickle
import sys

import comfy.model_management
import folder_paths
import pytest
import torch
from magref_pack.magref_core.canvas.references import Reference
from magref_pack.magref_core.errors import MagrefError
from magref_pack.nodes.segmentation import AutoMaskSubject, choose
from magref_pack.nodes.segmenters import register_folders

from tests.cutout_models import save_face_pack, save_sam

HEIGHT, WIDTH = 48, 64


@pytest.fixture
def models(tmp_path, monkeypatch):
    """An empty models folder in which the pack has registered its own."""
    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path))
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", dict(folder_paths.folder_names_and_paths))
    for folder in ("sams", "insightface"):
        folder_paths.folder_names_and_paths.pop(folder, None)
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    register_folders()
    return tmp_path


def disc(name="ball", kind="object", **extras):
    """A red disc on a green ground, and where it is."""
    rows, columns = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    inside = (rows - HEIGHT / 2) ** 2 + (columns - WIDTH / 2) ** 2 < 14**2
    image = torch.tensor([20, 150, 40]).repeat(HEIGHT, WIDTH, 1)
    image[inside] = torch.tensor([210, 30, 30])
    return Reference(name=name, kind=kind, image=image.to(torch.uint8), **extras), inside


def cut(references, method="auto", subjects="", grow=0, feather=0, mask=None, **more):
    return AutoMaskSubject.execute(tuple(references), method, subjects, grow, feather, mask=mask, **more)


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


@pytest.mark.parametrize(("subjects", "said"), [("room", True), ("", False)])
def test_a_background_that_is_named_stays_whole_and_that_is_said(caplog, subjects, said):
    place, _ = disc("room", "background")
    assert cut([place], "grabcut", subjects=subjects).args[0][0] is place
    assert ("'room' is a background, so it stays whole: make it an object" in caplog.text) == said


def test_a_mask_is_taken_for_the_subject_that_is_named():
    reference, inside = disc()
    other, _ = disc("other")
    result = cut([reference, other], "mask", "ball", mask=inside[None].float()).args[0]
    assert overlap(result[0].alpha, inside) == 1
    assert result[1] is other


def test_the_node_shows_the_cut_outs_and_says_what_is_doubtful(caplog):
    reference, _ = disc()
    assert cut([reference]).ui.as_dict()["images"]
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    cut([reference], "transparency")
    assert "has no transparency" in caplog.text


def test_a_picture_too_thin_for_the_preview_still_passes():
    thin = Reference(name="pole", image=torch.full((16000, 80, 3), 7, dtype=torch.uint8))
    assert cut([thin], "transparency").args[0][0] is thin


def test_a_method_that_came_over_a_link_is_refused_if_there_is_none_such():
    with pytest.raises(MagrefError, match=r"the method is 'matte', which is unknown: choose one of auto"):
        cut([disc()[0]], "matte")


def test_what_shall_stay_whole_is_cut_out_only_when_it_is_named():
    whole, _ = disc("cup", keep_whole=True)
    assert cut([whole], "grabcut").args[0][0] is whole
    named = cut([whole], "grabcut", subjects="cup").args[0][0]
    assert named.alpha is not None and named.keep_whole


def test_a_mask_for_nothing_but_backgrounds_is_refused():
    with pytest.raises(MagrefError, match=r"all references are backgrounds or kept whole"):
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


def test_a_picture_that_is_kept_whole_is_left_alone_unless_it_is_named():
    reference, inside = disc(keep_whole=True)
    assert cut([reference]).args[0][0] is reference
    assert overlap(cut([reference], subjects="ball").args[0][0].alpha, inside) > 0.9


def test_auto_says_that_grabcut_was_used_where_nothing_better_is_installed(models, caplog):
    caplog.set_level("INFO")
    cut([disc()[0]])
    assert "cut out by GrabCut: ball" in caplog.text


def test_auto_takes_the_largest_segment_anything_that_is_installed_and_says_so(models, caplog):
    save_sam(models / "sams" / "a_large.pth", embed_dim=32)
    save_sam(models / "sams" / "b_small.pth")
    caplog.set_level("INFO")
    result = cut([disc()[0]]).args[0][0]
    assert "cut out by Segment Anything (a_large.pth): ball" in caplog.text
    assert result.alpha is None or result.alpha.shape == (HEIGHT, WIDTH)


def test_auto_takes_a_released_file_before_a_larger_one_of_another_family(models, caplog):
    save_sam(models / "sams" / "sam_hq_vit_tiny.pth", embed_dim=32)
    save_sam(models / "sams" / "sam_vit_tiny.pth")
    caplog.set_level("INFO")
    cut([disc()[0]])
    assert "cut out by Segment Anything (sam_vit_tiny.pth): ball" in caplog.text


def test_auto_loads_no_model_where_every_picture_has_transparency_and_says_what_it_kept(
    models, monkeypatch, caplog
):
    save_sam(models / "sams" / "sam_vit_tiny.pth")
    loaded = []
    monkeypatch.setattr(
        comfy.model_management, "load_models_gpu", lambda patchers, **_: loaded.append(patchers)
    )
    alpha = torch.zeros(HEIGHT, WIDTH, dtype=torch.uint8)
    alpha[10:30, 10:40] = 255
    caplog.set_level("INFO")
    result = cut([disc(alpha=alpha)[0], disc("room", "background")[0]]).args[0]
    assert not loaded and torch.equal(result[0].alpha, alpha) and result[1].alpha is None
    assert "kept as transparent as its file is: ball" in caplog.text and "cut out by" not in caplog.text


def test_auto_goes_on_with_grabcut_where_the_package_or_its_file_is_broken(models, monkeypatch, caplog):
    caplog.set_level("INFO")
    (models / "sams").mkdir(exist_ok=True)
    torch.save({"other": torch.zeros(2)}, models / "sams" / "other_model.pth")
    reference, inside = disc()
    assert overlap(cut([reference]).args[0][0].alpha, inside) > 0.9
    assert "cut out by GrabCut, not by Segment Anything ('other_model.pth' is no checkpoint" in caplog.text
    save_sam(models / "sams" / "tiny.pth")
    monkeypatch.setitem(sys.modules, "segment_anything", None)
    assert overlap(cut([reference]).args[0][0].alpha, inside) > 0.9


def test_the_model_is_loaded_through_the_memory_management_of_the_host(models, monkeypatch):
    save_sam(models / "sams" / "tiny.pth")
    loaded = []
    load = comfy.model_management.load_models_gpu
    monkeypatch.setattr(
        comfy.model_management,
        "load_models_gpu",
        lambda patchers, **options: (loaded.extend(patchers), load(patchers, **options)),
    )
    cut([disc()[0]], "segment_anything", points="30,24", sam_model="tiny.pth")
    assert len(loaded) == 1
    assert loaded[0].load_device == comfy.model_management.get_torch_device()
    assert loaded[0].model_size() > 0


def test_segment_anything_stops_when_the_run_is_interrupted(models):
    save_sam(models / "sams" / "tiny.pth")
    reference, _ = disc()
    calls = comfy.model_management.throw_exception_if_processing_interrupted
    seen = []

    def interrupt_later():
        seen.append(None)
        if len(seen) == 3:  # once for the picture, twice in the model
            comfy.model_management.interrupt_current_processing(True)
        calls()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comfy.model_management, "throw_exception_if_processing_interrupted", interrupt_later)
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            cut([reference], "segment_anything", points="30,24")
    assert len(seen) == 3


def test_a_box_of_a_detector_and_points_name_the_thing(models):
    save_sam(models / "sams" / "tiny.pth")
    box = [[{"x": 10, "y": 10, "width": 30, "height": 30, "score": 0.9}]]
    assert cut([disc()[0]], "segment_anything", box=box).args[0][0].name == "ball"
    with pytest.raises(MagrefError, match=r"points or a box are given, but .*: name one of them in subjects"):
        cut([disc()[0], disc("other")[0]], "segment_anything", box=box)
    with pytest.raises(MagrefError, match=r"connected to box is no bounding box"):
        cut([disc()[0]], "segment_anything", box=[{"x": 1}])
    with pytest.raises(MagrefError, match=r"the point 'here' cannot be read"):
        cut([disc()[0]], "segment_anything", points="here")


def test_segment_anything_without_a_file_or_with_an_evil_one_is_refused(models):
    with pytest.raises(MagrefError, match=r"there is no Segment Anything file in ComfyUI's models/sams"):
        cut([disc()[0]], "segment_anything")
    with pytest.raises(MagrefError, match=r"'gone.pth' is not in ComfyUI's models/sams"):
        cut([disc()[0]], "segment_anything", sam_model="gone.pth")
    (models / "sams").mkdir(exist_ok=True)
    (models / "sams" / "evil.pth").write_bytes(pickle.dumps({"a": print}))
    with pytest.raises(MagrefError, match=r"'evil.pth' holds no plain weights .* nothing in it was executed"):
        cut([disc()[0]], "segment_anything", sam_model="evil.pth")


def test_a_person_is_cropped_to_the_face(models):
    save_face_pack(models / "insightface" / "models" / "antelopev2", [(20.0, 12.0, 44.0, 36.0)])
    reference, _ = disc("alice", "person")
    full = cut([reference], "grabcut").args[0][0].alpha
    face = cut([reference], "grabcut", face_crop="face").args[0][0].alpha
    assert (face > 0).sum() < (full > 0).sum()
    assert not face[:8].any() and torch.equal(face[20:30, 28:36], full[20:30, 28:36])


def test_a_face_crop_without_models_or_package_is_refused_and_the_default_needs_neither(models, monkeypatch):
    with pytest.raises(MagrefError, match=r"there is no insightface model: put the .onnx files"):
        cut([disc("alice", "person")[0]], face_crop="head")
    save_face_pack(models / "insightface" / "models" / "antelopev2", [(20.0, 12.0, 44.0, 36.0)])
    for name in ("insightface", "segment_anything", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MagrefError, match=r"insightface, which cannot be imported"):
        cut([disc("alice", "person")[0]], face_crop="head")
    assert cut([disc()[0]], "grabcut").args[0][0].alpha is not None


@pytest.mark.parametrize(("name", "value"), [("face_crop", "nose"), ("sam_prompt", "guess")])
def test_other_choices_that_came_over_a_link_are_refused_too(name, value):
    with pytest.raises(MagrefError, match=rf"the {name} is '{value}', which is unknown: choose one of"):
        cut([disc()[0]], **{name: value})


def test_an_inverted_mask_is_pointed_out(caplog):
    reference, inside = disc()
    cut([reference], "mask", mask=(~inside)[None].float())
    assert "leaves out the middle, as an inverted mask does" in caplog.text


def test_cleaning_up_fills_holes_keeps_the_largest_part_and_recolours_the_edge():
    reference, inside = disc()
    mask = inside.clone()
    mask[22:26, 30:34] = False
    mask[2:5, 2:5] = True
    plain = cut([reference], "mask", mask=mask[None].float()).args[0][0]
    assert torch.equal(plain.alpha > 0, mask) and torch.equal(plain.image, reference.image)
    clean = cut(
        [reference], "mask", mask=mask[None].float(), fill_holes=True, largest_part=True, despill=True, grow=1
    ).args[0][0]
    assert (clean.alpha[22:26, 30:34] == 255).all() and not clean.alpha[:7, :7].any()
    rim = (clean.alpha > 0) & ~inside
    assert rim.any() and (reference.image[rim][:, 1] == 150).all()  # green of the ground
    assert (clean.image[rim][:, 0] > 150).all()  # red of the disc
