"""The host in this process: tests import the pack as `magref_pack`, and nothing of it under another name."""

from __future__ import annotations

import pytest
import torch

from tests import pack

if not pack.is_host_at_hand():
    pytest.skip("COMFYUI_PATH names no ComfyUI: run `python scripts/test.py`", allow_module_level=True)

pack.load_pack()

import comfy.ldm.wan.model  # noqa: E402, of the host, importable from here on
import folder_paths  # noqa: E402
from comfy.ldm.modules.attention import attention_pytorch  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def folders(tmp_path_factory):
    """Whatever a node writes or reads lies in folders of the session's own."""
    base = tmp_path_factory.mktemp("base")
    for kind in ("input", "output", "temp", "user"):
        (base / kind).mkdir()
        getattr(folder_paths, f"set_{kind}_directory")(str(base / kind))
    return base


@pytest.fixture
def one_attention(monkeypatch):
    """For comparisons with native Wan, which gets the attention that our DiT has on a CPU.

    Another differs by rounding, which random weights amplify; test_run_memory compares both as they are.
    """
    monkeypatch.setattr(comfy.ldm.wan.model, "optimized_attention", attention_pytorch)


@pytest.fixture(autouse=True)
def inference_mode():
    """As the host runs every prompt."""
    with torch.inference_mode():
        yield
