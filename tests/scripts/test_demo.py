import copy
import json
import re
import shutil
import subprocess
import sys

import pytest

from scripts import ROOT, demo, workflow_edit
from scripts.comfy_client import ComfyClient, ComfyError, OutputFile, Progress
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


def test_the_shipped_pictures_serve_the_shipped_workflow():
    workflow = workflow_edit.load_workflow(demo.WORKFLOW)
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
