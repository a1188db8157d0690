"""What users get wrong is answered in one sentence, by the queue or by the run, and the server lives on."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from scripts import demo, workflow_edit
from scripts.comfy_client import PromptFailedError, PromptRejectedError, output_files


@pytest.fixture
def workflow(client):
    found = workflow_edit.load_workflow(demo.WORKFLOW)
    workflow_edit.set_where_present(found, demo.TINY_SIZES)
    workflow_edit.fit_models(found, client.object_info())
    return found


def inputs(workflow, class_type):
    return next(node["inputs"] for node in workflow.values() if node["class_type"] == class_type)


def set_references(workflow, *entries):
    inputs(workflow, "MagrefLoadReferences")["references"] = json.dumps(list(entries))


def answer(client, workflow):
    """The sentence that the user is shown."""
    with pytest.raises((PromptRejectedError, PromptFailedError)) as caught:
        client.run(workflow, timeout=120)
    return str(caught.value)


@pytest.fixture
def pictures(server):
    """A folder of broken and odd pictures below the server's input."""
    folder = server.base / "input" / "odd"
    folder.mkdir(exist_ok=True)
    whole = (server.base / "input" / "coffee.png").read_bytes()
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_bytes(b"this is no picture")
    (folder / "truncated.png").write_bytes(whole[: len(whole) // 2])
    Image.new("L", (30000, 2)).save(folder / "huge.png")
    Image.new("RGB", (1, 1000), "red").save(folder / "thin.png")
    frames = [Image.new("P", (40, 30), colour) for colour in (1, 2, 3)]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:])
    Image.new("CMYK", (40, 30), (0, 200, 200, 0)).save(folder / "cmyk.jpg")
    Image.fromarray(np.full((30, 40), 40000, dtype=np.uint16)).save(folder / "deep.png")
    palette = Image.new("P", (40, 30), 1)
    palette.putpixel((0, 0), 0)
    palette.save(folder / "palette.png", transparency=0)
    return folder


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("odd/empty.png", "odd/empty.png"),
        ("odd/text.png", "odd/text.png"),
        ("odd/truncated.png", "odd/truncated.png"),
        ("odd/huge.png", "30000"),
        ("odd/thin.png", "1 x 1000"),
        ("odd/missing.png", "is not in ComfyUI's input folder"),
        ("../secret.png", "outside ComfyUI's input folder"),
        ("/etc/passwd", "outside ComfyUI's input folder"),
    ],
)
def test_a_picture_that_cannot_serve_is_named(client, workflow, pictures, file, sentence):
    set_references(workflow, {"file": file, "name": "odd", "kind": "object"})
    assert sentence in answer(client, workflow)


def test_unusual_kinds_of_picture_run(client, workflow, pictures):
    names = ("animated.gif", "cmyk.jpg", "deep.png", "palette.png")
    set_references(workflow, *({"file": f"odd/{name}", "name": name} for name in names))
    assert len(output_files(client.run(workflow, timeout=300))) >= 2


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ([], "no reference is given"),
        ([{"file": "coffee.png", "name": ""}], "name"),
        ([{"file": "coffee.png", "name": "a/b"}], "slash"),
        ([{"file": "coffee.png", "name": "a"}, {"file": "cat.png", "name": "A"}], "names must differ"),
    ],
)
def test_references_that_cannot_be_told_apart_are_refused(client, workflow, entries, sentence):
    set_references(workflow, *entries)
    assert sentence in answer(client, workflow)


@pytest.mark.parametrize(
    ("class_type", "name", "value", "sentence"),
    [
        ("MagrefBuildMaskedCanvas", "width", 250, "use 256 x 144"),
        ("MagrefBuildMaskedCanvas", "height", 150, "use 240 x 144"),
        ("MagrefApplyMaskedGuidance", "length", 16, "use 17"),
        ("MagrefSampler", "steps", 0, "smaller than min"),
        ("MagrefSampler", "shift", 0.0, "smaller than min"),
        ("MagrefSampler", "start_at_step", 4, "nothing is left to do"),
        ("MagrefBuildMaskedCanvas", "background", "white", "use #ffffff"),
        ("MagrefBuildMaskedCanvas", "placements", "{", "JSON"),
        ("MagrefDecodeVideo", "drop_frames", 400, "holds 17 frames"),
        ("MagrefDecodeVideo", "tile_size", 32, "at least 64"),
    ],
)
def test_a_value_that_cannot_be_is_answered_with_one_that_can(
    client, workflow, class_type, name, value, sentence
):
    inputs(workflow, class_type)[name] = value
    assert sentence in answer(client, workflow)


def test_a_latent_of_another_size_than_the_canvas_is_refused(client, workflow):
    workflow["90"] = {
        "class_type": "EmptyHunyuanLatentVideo",
        "inputs": {"width": 320, "height": 144, "length": 17, "batch_size": 1},
        "_meta": {"title": "another latent"},
    }
    inputs(workflow, "MagrefSampler")["latent"] = ["90", 0]
    assert "the canvas is 240 x 144 pixels with 17 frames, but the latent is 320 x 144" in answer(
        client, workflow
    )


def test_a_mask_of_another_size_and_an_empty_one_are_refused(client, workflow):
    workflow["90"] = {
        "class_type": "LoadImage",
        "inputs": {"image": "coffee.png"},
        "_meta": {"title": "picture"},
    }
    given = inputs(workflow, "MagrefLoadReferences")
    given.update({"references": "[]", "images.image_1": ["90", 0], "masks.mask_1": ["90", 1]})
    assert "is 64 x 64, but its picture is" in answer(client, workflow)
    with Image.open(demo.PICTURES / "coffee.png") as picture:
        width, height = picture.size
    solid = {"value": 0.0, "width": width, "height": height}
    workflow["91"] = {"class_type": "SolidMask", "inputs": solid, "_meta": {"title": "empty mask"}}
    given["masks.mask_1"] = ["91", 0]
    assert "is empty, but it must be 1 on the subject" in answer(client, workflow)


@pytest.fixture
def checkpoints(server):
    """Weight files that are not a whole MAGREF DiT, beside the good one."""
    folder = server.base / "models" / "diffusion_models"
    good = next(folder.glob("*.safetensors"))
    weights = load_file(good)
    made = {name: folder / f"{name}.safetensors" for name in ("truncated", "t2v", "nan", "vae")}
    made["truncated"].write_bytes(good.read_bytes()[:100000])
    text_only = {name: weight for name, weight in weights.items() if "img" not in name}
    text_only["patch_embedding.weight"] = weights["patch_embedding.weight"][:, :16].contiguous()
    save_file(text_only, made["t2v"])
    save_file(
        {**weights, "head.modulation": torch.full_like(weights["head.modulation"], torch.nan)}, made["nan"]
    )
    shutil.copy(next((server.base / "models" / "vae").glob("*.safetensors")), made["vae"])
    yield made
    for file in made.values():
        file.unlink()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("truncated", "truncated"), ("t2v", "16"), ("nan", "not finite numbers"), ("vae", "VAE")],
)
def test_a_wrong_checkpoint_is_named_for_what_it_is(client, workflow, checkpoints, name, sentence):
    inputs(workflow, "MagrefDiTLoader")["model"] = checkpoints[name].name
    said = answer(client, workflow)
    assert sentence in said and "Traceback" not in said


def test_errors_are_titled_by_what_they_are_and_not_by_a_path(client, workflow):
    set_references(workflow)
    with pytest.raises(PromptFailedError) as caught:
        client.run(workflow, timeout=120)
    assert caught.value.details["exception_type"] == "magref.MagrefError"


def test_the_server_still_makes_a_video_after_all_this(client, workflow):
    workflow_edit.set_input(workflow, "MAGREF Sampler.seed=99")
    assert len(output_files(client.run(workflow, timeout=300))) >= 2
