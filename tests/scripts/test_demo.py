import argparse
import copy
import hashlib
import json
import re
import shutil
import subprocess
import sys

import pytest

from scripts import ROOT, demo, workflow_edit
from scripts.comfy_client import ComfyClient, ComfyError, OutputFile, Progress
from scripts.demo_files import check_demo_files
from tests.scripts.fake_comfyui import fake_comfyui

WORKFLOW = {
    "1": {
        "class_type": "MagrefLoadReferences",
        "inputs": {"references": '[{"file": "cat.png", "name": "tom"}]'},
    },
    "2": {"class_type": "MagrefBuildMaskedCanvas", "inputs": {"references": ["1", 0], "width": 832}},
    "3": {"class_type": "SaveVideo", "inputs": {"video": ["9", 0]}},
    "4": {"class_type": "SaveImage", "inputs": {"images": ["2", 1]}},
    "5": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}},
}


def saved_file(node_id, filename):
    return OutputFile(node_id=node_id, filename=filename, subfolder="")


def run_demo(*arguments):
    command = [sys.executable, ROOT / "scripts" / "demo.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture
def flow(tmp_path):
    file = tmp_path / "flow.json"
    file.write_text(json.dumps(WORKFLOW))
    return file


def test_video_and_canvas_get_their_names_and_others_keep_theirs(tmp_path):
    outputs = [saved_file("5", "other_1.png"), saved_file("4", "c_1.png"), saved_file("3", "v_1.mp4")]
    outputs.append(saved_file("3", "v_2.mp4"))
    with fake_comfyui() as fake:
        fake.routes = {"/view": (200, b"content")}
        demo.save_results(ComfyClient(fake.url), WORKFLOW, outputs, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "canvas.png",
        "demo.mp4",
        "other_1.png",
        "v_2.mp4",
    ]


def test_an_enlarged_canvas_is_still_the_canvas(tmp_path):
    workflow = {
        "1": {"class_type": "MagrefBuildMaskedCanvas", "inputs": {}},
        "2": {"class_type": "ImageScaleBy", "inputs": {"image": ["1", 1]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0]}},
        "4": {"class_type": "LoadImage", "inputs": {"image": "cat.png"}},
        "5": {"class_type": "SaveImage", "inputs": {"images": ["4", 0]}},
    }
    assert demo.shows_canvas(workflow, "3") and not demo.shows_canvas(workflow, "5")
    workflow = workflow_edit.load_workflow(demo.PUPPETS)
    kinds = {node_id: node["class_type"] for node_id, node in workflow.items()}
    (canvas,) = (node_id for node_id, kind in kinds.items() if kind == "SaveImage")
    assert demo.shows_canvas(workflow, canvas)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, demo.PUPPETS),
        ({"photographs": True}, demo.PHOTOGRAPHS),
        ({"server": "http://127.0.0.1:8188"}, demo.PHOTOGRAPHS),
        ({"models": demo.PICTURES}, demo.PHOTOGRAPHS),
        ({"workflow": demo.PUPPETS, "server": "http://127.0.0.1:8188"}, demo.PUPPETS),
    ],
)
def test_puppets_act_unless_photographs_or_models_for_them_are_given(given, expected):
    arguments = {"workflow": None, "photographs": False, "server": None, "models": None} | given
    assert demo.chosen_workflow(argparse.Namespace(**arguments)) == expected


def test_photographs_and_another_workflow_exclude_each_other(flow):
    ran = run_demo("--photographs", "--workflow", flow)
    assert ran.returncode == 2 and "not allowed with argument" in ran.stderr


@pytest.mark.parametrize(
    ("file", "server", "expected"),
    [
        (demo.PUPPETS, None, (96, 17, 20)),
        (demo.PHOTOGRAPHS, None, (240, 17, 4)),
        (demo.PHOTOGRAPHS, "http://127.0.0.1:8188", (832, 81, 40)),
    ],
)
def test_only_tiny_random_models_get_a_tiny_video(file, server, expected):
    workflow = workflow_edit.load_workflow(file)
    sizes = dict.fromkeys((*demo.TINY_SIZES, "seed"))
    demo.change_values(workflow, argparse.Namespace(server=server, models=None, set=[], **sizes))
    inputs = {name: value for node in workflow.values() for name, value in node["inputs"].items()}
    assert (inputs["width"], inputs["length"], inputs["steps"]) == expected


@pytest.fixture
def bundle(tmp_path):
    """A folder of demo files with its list of hashes."""
    file = tmp_path / "vae" / "magref_demo_vae.safetensors"
    file.parent.mkdir()
    file.write_bytes(b"weights")
    hashes = {"vae/magref_demo_vae.safetensors": hashlib.sha256(b"weights").hexdigest()}
    (tmp_path / "hashes.json").write_text(json.dumps(hashes))
    return tmp_path


def test_a_whole_demo_model_passes(bundle):
    check_demo_files(bundle)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("hashes.json", None, r"hashes\.json, is missing: restore the folder models/demo"),
        ("hashes.json", "{", r"hashes\.json, cannot be read: restore"),
        ("hashes.json", "[1]", r"hashes\.json, cannot be read: restore"),
        ("vae/magref_demo_vae.safetensors", None, r"vae\.safetensors is missing: restore the folder"),
        ("vae/magref_demo_vae.safetensors", "other", r"is not the one that was shipped \(its SHA-256"),
    ],
)
def test_a_demo_model_that_is_not_whole_is_told(bundle, name, content, message):
    (bundle / name).unlink()
    if content is not None:
        (bundle / name).write_text(content)
    with pytest.raises(ComfyError, match=message):
        check_demo_files(bundle)


def test_a_demo_model_that_is_not_whole_is_told_before_a_host_is_looked_for(bundle, monkeypatch):
    (bundle / "hashes.json").unlink()
    monkeypatch.setattr(demo, "check_demo_files", lambda: check_demo_files(bundle))
    monkeypatch.setattr(demo, "own_server", lambda *_, **__: pytest.fail("a server was started"))
    with pytest.raises(ComfyError, match="is missing"):
        demo.run_on_own_server(argparse.Namespace(), workflow_edit.load_workflow(demo.PUPPETS), {})


@pytest.mark.parametrize("file", [demo.PUPPETS, demo.PHOTOGRAPHS], ids=lambda file: file.stem)
def test_the_shipped_pictures_serve_the_shipped_workflow(file):
    workflow = workflow_edit.load_workflow(file)
    chosen = demo.chosen_pictures(workflow, [])
    assert set(chosen) == {picture.name for picture in workflow_edit.pictures(workflow)}
    assert len(chosen) >= 3


def test_a_given_picture_goes_before_the_shipped_one(tmp_path):
    mine = tmp_path / "mine.jpg"
    shutil.copy(demo.PICTURES / "coffee.png", mine)
    assert demo.chosen_pictures(WORKFLOW, [f"tom={mine}"]) == {"tom": mine}
    assert demo.chosen_pictures(WORKFLOW, []) == {"tom": demo.PICTURES / "cat.png"}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("tom", "--image tom cannot be read: write NAME=PATH"),
        ("ann=x.png", "has 0 pictures named 'ann': it has tom"),
        ("tom=/no/such.png", r"there is no picture /no/such\.png: give the path of an image file for 'tom'"),
    ],
)
def test_a_picture_that_fits_nothing_is_told(assignment, message):
    with pytest.raises(ComfyError, match=message):
        demo.chosen_pictures(WORKFLOW, [assignment])


def test_uploads_go_to_a_folder_of_their_own_under_safe_names():
    workflow = copy.deepcopy(WORKFLOW)
    workflow["1"]["inputs"]["references"] = '[{"file": "x.png", "name": "to m"}]'
    with fake_comfyui() as fake:
        fake.routes = {
            "/upload/image": (200, {"name": "to_m.png", "subfolder": "magref_demo", "type": "input"})
        }
        demo.upload_pictures(ComfyClient(fake.url), workflow, {"to m": demo.PICTURES / "cat.png"})
        body = fake.asked[0][2]
    assert b'filename="to_m_1.png"' in body
    assert b"magref_demo" in body
    assert json.loads(workflow["1"]["inputs"]["references"])[0]["file"] == "magref_demo/to_m.png"


def test_names_that_look_alike_in_a_file_name_keep_their_own_pictures():
    workflow = copy.deepcopy(WORKFLOW)
    entries = [{"file": "x.png", "name": "a b"}, {"file": "y.png", "name": "a_b"}]
    workflow["1"]["inputs"]["references"] = json.dumps(entries)
    chosen = dict.fromkeys(("a b", "a_b"), demo.PICTURES / "cat.png")
    with fake_comfyui() as fake:
        fake.routes = {"/upload/image": (200, {"name": "any.png", "subfolder": "", "type": "input"})}
        demo.upload_pictures(ComfyClient(fake.url), workflow, chosen)
        sent = [re.search(rb'filename="([^"]+)"', body)[1] for _, _, body in fake.asked]
    assert sent == [b"a_b_1.png", b"a_b_2.png"]


def test_a_user_without_server_reads_one_sentence_and_no_traceback(flow):
    ran = run_demo("--server", "http://127.0.0.1:9", "--workflow", flow)
    assert ran.returncode == 1
    assert ran.stderr.startswith("error: no ComfyUI answers at http://127.0.0.1:9")
    assert "Traceback" not in ran.stderr


def test_a_user_whose_server_lacks_our_nodes_is_told_which(flow):
    with fake_comfyui() as fake:
        fake.routes = {"/object_info": (200, {"SaveImage": {}, "SaveVideo": {}})}
        ran = run_demo("--server", fake.url, "--workflow", flow)
    assert ran.returncode == 1
    assert (
        "lacks the nodes MagrefBuildMaskedCanvas, MagrefLoadReferences: install ComfyUI-MAGREF" in ran.stderr
    )
    assert "Traceback" not in ran.stderr


def test_a_size_that_cannot_be_set_is_told_before_anything_starts(flow):
    ran = run_demo("--workflow", flow, "--steps", "3")
    assert ran.returncode == 1
    assert "no node of the workflow has a value 'steps'" in ran.stderr


def test_progress_without_a_terminal_is_one_line_per_step(capsys):
    line = demo.ProgressLine()
    for value in (0, 1, 1, 2):
        line(Progress(node_id="1", label="Sampler", value=value, maximum=2))
    line.end()
    assert capsys.readouterr().out.splitlines() == [
        "  Sampler  [....................] 0/2",
        "  Sampler  [##########..........] 1/2",
        "  Sampler  [####################] 2/2",
    ]
