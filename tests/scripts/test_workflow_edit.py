import copy
import json

import pytest

from scripts import workflow_edit
from scripts.comfy_client import ComfyError

REFERENCES = [
    {"file": "astronaut.png", "name": "woman", "kind": "person"},
    {"image": "image_1", "name": "connected", "kind": "object"},
    {"file": "cast/cat.png"},
]
WORKFLOW = {
    "1": {"class_type": "MagrefLoadReferences", "inputs": {"references": json.dumps(REFERENCES)}},
    "2": {"class_type": "LoadImage", "inputs": {"image": "sea.png"}, "_meta": {"title": "Place"}},
    "3": {"class_type": "MagrefBuildMaskedCanvas", "inputs": {"width": 832, "height": ["9", 0]}},
    "4": {"class_type": "ImageScale", "inputs": {"width": 64, "crop": "disabled"}},
    "5": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat"}, "_meta": {"title": "Prompt"}},
    "6": {"class_type": "VAELoader", "inputs": {"vae_name": "wan_2.1_vae.safetensors"}},
    "7": {"class_type": "MagrefDiTLoader", "inputs": {"model": "magref.safetensors", "precision": "default"}},
}


@pytest.fixture
def workflow():
    return copy.deepcopy(WORKFLOW)


def server_with(*, vaes, models):
    """/object_info as the host writes it: VAELoader in the old way, ours in the new one."""
    info = {node["class_type"]: {"input": {"required": {}}} for node in WORKFLOW.values()}
    info["VAELoader"] = {"input": {"required": {"vae_name": [vaes, {}]}}}
    info["MagrefDiTLoader"] = {"input": {"required": {"model": ["COMBO", {"options": models}]}}}
    return info


def test_a_size_is_set_wherever_it_is_a_value_and_links_stay(workflow):
    workflow_edit.set_everywhere(workflow, {"width": 320})
    assert workflow["3"]["inputs"] == {"width": 320, "height": ["9", 0]}
    assert workflow["4"]["inputs"]["width"] == 320


def test_a_size_that_no_node_has_is_told(workflow):
    with pytest.raises(
        ComfyError, match="no node of the workflow has a value 'height': leave it out or use --set"
    ):
        workflow_edit.set_everywhere(workflow, {"height": 320})
    workflow_edit.set_where_present(workflow, {"height": 320})
    assert workflow == WORKFLOW


@pytest.mark.parametrize(
    ("assignment", "node_id", "name", "value"),
    [
        ("5.text=a dog", "5", "text", "a dog"),
        ("Prompt.text=x = y. z", "5", "text", "x = y. z"),
        ("4.width=48", "4", "width", 48),
        ("7.precision=bf16", "7", "precision", "bf16"),
    ],
)
def test_any_input_can_be_set_by_id_or_title(workflow, assignment, node_id, name, value):
    workflow_edit.set_input(workflow, assignment)
    assert workflow[node_id]["inputs"][name] == value


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("text=a dog", "cannot be read: write NODE.INPUT=VALUE"),
        ("5.text", "cannot be read: write NODE.INPUT=VALUE"),
        (
            "Nobody.text=a",
            r"names the node 'Nobody', of which there are 0: use one of 1 \(MagrefLoadReferences\), 2 ",
        ),
        ("5.txet=a", "node '5' has no input 'txet': use one of text"),
    ],
)
def test_a_setting_that_fits_nothing_is_told(workflow, assignment, message):
    with pytest.raises(ComfyError, match=message):
        workflow_edit.set_input(workflow, assignment)


def test_pictures_are_references_with_files_and_load_image_nodes(workflow):
    found = workflow_edit.pictures(workflow)
    assert [(picture.name, picture.file) for picture in found] == [
        ("woman", "astronaut.png"),
        ("cat", "cast/cat.png"),
        ("Place", "sea.png"),
    ]


def test_a_picture_is_replaced_where_it_is_named_and_nothing_else_changes(workflow):
    workflow_edit.set_picture(workflow, workflow_edit.find_picture(workflow, "cat"), "demo/tom.png")
    workflow_edit.set_picture(workflow, workflow_edit.find_picture(workflow, "Place"), "demo/hill.png")
    expected = [*REFERENCES[:2], {"file": "demo/tom.png"}]
    assert json.loads(workflow["1"]["inputs"]["references"]) == expected
    assert workflow["2"]["inputs"]["image"] == "demo/hill.png"


def test_an_unknown_picture_is_told_with_the_known_ones(workflow):
    with pytest.raises(ComfyError, match="has 0 pictures named 'dog': it has woman, cat, Place"):
        workflow_edit.find_picture(workflow, "dog")


@pytest.mark.parametrize("text", ["[{", "{}", "[1]"])
def test_a_broken_reference_list_is_told(workflow, text):
    workflow["1"]["inputs"]["references"] = text
    with pytest.raises(ComfyError, match="the references of node 1 are"):
        workflow_edit.pictures(workflow)


def test_nodes_that_the_server_lacks_are_found(workflow):
    info = server_with(vaes=[], models=[])
    del info["MagrefDiTLoader"], info["LoadImage"]
    assert workflow_edit.missing_nodes(workflow, info) == ["LoadImage", "MagrefDiTLoader"]


def test_model_files_that_the_server_has_are_not_missing(workflow):
    info = server_with(vaes=["wan_2.1_vae.safetensors"], models=["magref.safetensors"])
    assert workflow_edit.missing_models(workflow, info) == []


def test_missing_model_files_are_told_with_folder_and_what_is_there(workflow):
    info = server_with(vaes=["pixel_space"], models=["a.safetensors", "b.gguf"])
    text = workflow_edit.describe_missing(workflow_edit.missing_models(workflow, info))
    assert "wan_2.1_vae.safetensors: put it into ComfyUI/models/vae, or use" in text
    assert "--set 6.vae_name=FILE (there: nothing)" in text
    assert "ComfyUI/models/diffusion_models, or use --set 7.model=FILE (there: a.safetensors, b.gguf)" in text


def test_the_only_file_of_a_kind_stands_in_for_the_named_one(workflow):
    info = server_with(
        vaes=["tiny.safetensors", "pixel_space"], models=["magref.safetensors", "other.safetensors"]
    )
    replaced = workflow_edit.fit_models(workflow, info)
    assert [model.file for model in replaced] == ["wan_2.1_vae.safetensors"]
    assert workflow["6"]["inputs"]["vae_name"] == "tiny.safetensors"
    assert workflow["7"] == WORKFLOW["7"]


def test_of_several_files_none_is_guessed(workflow):
    info = server_with(vaes=["a.safetensors", "b.safetensors"], models=["magref.safetensors"])
    with pytest.raises(
        ComfyError, match=r"wan_2\.1_vae\.safetensors: .* \(there: a\.safetensors, b\.safetensors\)"
    ):
        workflow_edit.fit_models(workflow, info)
    assert workflow == WORKFLOW


def test_files_of_the_demo_model_stand_in_for_nothing(workflow):
    info = server_with(
        vaes=["tiny.safetensors", "magref_demo_vae.safetensors"], models=["magref_demo_dit.safetensors"]
    )
    workflow["7"]["inputs"]["model"] = "magref.safetensors"
    with pytest.raises(ComfyError, match=r"magref\.safetensors: put it into .* \(there: nothing\)"):
        workflow_edit.fit_models(workflow, info)
    info["MagrefDiTLoader"]["input"]["required"]["model"][1]["options"].append("random.safetensors")
    replaced = workflow_edit.fit_models(workflow, info)
    assert [model.choices for model in replaced] == [("tiny.safetensors",), ("random.safetensors",)]
    assert workflow["6"]["inputs"]["vae_name"] == "tiny.safetensors"


def test_nothing_stands_in_for_a_file_of_the_demo_model(workflow):
    workflow["6"]["inputs"]["vae_name"] = "magref_demo_vae.safetensors"
    info = server_with(vaes=["tiny.safetensors"], models=["magref.safetensors"])
    with pytest.raises(
        ComfyError, match=r"magref_demo_vae\.safetensors: restore the folder models/demo of ComfyUI-MAGREF"
    ):
        workflow_edit.fit_models(workflow, info)
    assert workflow["6"]["inputs"]["vae_name"] == "magref_demo_vae.safetensors"


@pytest.mark.parametrize(
    ("vae", "model", "expected"),
    [
        ("magref_demo_vae.safetensors", "magref_demo_dit.safetensors", True),
        ("wan_2.1_vae.safetensors", "magref_demo_dit.safetensors", False),
        ("wan_2.1_vae.safetensors", "magref.safetensors", False),
        ("pixel_space", "auto", False),
    ],
)
def test_a_workflow_of_the_demo_model_names_no_other_files(workflow, vae, model, expected):
    workflow["6"]["inputs"]["vae_name"], workflow["7"]["inputs"]["model"] = vae, model
    assert workflow_edit.runs_demo_model(workflow) is expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"nodes": [], "links": []}', r"is in the format of the page: use Workflow > Export \(API\)"),
        ("[1, 2]", "is no workflow in API format"),
        ('{"1": {"inputs": {}}}', "is no workflow in API format"),
        ("{", "is no JSON"),
        ("\xff", "is no JSON"),
    ],
)
def test_a_file_that_is_no_api_workflow_is_told(tmp_path, content, message):
    file = tmp_path / "flow.json"
    file.write_text(content, encoding="latin-1")
    with pytest.raises(ComfyError, match=message):
        workflow_edit.load_workflow(file)
    with pytest.raises(ComfyError, match="there is no workflow"):
        workflow_edit.load_workflow(tmp_path / "none.json")


def masked(saved_from):
    """A mask of a node with a model file in front of a cut-out, and two pictures that are saved."""
    return {
        "1": {"class_type": "MagrefLoadReferences", "inputs": {"references": "[]"}},
        "2": {"class_type": "LoadBackgroundRemovalModel", "inputs": {"bg_removal_name": "a.safetensors"}},
        "3": {"class_type": "RemoveBackground", "inputs": {"bg_removal_model": ["2", 0]}},
        "4": {
            "class_type": "MagrefAutoMaskSubject",
            "inputs": {"references": ["1", 0], "method": "mask", "mask": ["3", 0], "subjects": "cat"},
        },
        "5": {"class_type": "SaveImage", "inputs": {"images": ["4", 0]}},
        "6": {"class_type": "SaveImage", "inputs": {"images": [saved_from, 0]}},
    }


def test_grabcut_stands_in_for_a_mask_that_needs_a_model_file():
    workflow = masked("3")
    part = workflow_edit.without_models(workflow, ["SaveImage"])
    assert set(part) == {"1", "4", "5"}
    assert part["4"]["inputs"] == {"references": ["1", 0], "method": "grabcut", "subjects": "cat"}
    assert workflow == masked("3")


def test_only_outputs_of_the_types_asked_for_are_kept():
    assert workflow_edit.without_models(masked("3"), ["PreviewImage"]) == {}
    assert set(workflow_edit.without_models(masked("1"), ["SaveImage"])) == {"1", "4", "5", "6"}
