from __future__ import annotations

import json
import sys

import comfy.model_management
import folder_paths
import numpy as np
import pytest
import torch
from magref_pack.magref_core.canvas.compose import compose_canvas
from magref_pack.magref_core.canvas.layout import arrange
from magref_pack.magref_core.canvas.references import Reference
from magref_pack.magref_core.errors import MagrefError, ShapeError
from magref_pack.nodes import demo, looking
from magref_pack.nodes.segmenters import register_folders
from magref_pack.nodes.subject_report import SubjectReport

from scripts import ROOT
from tests.cutout_models import save_face_pack

from . import models

RED, BLUE = (220, 40, 40), (40, 60, 220)


def reference(name, colour, **more):
    """A striped figure."""
    image = torch.tensor(colour, dtype=torch.uint8).repeat(40, 20, 1)
    image[8:14] = 250
    return Reference(name=name, kind="person", image=image, **more)


def canvas(*given):
    given = given or (reference("red", RED), reference("blue", BLUE))
    sizes = [(each.height, each.width) for each in given]
    placed = arrange(sizes, height=64, width=96, seed=1)
    return compose_canvas(given, placed, height=64, width=96)


def video(*stands, length=5, height=64, width=96):
    """IMAGE of figures on a noisy field; (x, colour) each."""
    generator = np.random.default_rng(0)
    frames = generator.uniform(0.3, 0.5, (length, height, width, 3)).astype(np.float32)
    for x, colour in stands:
        frames[:, 14:54, x : x + 20] = np.array(colour, np.float32) / 255
        frames[:, 22:28, x : x + 20] = 250 / 255
    return torch.as_tensor(frames)


BOTH = ((15, RED), (60, BLUE))


def report(images, given=None, **changes):
    values = {"method": "colours", "order": "red, blue", "num_frames": 3}
    sheet, text, score = SubjectReport.execute(images, given or canvas(), **(values | changes)).args
    assert sheet.ndim == 4 and sheet.shape[3] == 3 and 0 <= float(sheet.min()) <= float(sheet.max()) <= 1
    told = json.loads(text)
    assert told["score"] == pytest.approx(score, abs=1e-4)
    return told


def verdicts(told):
    return {line["name"]: line["verdict"] for line in told["subjects"]}


def test_who_is_there_is_correct_and_a_change_of_order_a_swap():
    assert verdicts(report(video(*BOTH))) == {"red": "correct", "blue": "correct"}
    assert verdicts(report(video(*BOTH), order="blue, red")) == {"red": "swapped", "blue": "swapped"}


def test_who_is_not_there_is_missing():
    told = report(video((15, RED)))
    assert verdicts(told)["red"] == "correct" and verdicts(told)["blue"] != "correct"
    assert any("'blue' is" in finding for finding in told["findings"])


@pytest.mark.parametrize("length", [1, 2, 33])
def test_a_video_of_any_length_is_looked_at(length):
    told = report(video(*BOTH, length=length))
    assert told["length"] == length and told["frames"][-1] == length - 1 and len(told["frames"]) <= 3


def test_a_video_of_another_shape_than_the_canvas_is_looked_at_with_a_note():
    told = report(video(*BOTH, width=128))
    assert told["findings"][0].startswith("the video is 128 x 64 pixels, the canvas 96 x 64: it was cut")
    twice = torch.nn.functional.interpolate(video(*BOTH).movedim(3, 1), scale_factor=2).movedim(1, 3)
    told = report(twice)
    assert not any(finding.startswith("the video") for finding in told["findings"])
    assert set(verdicts(told).values()) == {"correct"}


def test_what_is_no_number_is_looked_at_as_black():
    images = video(*BOTH)
    images[:] = float("nan")
    assert set(verdicts(report(images)).values()) == {"missing"}


def test_other_pictures_can_stand_for_those_on_the_canvas():
    grey = canvas(reference("red", (128, 128, 128)), reference("blue", (90, 90, 90)))
    told = report(video(*BOTH), grey, references=(reference("red", RED), reference("blue", BLUE)))
    assert set(verdicts(told).values()) == {"correct"}


def test_an_encoder_of_the_host_serves():
    told = report(video(*BOTH), method="encoder", encoder=models.clip_vision())
    assert told["method"] == "encoder" and len(told["subjects"]) == 2
    assert all(-1 <= value <= 1.001 for line in told["subjects"] for value in line["curve"])


def test_auto_takes_the_encoder_that_is_connected_and_else_does_without_models():
    assert report(video(*BOTH), method="auto", encoder=models.clip_vision())["method"] == "encoder"
    assert report(video(*BOTH), method="auto")["method"] == "colours"


def test_the_encoder_of_the_demo_model_is_refused_and_auto_does_without():
    encoder = demo.load_clip_vision(str(ROOT / "models/demo/clip_vision/magref_demo_clip_vision.safetensors"))
    with pytest.raises(MagrefError, match="the image encoder of the demo model cannot tell who is like whom"):
        report(video(*BOTH), method="encoder", encoder=encoder)
    told = report(video(*BOTH), method="auto", encoder=encoder)
    assert told["method"] == "colours" and set(verdicts(told).values()) == {"correct"}


@pytest.fixture
def face_pack(tmp_path, monkeypatch):
    """A pack of tiny models in the host's folder: two faces in every picture, told by their mean colours."""
    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path))
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", dict(folder_paths.folder_names_and_paths))
    folder_paths.folder_names_and_paths.pop("insightface", None)
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    register_folders()
    folder = tmp_path / "insightface" / "models" / "antelopev2"
    save_face_pack(folder, [(4.0, 12.0, 28.0, 36.0), (36.0, 12.0, 60.0, 36.0)])
    return folder


def sides(left, right):
    """A video of two colours side by side, in which the detector sees a face on either side."""
    frames = torch.empty(5, 64, 64, 3)
    frames[:, :, :32] = torch.tensor(left) / 255
    frames[:, :, 32:] = torch.tensor(right) / 255
    return frames


@pytest.mark.parametrize("method", ["faces", "auto"])
def test_people_are_told_by_faces_where_insightface_is_there(face_pack, method):
    people = canvas(*(plain(name, colour) for name, colour in (("red", RED), ("blue", BLUE))))
    told = report(sides(RED, BLUE), people, method=method)
    assert told["method"] == "faces" and verdicts(told) == {"red": "correct", "blue": "correct"}
    assert verdicts(report(sides(BLUE, RED), people, method=method)) == {"red": "swapped", "blue": "swapped"}
    assert verdicts(report(sides(RED, RED), people, method=method)) == {"red": "correct", "blue": "missing"}


def plain(name, colour):
    return Reference(
        name=name, kind="person", image=torch.tensor(colour, dtype=torch.uint8).repeat(64, 64, 1)
    )


def test_without_a_face_in_the_video_everybody_is_missing_and_in_a_reference_it_is_said(
    face_pack, monkeypatch
):
    seen = looking.load_face_reader(face_pack)
    of_references = iter([seen, seen])
    monkeypatch.setattr(looking, "load_face_reader", lambda folder: lambda p: next(of_references, nobody)(p))

    def nobody(pixels):
        return ()

    told = report(sides(RED, BLUE), method="faces")
    assert verdicts(told) == {"red": "missing", "blue": "missing"} and told["score"] == 0
    with pytest.raises(MagrefError, match=r"no face is found in the picture of 'red', .*: choose the method"):
        report(sides(RED, BLUE), method="faces")


def test_without_insightface_faces_are_refused_in_a_sentence_and_auto_does_without(face_pack, monkeypatch):
    monkeypatch.setitem(sys.modules, "insightface", None)
    with pytest.raises(
        MagrefError, match=r"install insightface .*\(or choose the method colours or encoder\)"
    ):
        report(video(*BOTH), method="faces")
    assert report(video(*BOTH), method="auto")["method"] == "colours"


def test_the_only_subject_is_there_or_missing():
    alone = canvas(reference("red", RED))
    assert verdicts(report(video((30, RED)), alone, order="")) == {"red": "correct"}
    assert verdicts(report(video(), alone, order="")) == {"red": "missing"}


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"images": torch.zeros(0, 64, 96, 3)}, ShapeError, "at least one picture is needed: connect images"),
        ({"method": "faces"}, MagrefError, "there is no insightface model: .* choose the method colours"),
        ({"method": "encoder"}, MagrefError, "no image encoder is connected"),
        ({"method": "x"}, MagrefError, "the method is 'x', which is unknown"),
        ({"order": "green"}, MagrefError, "the order names 'green', but the subjects are red, blue"),
        ({"num_frames": 0}, MagrefError, "0 frames are to be looked at: use 1 to 1000"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(changes, error, sentence):
    images = changes.pop("images", video(*BOTH))
    with pytest.raises(error, match=sentence):
        report(images, **changes)


def test_a_canvas_of_backgrounds_alone_is_refused():
    hill = Reference(name="hill", kind="background", image=torch.zeros(40, 20, 3, dtype=torch.uint8))
    with pytest.raises(MagrefError, match=r"no subject to look for, only backgrounds: give at least one"):
        report(video(), canvas(hill), order="")


def test_an_interrupt_ends_the_look_at_once(monkeypatch):
    def stop(*_):
        comfy.model_management.interrupt_current_processing()
        comfy.model_management.throw_exception_if_processing_interrupted()

    monkeypatch.setattr(looking, "paste_scores", stop)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        report(video(*BOTH))
