"""The demo's encoders as host objects, beside the core's own on the same weights."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict

import comfy.clip_vision
import comfy.sd
import folder_paths
import pytest
import torch
from magref_pack.magref_core.bundle import HASHES, hashes_of, part_metadata
from magref_pack.magref_core.canvas.clip_view import clip_pixels
from magref_pack.magref_core.canvas.compose import Canvas
from magref_pack.magref_core.errors import MagrefError
from magref_pack.magref_core.training.clip_vision import ClipVision
from magref_pack.magref_core.training.text_encoder import TextEncoder, TextEncoderConfig, position_buckets
from magref_pack.magref_core.training.tokenizer import Tokenizer, train_tokenizer
from magref_pack.nodes import MagrefExtension, demo, host
from magref_pack.nodes.demo import SHIPPED, DemoEncoders
from safetensors.torch import load_file, save_file

CAPTIONS = ("a fox walks to the left in the hills", "a girl jumps and a teapot spins on the beach")
PROMPTS = (
    "a fox walks to the left",
    "",
    "A Girl jumps, and a fox (very quickly) spins!",
    "a fox\nwalks   on the beach",
    "Zwölf 狐",
)
TEXT, VISION = SHIPPED["text_encoder"], SHIPPED["clip_vision"]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(train_tokenizer(CAPTIONS))


@pytest.fixture(scope="module")
def encoder(tokenizer):
    config = TextEncoderConfig(vocab_size=tokenizer.num_pieces)
    return TextEncoder(config, torch.Generator().manual_seed(0)).requires_grad_(False)


@pytest.fixture(scope="module")
def tower():
    tower = ClipVision(None, torch.Generator().manual_seed(1)).requires_grad_(False)
    return tower.half().float()  # the demo's files are float16


@pytest.fixture
def bundle(tmp_path, monkeypatch, tokenizer, encoder, tower):
    """The pack's own folder of demo files, put in place of the real one."""
    bundle = tmp_path / "demo"
    for folder in ("text_encoders", "clip_vision"):
        (bundle / folder).mkdir(parents=True)
    spelled = torch.frombuffer(bytearray(tokenizer.model), dtype=torch.uint8)
    weights = encoder.state_dict() | {"spiece_model": spelled}
    save_file(
        weights,
        bundle / "text_encoders" / TEXT,
        metadata=part_metadata("text_encoder", asdict(encoder.config)),
    )
    save_file(
        tower.state_dict(),
        bundle / "clip_vision" / VISION,
        metadata=part_metadata("clip_vision", asdict(tower.config)),
    )
    record(bundle)
    monkeypatch.setattr(demo, "BUNDLE", bundle)
    for name in demo.FOLDERS:
        paths, suffixes = folder_paths.folder_names_and_paths[name]
        others = [path for path in paths if "demo" not in path]
        monkeypatch.setitem(folder_paths.folder_names_and_paths, name, (others, suffixes))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    demo.register_bundle()
    return bundle


def record(bundle):
    (bundle / HASHES).write_text(json.dumps(hashes_of(bundle)))


def rewrite(file, change=None, metadata=None):
    """Save changed weights or metadata, and record the new hash."""
    weights = load_file(file)
    kind = "text_encoder" if file.name == TEXT else "clip_vision"
    metadata = part_metadata(kind, demo.read_config(file, kind)) if metadata is None else metadata
    save_file({**weights, **(change or {})}, file, metadata=metadata)
    record(file.parents[1])


def refuse(pattern, text=TEXT, vision=VISION):
    """The same sentence before and during the run."""
    with pytest.raises(MagrefError, match=pattern) as caught:
        DemoEncoders.execute(text, vision)
    assert DemoEncoders.validate_inputs(text_encoder=text, clip_vision=vision) == str(caught.value)


def test_the_outputs_are_the_hosts_own_types(bundle):
    clip, vision = DemoEncoders.execute(TEXT, VISION).args
    assert type(clip) is comfy.sd.CLIP and type(vision) is comfy.clip_vision.ClipVisionModel
    assert DemoEncoders.validate_inputs(text_encoder=TEXT, clip_vision=VISION) is True
    assert DemoEncoders.validate_inputs(text_encoder=None, clip_vision=None) is True


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_host_tokenises_as_the_training_does(bundle, tokenizer, prompt):
    clip = demo.load_text_encoder(str(bundle / "text_encoders" / TEXT))
    (pairs,) = clip.tokenize(prompt.replace("(", r"\(").replace(")", r"\)"))["umt5xxl"]
    assert [pair[0] for pair in pairs] == tokenizer.encode(prompt)
    assert {pair[1] for pair in pairs} == {1.0}


@pytest.mark.parametrize("prompt", [*PROMPTS, "fox " * 60])
def test_the_host_encodes_as_the_training_does(bundle, tokenizer, encoder, prompt):
    clip = demo.load_text_encoder(str(bundle / "text_encoders" / TEXT))
    prompt = prompt.replace("(", "").replace(")", "")
    ((text, _),) = clip.encode_from_tokens_scheduled(clip.tokenize(prompt))
    expected = encoder(torch.tensor([tokenizer.encode(prompt)]))
    assert text.shape == expected.shape == (1, max(32, len(tokenizer.encode(prompt))), 128)
    torch.testing.assert_close(text, expected, rtol=0, atol=1e-5)


def test_distances_fall_into_the_hosts_classes():
    from comfy.text_encoders.t5 import T5Attention

    offsets = torch.arange(300)[None] - torch.arange(300)[:, None]
    assert torch.equal(position_buckets(300), T5Attention._relative_position_bucket(offsets))


def test_the_host_sees_as_the_training_does(bundle, tower):
    vision = demo.load_clip_vision(str(bundle / "clip_vision" / VISION))
    canvas = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(2)) * 2 - 1
    pixels = clip_pixels(canvas, size=vision.image_size)
    tokens, summary = tower(pixels)
    seen = vision.model(pixel_values=pixels, intermediate_output=-2)
    torch.testing.assert_close(seen[1], tokens, rtol=0, atol=1e-5)
    torch.testing.assert_close(seen[2], summary, rtol=0, atol=1e-5)
    assert tokens.shape == (2, 50, 128)


def test_masked_guidance_accepts_the_image_encoder(bundle, tower):
    vision = demo.load_clip_vision(str(bundle / "clip_vision" / VISION))
    picture = torch.randint(
        0, 256, (64, 96, 3), generator=torch.Generator().manual_seed(3), dtype=torch.uint8
    )
    canvas = Canvas(image=picture, mask=torch.ones(64, 96, dtype=torch.uint8), references=(), placements=())
    seen = host.see_canvas(vision, canvas).penultimate_hidden_states
    torch.testing.assert_close(seen, tower.tokens(clip_pixels(canvas.pixels()[None])), rtol=0, atol=1e-5)


def test_the_hosts_own_encoding_node_works(bundle):
    vision = demo.load_clip_vision(str(bundle / "clip_vision" / VISION))
    seen = vision.encode_image(torch.rand(1, 64, 96, 3), crop=False)
    assert seen.penultimate_hidden_states.shape == (1, 50, 128) and seen.image_embeds.shape == (1, 128)


def test_the_host_can_make_another_copy_of_the_text_encoder(bundle, encoder):
    clip = demo.load_text_encoder(str(bundle / "text_encoders" / TEXT))
    build, arguments = clip.patcher.cached_patcher_init
    copy = build(*arguments, disable_dynamic=True).model.umt5xxl.transformer
    assert copy.shared.weight is not clip.cond_stage_model.umt5xxl.transformer.shared.weight
    torch.testing.assert_close(copy.shared.weight.float(), encoder.shared.weight)


def test_only_marked_files_are_listed_and_the_shipped_ones_first(bundle, tmp_path):
    folder = bundle / "text_encoders"
    (folder / "a_retrained.safetensors").write_bytes((folder / TEXT).read_bytes())
    save_file({"shared.weight": torch.ones(2)}, folder / "umt5_xxl.safetensors")
    (folder / "broken.safetensors").write_bytes(b"x")
    assert demo.demo_names("text_encoder") == [TEXT, "a_retrained.safetensors"]
    assert demo.demo_names("clip_vision") == [VISION]


def test_every_loader_lists_the_packs_files_after_the_users(bundle):
    assert VISION in folder_paths.get_filename_list("clip_vision")
    for name in demo.FOLDERS:
        assert folder_paths.get_folder_paths(name)[-1] == str(bundle / name)
        assert len(folder_paths.get_folder_paths(name)) > 1


def test_the_folders_are_registered_with_the_nodes_and_only_once(monkeypatch):
    known = {
        name: (list(paths), kinds) for name, (paths, kinds) in folder_paths.folder_names_and_paths.items()
    }
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", known)
    for _ in range(2):
        assert DemoEncoders in asyncio.run(MagrefExtension().get_node_list())
    for name in demo.FOLDERS:
        assert folder_paths.get_folder_paths(name).count(str(demo.BUNDLE / name)) == 1


def test_a_missing_file_is_refused_and_still_named_in_the_list(bundle):
    (bundle / "text_encoders" / TEXT).unlink()
    assert demo.demo_names("text_encoder") == [TEXT]
    refuse(r"demo encoder 'magref_demo_umt5.safetensors' is neither in models/text_encoders nor in the pack")


def test_a_missing_image_encoder_is_refused(bundle):
    (bundle / "clip_vision" / VISION).unlink()
    refuse(r"'magref_demo_clip_vision.safetensors' is neither in models/clip_vision .* restore the folder")


def test_a_value_that_is_no_name_is_refused(bundle):
    refuse(r"the demo encoder 5 is neither in models/text_encoders", text=5)


def test_a_changed_file_of_the_pack_is_refused(bundle):
    file = bundle / "clip_vision" / VISION
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    refuse(r"clip_vision/magref_demo_clip_vision.safetensors is not the one that was shipped")


def test_a_file_of_the_user_needs_no_hash(bundle, tmp_path, monkeypatch):
    own = tmp_path / "models" / "text_encoders"
    own.mkdir(parents=True)
    (own / "mine.safetensors").write_bytes((bundle / "text_encoders" / TEXT).read_bytes())
    folder_paths.add_model_folder_path("text_encoders", str(own))
    assert DemoEncoders.validate_inputs(text_encoder="mine.safetensors", clip_vision=VISION) is True


def test_an_ordinary_text_encoder_is_refused(bundle):
    rewrite(bundle / "text_encoders" / TEXT, metadata={"format": "pt"})
    refuse(
        r"is an ordinary model, but the text encoder of the MAGREF demo is needed: choose a file named magref"
    )


def test_the_other_encoder_is_refused(bundle):
    file = bundle / "clip_vision" / VISION
    rewrite(file, metadata=part_metadata("text_encoder", {}))
    refuse(r"is the text encoder of the MAGREF demo, but the CLIP vision model of the MAGREF demo is needed")


def test_a_file_without_sizes_is_refused(bundle):
    rewrite(bundle / "text_encoders" / TEXT, metadata={"magref_demo": "text_encoder"})
    refuse(r"metadata of magref_demo_umt5.safetensors lacks the sizes of the model")


def test_weights_of_other_sizes_are_refused(bundle, tower):
    file = bundle / "clip_vision" / VISION
    rewrite(file, metadata=part_metadata("clip_vision", asdict(tower.config) | {"intermediate_size": 300}))
    with pytest.raises(MagrefError, match=r"magref_demo_clip_vision.safetensors have other shapes than its"):
        DemoEncoders.execute(TEXT, VISION)
    rewrite(file, metadata=part_metadata("clip_vision", asdict(tower.config) | {"num_hidden_layers": 4}))
    with pytest.raises(MagrefError, match=r"lacks 16 weights, such as vision_model.encoder.layers.3"):
        DemoEncoders.execute(TEXT, VISION)


def test_a_text_encoder_without_a_tokenizer_is_refused(bundle):
    file = bundle / "text_encoders" / TEXT
    weights = load_file(file)
    del weights["spiece_model"]
    save_file(weights, file, metadata=part_metadata("text_encoder", demo.read_config(file, "text_encoder")))
    record(bundle)
    with pytest.raises(MagrefError, match=r"holds no tokenizer \(spiece_model\): restore"):
        DemoEncoders.execute(TEXT, VISION)
