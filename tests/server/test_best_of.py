"""The best of several takes over HTTP, with the demo model, and what its files remember."""

import json
import time

import av
from PIL import Image

from scripts import demo, workflow_edit
from scripts.comfy_client import output_files

FILE = demo.PUPPETS.parent / "magref_best_of.json"


def test_the_files_of_the_best_take_hold_graph_layout_seeds_and_scores(client, tmp_path):
    workflow = workflow_edit.load_workflow(FILE)
    assert workflow_edit.fit_models(workflow, client.object_info()) == []
    for node in workflow.values():
        if node["class_type"] == "MagrefBestOf":
            node["inputs"] |= {"seed": 11, "count": 3, "draft_steps": 2, "steps": 4, "num_frames": 3}
    graph = {"nodes": [], "made": "for this test"}
    body = {"prompt": workflow, "extra_data": {"extra_pnginfo": {"workflow": graph}}}
    history = run(client, body)
    files = {output.filename.rpartition(".")[2]: output for output in output_files(history)}
    with av.open(client.download(files["mp4"], tmp_path / "best.mp4")) as video:
        tags = {key: json.loads(value) for key, value in video.metadata.items() if key in TAGS}
    assert set(tags) == TAGS
    assert same(tags["prompt"]) == same(workflow) and tags["workflow"] == graph
    takes = tags["magref_best_of"]["takes"]
    assert [take["seed"] for take in takes] == [11, 12, 13]
    assert tags["magref_best_of"]["best_seed"] == max(takes, key=lambda take: take["score"])["seed"]
    with Image.open(client.download(sheet_of(history), tmp_path / "sheet.png")) as picture:
        picture.load()
        assert same(json.loads(picture.info["prompt"])) == same(workflow)
        assert json.loads(picture.info["magref_best_of"])["takes"] == takes


def run(client, body):
    """Queue a whole request, as a page does, and wait for its end."""
    answer = client.post_json("/prompt", body | {"client_id": client.client_id})
    assert answer["node_errors"] == {}
    end = time.monotonic() + 300
    while (history := client.history(answer["prompt_id"])) is None:
        assert time.monotonic() < end
        time.sleep(0.2)
    assert history["status"]["status_str"] == "success", history["status"]
    return history


TAGS = {"prompt", "workflow", "magref_best_of"}


def same(prompt):
    """What a graph is restored from; the server adds marks of its own."""
    return {key: (node["class_type"], node["inputs"]) for key, node in prompt.items()}


def sheet_of(history):
    (sheet,) = (output for output in output_files(history) if output.filename.startswith("magref_report"))
    return sheet
