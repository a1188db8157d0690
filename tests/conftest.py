"""The server of the tiers `server` and `browser`: one for the whole run, with tiny random models."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from scripts import ROOT, demo, host
from scripts.comfy_client import ComfyClient
from scripts.host_server import PACK_NAME, Server
from scripts.tiny_models import write_tiny_models


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A running ComfyUI with this pack, the tiny models and the example pictures."""
    found = host.find()
    if found is None:
        pytest.fail("there is no host yet: run `python scripts/host.py`", pytrace=False)
    packs = {PACK_NAME: ROOT, "tiny_loaders": ROOT / "scripts" / "tiny_loaders"}
    running = Server(found, packs=packs)
    write_tiny_models(running.base / "models")
    # In a process of its own: it imports ComfyUI.
    maker = [found.python, ROOT / "scripts" / "tiny_segmenters.py", running.base / "models"]
    subprocess.run(maker, check=True, stdout=subprocess.DEVNULL)
    shutil.copytree(demo.PICTURES, running.base / "input")
    with running:
        yield running


@pytest.fixture
def client(server: Server) -> ComfyClient:
    """A client of that server."""
    return server.client()
