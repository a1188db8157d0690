"""Values that come from other nodes instead of being typed in."""

import json

import pytest

from scripts import demo, workflow_edit
from scripts.comfy_client import PromptFailedError, output_files


@pytest.fixture
def linked(client):
    """The multi-subject workflow, its size, length and list of references from primitive nodes."""
    workflow = workflow_edit.load_workflow(demo.PHOTOGRAPHS)
    workflow_edit.set_where_present(workflow, demo.TINY_SIZES)
    workflow_edit.fit_models(workflow, client.object_info())
    for node in list(workflow.values()):
        for name in ("width", "length", "references", "background", "tile_size"):
            value = node["inputs"].get(name)
            if isinstance(value, int | str):
                kind = "PrimitiveInt" if isinstance(value, int) else "PrimitiveString"
                source = {"class_type": kind, "inputs": {"value": value}, "_meta": {"title": name}}
                workflow[f"linked {name}"] = source
                node["inputs"][name] = [f"linked {name}", 0]
    return workflow


def test_linked_values_run(client, linked):
    assert sum(node["class_type"].startswith("Primitive") for node in linked.values()) == 5
    assert len(output_files(client.run(linked, timeout=300))) >= 2


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("width", 250, "use 256 x 144"),
        ("length", 16, "use 17"),
        ("references", json.dumps([{"file": "nobody.png"}]), "is not in ComfyUI's input folder"),
        ("background", "white", "use #ffffff"),
        ("tile_size", 32, "at least 64"),
    ],
)
def test_a_bad_linked_value_is_answered_when_it_arrives(client, linked, name, value, sentence):
    linked[f"linked {name}"]["inputs"]["value"] = value
    with pytest.raises(PromptFailedError, match=sentence):
        client.run(linked, timeout=300)
