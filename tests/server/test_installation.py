"""How the pack behaves in installations that are not as they should be."""

import pytest

from scripts import ROOT, host
from scripts.host_server import Server


@pytest.fixture(scope="module")
def host_at_hand():
    found = host.find()
    if found is None:
        pytest.fail("there is no host yet: run `python scripts/host.py`", pytrace=False)
    return found


def test_the_pack_under_two_folder_names_is_used_once_and_says_so(host_at_hand):
    with Server(host_at_hand, packs={"ComfyUI-MAGREF": ROOT, "ComfyUI-MAGREF-copy": ROOT}) as server:
        server.require_nodes(["MagrefSampler"])
        assert "is installed twice" in server.log() and "remove one of the two folders" in server.log()
        assert server.import_failures() == []
