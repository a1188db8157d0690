from __future__ import annotations

import asyncio
from types import SimpleNamespace

import magref_pack
import pytest
from magref_pack import check_host_version
from magref_pack.nodes import NODES, MagrefExtension
from magref_pack.nodes.installation import is_loaded_already

import nodes as host_nodes


def test_the_entrypoint_gives_every_node_under_its_id():
    extension = asyncio.run(magref_pack.comfy_entrypoint())
    given = asyncio.run(extension.get_node_list())
    assert [node.GET_SCHEMA().node_id for node in given] == [
        "MagrefDiTLoader",
        "MagrefDemoEncoders",
        "MagrefLoadReferences",
        "MagrefAutoMaskSubject",
        "MagrefBuildMaskedCanvas",
        "MagrefApplyMaskedGuidance",
        "MagrefSampler",
        "MagrefSolver",
        "MagrefSchedule",
        "MagrefDecodeVideo",
    ]


@pytest.mark.parametrize("version", ["0.29.9", "0.3.76", "0.29", "0"])
def test_an_older_host_is_refused_with_what_to_do(version):
    with pytest.raises(
        ImportError, match=rf"needs ComfyUI 0.30.0 or newer, but this is {version}: update ComfyUI"
    ):
        check_host_version(version)


@pytest.mark.parametrize(
    "version", ["0.30.0", "0.30", "0.30.0rc1", "0.30.0+local", "0.31.0-rc1", "1", "unknown"]
)
def test_this_host_and_newer_ones_pass(version):
    check_host_version(version)


def test_a_second_copy_of_the_pack_gives_no_nodes(monkeypatch, caplog):
    other = type("MagrefDiTLoader", (), {"__module__": SimpleNamespace.__module__})
    monkeypatch.setitem(host_nodes.NODE_CLASS_MAPPINGS, "MagrefDiTLoader", other)
    assert is_loaded_already(NODES[0])
    assert "installed twice" in caplog.text
    assert asyncio.run(MagrefExtension().get_node_list()) == []
