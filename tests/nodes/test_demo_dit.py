"""The demo's DiT through our loader: its rows of text, its hash, and the encoders it asks for."""

from __future__ import annotations

import json

import folder_paths
import pytest
import torch
from magref_pack.magref_core.bundle import HASHES, hashes_of, part_metadata
from magref_pack.magref_core.dit.config import DiTConfig
from magref_pack.magref_core.dit.model import MagrefDiT
from magref_pack.magref_core.errors import MagrefError
from magref_pack.magref_core.training.initial import initialise
from magref_pack.nodes import demo
from magref_pack.nodes.checks import check_text_width
from magref_pack.nodes.loaders import MagrefDiTLoader
from safetensors.torch import save_file

NAME = "magref_demo_dit.safetensors"
CONFIG = DiTConfig(dim=128, num_heads=1, num_layers=1, ffn_dim=64, text_dim=16, text_len=32, clip_dim=16)


@pytest.fixture
def file(tmp_path, monkeypatch):
    dit = MagrefDiT(CONFIG)
    initialise(dit, torch.Generator().manual_seed(0))
    bundle = tmp_path / "demo"
    (bundle / "diffusion_models").mkdir(parents=True)
    file = bundle / "diffusion_models" / NAME
    metadata = part_metadata("dit", {"text_len": CONFIG.text_len}) | {"text_len": str(CONFIG.text_len)}
    save_file(dit.state_dict(), file, metadata=metadata)
    (bundle / HASHES).write_text(json.dumps(hashes_of(bundle)))
    monkeypatch.setattr(demo, "BUNDLE", bundle)
    monkeypatch.setattr(folder_paths, "get_full_path_or_raise", lambda folder, name: str(file))
    return file


def test_its_rows_of_text_are_those_of_its_metadata(file):
    (patcher,) = MagrefDiTLoader.execute(NAME, "default").args
    assert patcher.model.diffusion_model.config == CONFIG


def test_a_changed_file_is_refused(file):
    with file.open("ab") as stream:
        stream.write(b"0")
    with pytest.raises(MagrefError, match=r"magref_demo_dit\.safetensors is not the one that was shipped"):
        MagrefDiTLoader.execute(NAME, "default")


def test_a_prompt_of_another_encoder_is_refused_with_the_name_of_the_right_one(file):
    (patcher,) = MagrefDiTLoader.execute(NAME, "default").args
    with pytest.raises(MagrefError, match=r"width 4096, but the model needs 16: use .* MAGREF Demo Encoders"):
        check_text_width(torch.zeros(1, 5, 4096), patcher.model.diffusion_model)
