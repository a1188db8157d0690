from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import magref_pack
import pytest
import torch
from magref_pack import check_host_version
from magref_pack.nodes import NODES, MagrefExtension
from magref_pack.nodes.installation import is_loaded_already

import nodes as host_nodes


def test_the_entrypoint_gives_every_node_under_its_id():
    extension = asyncio.run(magref_pack.comfy_entrypoint())
    given = asyncio.run(extension.get_node_list())
    assert [node.GET_SCHEMA().node_id for node in given] == [
        "MagrefDiTLoader",
        "MagrefLoraLoader",
        "MagrefConvertModel",
        "MagrefDemoEncoders",
        "MagrefLoadReferences",
        "MagrefAutoMaskSubject",
        "MagrefDecorrelateReferences",
        "MagrefBuildMaskedCanvas",
        "MagrefBindSubjects",
        "MagrefApplyMaskedGuidance",
        "MagrefSubjectDisentangle",
        "MagrefIdentityStrength",
        "MagrefSpeedProfile",
        "MagrefSampler",
        "MagrefSolver",
        "MagrefSchedule",
        "MagrefReferenceGuider",
        "MagrefDecodeVideo",
        "MagrefBestOf",
        "MagrefSubjectReport",
    ]


def test_the_pack_loads_and_its_default_cuts_out_without_what_only_other_back_ends_need(monkeypatch):
    for module in ("segment_anything", "insightface", "onnxruntime", "onnx"):
        monkeypatch.setitem(sys.modules, module, None)  # as Python marks what cannot be imported
    name = "magref_pack_alone"
    root = Path(magref_pack.__file__)
    spec = importlib.util.spec_from_file_location(name, root, submodule_search_locations=[str(root.parent)])
    pack = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, pack)
    try:
        spec.loader.exec_module(pack)
        nodes = importlib.import_module(f"{name}.nodes.segmentation")
        image = torch.full((48, 64, 3), 40, dtype=torch.uint8)
        image[12:36, 20:44] = 220
        references = importlib.import_module(f"{name}.magref_core.canvas.references")
        given = (references.Reference(name="box", image=image),)
        alpha = nodes.AutoMaskSubject.execute(given, "auto", "", 0, 0).args[0][0].alpha
    finally:
        for module in [loaded for loaded in sys.modules if loaded.startswith(f"{name}.")]:
            del sys.modules[module]
    assert alpha[24, 32] == 255 and alpha[2, 2] == 0


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
