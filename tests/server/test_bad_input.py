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
from scripts.tiny_models import tiny_clip_vision, tiny_text_encoder

SAVE_AGAIN = "open it in an image viewer and save it again as PNG or JPEG"
COPY_THERE = "lies outside ComfyUI's input folder: copy it there and give its name in the folder"


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
        ("odd/empty.png", "the picture 'odd/empty.png' is empty (0 bytes): choose or export it again"),
        ("odd/text.png", f"the picture 'odd/text.png' cannot be read (its format is unknown): {SAVE_AGAIN}"),
        (
            "odd/truncated.png",
            "the picture 'odd/truncated.png' cannot be read (damaged: image file is truncated): "
            + SAVE_AGAIN,
        ),
        ("odd/huge.png", "is 30000 x 2 pixels, but no side may be longer than 16384: scale it down"),
        (
            "odd/thin.png",
            "1 x 1000 pixels is too thin for a cell of 240 x 144, it would be scaled to 0 x "
            "144: crop it, or use a larger canvas or fewer references",
        ),
        (
            "odd/missing.png",
            "'odd/missing.png' is not in ComfyUI's input folder: add it to MAGREF Load References, or",
        ),
        ("../secret.png", f"the picture '../secret.png' {COPY_THERE}"),
        ("/etc/passwd", f"the picture '/etc/passwd' {COPY_THERE}"),
    ],
)
def test_a_picture_that_cannot_serve_is_named(client, workflow, pictures, file, sentence):
    set_references(workflow, {"file": file, "name": "odd", "kind": "object"})
    assert sentence in answer(client, workflow)


@pytest.fixture
def leading_outside(server, tmp_path):
    """A link in the input folder to a good picture elsewhere."""
    shutil.copy(demo.PICTURES / "coffee.png", tmp_path / "private.png")
    link = server.base / "input" / "link.png"
    try:
        link.symlink_to(tmp_path / "private.png")
    except OSError:
        pytest.skip("this system lets us make no symbolic links")
    yield link
    link.unlink()


def test_a_link_that_leads_out_of_the_input_folder_is_not_followed(client, workflow, leading_outside):
    set_references(workflow, {"file": leading_outside.name, "name": "odd", "kind": "object"})
    assert f"the picture 'link.png' {COPY_THERE}" in answer(client, workflow)


def test_unusual_kinds_of_picture_run(client, workflow, pictures):
    names = ("animated.gif", "cmyk.jpg", "deep.png", "palette.png")
    set_references(workflow, *({"file": f"odd/{name}", "name": name} for name in names))
    assert len(output_files(client.run(workflow, timeout=300))) >= 2


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        (
            [],
            "no reference is given, but at least one picture is needed: connect a picture to image_1, or",
        ),
        ([{"file": "coffee.png", "name": ""}], "a reference has an empty name: give every picture a name"),
        (
            [{"file": "coffee.png", "name": "a/b"}],
            "the name 'a/b' holds a slash, a backslash or a control character: use letters, digits, spaces",
        ),
        (
            [{"file": "coffee.png", "name": "a"}, {"file": "cat.png", "name": "A"}],
            "two references are named 'a' and 'A', but names must differ by more than upper and lower case: "
            "rename one of them",
        ),
    ],
)
def test_references_that_cannot_be_told_apart_are_refused(client, workflow, entries, sentence):
    set_references(workflow, *entries)
    assert sentence in answer(client, workflow)


@pytest.mark.parametrize(
    ("class_type", "name", "value", "sentence"),
    [
        (
            "MagrefBuildMaskedCanvas",
            "width",
            250,
            "250 x 144 pixels, but both sides must be multiples of 16: use 256 x 144",
        ),
        (
            "MagrefBuildMaskedCanvas",
            "height",
            150,
            "240 x 150 pixels, but both sides must be multiples of 16: use 240 x 144",
        ),
        (
            "MagrefApplyMaskedGuidance",
            "length",
            16,
            "16 frames, but the count must be a multiple of 4 plus 1: use 17",
        ),
        ("MagrefSampler", "steps", 0, "Value 0 smaller than min of 1 - steps"),
        ("MagrefSampler", "shift", 0.0, "Value 0.0 smaller than min of 0.01 - shift"),
        ("MagrefSampler", "start_at_step", 4, "so nothing is left to do: choose start_at_step below 4"),
        (
            "MagrefBuildMaskedCanvas",
            "background",
            "white",
            "the background is 'white', but a colour as #rrggbb is needed: use #ffffff for white",
        ),
        (
            "MagrefBuildMaskedCanvas",
            "placements",
            "{",
            'column 2 (char 1)): write them like {"version": 1, "placements": [{"reference": "alice", "x":',
        ),
        (
            "MagrefDecodeVideo",
            "drop_frames",
            400,
            "the latent holds 17 frames and drop_frames is 400, so nothing would be left: generate at least "
            "401 frames or drop fewer",
        ),
        (
            "MagrefDecodeVideo",
            "tile_size",
            32,
            "tile_size is 32 pixels, but a tile needs at least 64: use 64 or more, or 0 for no tiles",
        ),
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
    [
        ("truncated", "truncated.safetensors is cut off (100,000 of "),
        ("truncated", " bytes): download it again"),
        (
            "t2v",
            "t2v.safetensors is a Wan text-to-video model (16 input channels), but MAGREF needs 36 and an "
            "image branch: choose a MAGREF checkpoint such as Wan2_1-Wan-I2V-MAGREF",
        ),
        (
            "nan",
            "nan.safetensors has weights that are not finite numbers, 1 at least (head.modulation): download "
            "it again or choose another file",
        ),
        (
            "vae",
            "vae.safetensors is the Wan 2.1 VAE, but this node loads the MAGREF DiT: load it with Load VAE "
            "and choose a MAGREF checkpoint such as Wan2_1-Wan-I2V-MAGREF",
        ),
    ],
)
def test_a_wrong_checkpoint_is_named_for_what_it_is(client, workflow, checkpoints, name, sentence):
    inputs(workflow, "MagrefDiTLoader")["model"] = checkpoints[name].name
    said = answer(client, workflow)
    assert sentence in said and "Traceback" not in said


@pytest.fixture
def put_model(server):
    """Adds a model file for the length of a test; the server offers it at once."""
    put = []

    def put_file(folder, weights):
        put.append(server.base / "models" / folder / "other.safetensors")
        save_file(weights, put[-1], metadata={"format": "pt"})
        return put[-1].name

    yield put_file
    for file in put:
        file.unlink()


def test_a_vae_of_another_family_is_named(client, workflow, put_model):
    # ComfyUI takes a file with this key for the small autoencoder of Stable Diffusion.
    weights = {"taesd_decoder.1.weight": torch.zeros(64, 4, 3, 3)}
    inputs(workflow, "VAELoader")["vae_name"] = put_model("vae", weights)
    said = answer(client, workflow)
    assert "the VAE given is TAESD with 4 latent channels, but MAGREF needs the Wan 2.1 VAE with 16: " in said
    assert said.endswith("choose wan_2.1_vae.safetensors in Load VAE")


def test_comfyuis_own_stand_in_for_a_vae_is_named(client, workflow):
    inputs(workflow, "VAELoader")["vae_name"] = "pixel_space"
    assert "with 3 latent channels, but MAGREF needs the Wan 2.1 VAE with 16: choose wan_2.1_vae" in answer(
        client, workflow
    )


def test_a_text_encoder_of_another_width_is_named(client, workflow, put_model):
    name = put_model("text_encoders", tiny_text_encoder(width=64))
    inputs(workflow, "CLIPLoader")["clip_name"] = name
    said = answer(client, workflow)
    assert "the prompt comes from a text encoder of width 64, but the model needs 4096: choose umt5" in said


def test_a_clip_vision_model_of_another_width_is_named(client, workflow, put_model):
    name = put_model("clip_vision", tiny_clip_vision(width=64))
    inputs(workflow, "CLIPVisionLoader")["clip_name"] = name
    said = answer(client, workflow)
    assert "with 64 channels, but MAGREF needs ViT-H with 1280: choose clip_vision_h.safetensors" in said


def test_a_socket_left_open_is_named_by_the_queue(client, workflow):
    del inputs(workflow, "MagrefApplyMaskedGuidance")["clip_vision"]
    said = answer(client, workflow)
    assert "(MagrefApplyMaskedGuidance): Required input is missing - clip_vision" in said


def test_errors_are_titled_by_what_they_are_and_not_by_a_path(client, workflow):
    set_references(workflow)
    with pytest.raises(PromptFailedError) as caught:
        client.run(workflow, timeout=120)
    assert caught.value.details["exception_type"] == "magref.MagrefError"


def test_the_server_still_makes_a_video_after_all_this(client, workflow):
    workflow_edit.set_input(workflow, "MAGREF Sampler.seed=99")
    assert len(output_files(client.run(workflow, timeout=300))) >= 2
