from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from magref_core.bundle import HASHES, SIZES, hashes_of, kind_of, part_metadata, read_config, verify
from magref_core.errors import CheckpointError

TEXT_SIZES = dict.fromkeys(SIZES["text_encoder"], 4)


def write(file, metadata):
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({"shared.weight": torch.ones(2, 3)}, file, metadata=metadata)
    return file


@pytest.fixture
def bundle(tmp_path):
    write(tmp_path / "text_encoders" / "magref_demo_a.safetensors", part_metadata("text_encoder", TEXT_SIZES))
    write(tmp_path / "vae" / "magref_demo_b.safetensors", part_metadata("vae", {}))
    (tmp_path / HASHES).write_text(json.dumps(hashes_of(tmp_path)))
    return tmp_path


@pytest.fixture
def encoder(bundle):
    return bundle / "text_encoders" / "magref_demo_a.safetensors"


def test_kind_and_sizes_come_back_from_the_file(bundle, encoder):
    assert kind_of(encoder) == "text_encoder" and read_config(encoder, "text_encoder") == TEXT_SIZES
    assert kind_of(bundle / "vae" / "magref_demo_b.safetensors") == "vae"


def test_other_files_have_no_kind(tmp_path):
    assert kind_of(write(tmp_path / "umt5.safetensors", {"format": "pt"})) is None
    assert kind_of(write(tmp_path / "odd.safetensors", {"magref_demo": "lamp"})) is None
    (tmp_path / "broken.safetensors").write_bytes(b"\x05\0\0\0\0\0\0\0{")
    assert kind_of(tmp_path / "broken.safetensors") is None
    assert kind_of(tmp_path / "absent.safetensors") is None


def test_hashes_are_those_of_the_content(bundle, encoder):
    assert list(hashes_of(bundle)) == [
        "text_encoders/magref_demo_a.safetensors",
        "vae/magref_demo_b.safetensors",
    ]
    verify(encoder)


def test_a_changed_file_is_refused(encoder):
    content = bytearray(encoder.read_bytes())
    content[-1] ^= 1
    encoder.write_bytes(content)
    with pytest.raises(
        CheckpointError, match=r"magref_demo_a.safetensors is not the one .* restore the folder"
    ):
        verify(encoder)


def test_a_missing_file_is_refused(encoder):
    encoder.unlink()
    with pytest.raises(CheckpointError, match=r"text_encoders/magref_demo_a.safetensors is missing: restore"):
        verify(encoder)


def test_a_file_that_was_not_shipped_is_refused(encoder):
    other = encoder.rename(encoder.with_name("other.safetensors"))
    with pytest.raises(CheckpointError, match=r"other.safetensors is not listed in hashes.json: restore"):
        verify(other)


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xfe"])
def test_a_damaged_list_of_hashes_is_refused(bundle, encoder, content):
    (bundle / HASHES).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"hashes.json, cannot be read: restore"):
        verify(encoder)


def test_a_missing_list_of_hashes_is_refused(bundle, encoder):
    (bundle / HASHES).unlink()
    with pytest.raises(CheckpointError, match=r"hashes.json, is missing: restore"):
        verify(encoder)


def test_an_ordinary_model_is_refused(tmp_path):
    file = write(tmp_path / "umt5_xxl.safetensors", {"format": "pt"})
    with pytest.raises(
        CheckpointError, match=r"umt5_xxl.safetensors is an ordinary model, but the text encoder"
    ):
        read_config(file, "text_encoder")


def test_another_part_of_the_demo_is_refused(encoder):
    with pytest.raises(CheckpointError, match=r"is the text encoder of the MAGREF demo, but the CLIP vision"):
        read_config(encoder, "clip_vision")


@pytest.mark.parametrize(
    "config",
    [None, "{", "[]", "{}", json.dumps(TEXT_SIZES | {"d_ff": "4"}), json.dumps(TEXT_SIZES | {"d_kv": 0})],
)
def test_metadata_without_sizes_is_refused(tmp_path, config):
    metadata = {"magref_demo": "text_encoder"} | ({} if config is None else {"config": config})
    file = write(tmp_path / "magref_demo.safetensors", metadata)
    with pytest.raises(
        CheckpointError, match=r"metadata of magref_demo.safetensors lacks the sizes .* restore"
    ):
        read_config(file, "text_encoder")


def test_a_broken_file_is_refused_with_what_is_wrong(encoder):
    encoder.write_bytes(encoder.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match=r"is cut off"):
        read_config(encoder, "text_encoder")
