"""The preview before a run: over the route, and beside a run."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request

import pytest

REFERENCES = [
    {"file": "astronaut.png", "name": "astronaut", "kind": "person"},
    {"file": "cat.png", "name": "cat"},
]


def post(client, body):
    """Status and JSON of the answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"{client.url}/magref/preview", data=data)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def node_inputs(workflow, class_type):
    return next(node["inputs"] for node in workflow.values() if node["class_type"] == class_type)


def test_the_server_answers_with_report_placements_and_views(client):
    status, answer = post(client, {"references": REFERENCES, "prompt": "an astronaut walks"})
    assert status == 200
    codes = [finding["code"] for finding in answer["report"]["findings"]]
    assert codes.count("name_missing") == 1
    assert [placed["reference"] for placed in answer["placements"]].count("cat") == 1
    for view in answer["views"].values():
        assert base64.b64decode(view.removeprefix("data:image/png;base64,")).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ({"references": [{"file": "../../etc/passwd", "name": "a"}]}, 400, "outside ComfyUI's input folder"),
        ({"references": REFERENCES, "width": 830}, 400, "use 832 x 480"),
        ({"references": REFERENCES, "placements": "{"}, 400, "the placements are not JSON"),
        (b"{" + b" " * 2**20 + b"}", 413, "the body is over 1 MiB"),
    ],
)
def test_the_server_refuses_in_one_sentence_and_lives_on(client, body, status, sentence):
    found, answer = post(client, body)
    assert found == status and sentence in answer["error"]
    assert post(client, {"references": REFERENCES})[0] == 200


def test_a_run_gives_the_report_to_the_page_and_as_an_output(client, workflow):
    key = next(key for key, node in workflow.items() if node["class_type"] == "MagrefBuildMaskedCanvas")
    workflow["91"] = {
        "class_type": "PreviewAny",
        "inputs": {"source": [key, 3]},
        "_meta": {"title": "report"},
    }
    history = client.run(workflow, timeout=300)
    shown = history["outputs"][key]
    (report,) = shown["magref_report"]
    assert report["version"] == 1 and len(report["subjects"]) == len(shown["magref_references"])
    assert [view["kind"] for view in shown["magref_views"]] == ["canvas", "mask", "latent_mask", "clip"]
    for item in [*shown["magref_views"], *shown["magref_references"]]:
        path = f"/view?filename={item['filename']}&subfolder={item['subfolder']}&type={item['type']}"
        assert client.request(path).startswith(b"\x89PNG")
    assert json.loads(history["outputs"]["91"]["text"][0]) == report


def test_a_run_with_the_prompt_as_text_says_what_it_does_not_name(client, workflow):
    node_inputs(workflow, "MagrefApplyMaskedGuidance")["prompt"] = "nobody is here"
    assert client.run(workflow, timeout=300)["status"]["status_str"] == "success"
    log = json.dumps(client.get_json("/internal/logs/raw"))
    assert "the prompt does not name" in log
