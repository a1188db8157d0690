"""The saved workflows, as far as they can be judged without a host."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from magref_core.world.captions import VOCABULARY, caption
from magref_core.world.scene import draw_scene
from scripts import ROOT
from scripts.demo_files import BUNDLE
from scripts.draw_pictures import FOLDER as PICTURES
from scripts.draw_pictures import SHIPPED, draw
from scripts.training.presets import PRESETS
from scripts.workflow_edit import is_demo_file, pictures
from scripts.workflow_specs import WORKFLOWS
from scripts.workflow_specs import demo as demo_spec

FOLDER = ROOT / "workflows"
SURFACE = json.loads((ROOT / "tests" / "node_surface.json").read_text(encoding="utf-8"))
NAMES = [workflow.name for workflow in WORKFLOWS]
CONTROLS = ("fixed", "increment", "decrement", "randomize")
"""What a seed does after a run; saved beside it, and of no meaning to the server."""
UPLOAD = "image"
"""What the upload button of Load Image keeps; likewise."""
NOTE = "MarkdownNote"

OF_THE_DEMO_MODEL = ("magref_demo", "magref_best_of", "magref_three_people", "magref_person_object_place")
RELEASED = [workflow for workflow in WORKFLOWS if workflow.name not in OF_THE_DEMO_MODEL]
"""Those of the released model; the files of the demo model come with the pack."""

each_workflow = pytest.mark.parametrize("workflow", WORKFLOWS, ids=NAMES)
each_name = pytest.mark.parametrize("name", NAMES)


def saved(name):
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def twin(name):
    return json.loads((FOLDER / "api" / f"{name}.json").read_text(encoding="utf-8"))


def our_nodes(name):
    return [(key, node) for key, node in twin(name).items() if node["class_type"].startswith("Magref")]


def test_the_folders_hold_the_workflows_and_nothing_else():
    assert sorted(file.stem for file in FOLDER.glob("*.json")) == sorted(NAMES)
    assert sorted(file.stem for file in FOLDER.glob("*.jpg")) == sorted(NAMES)
    assert sorted(file.stem for file in (FOLDER / "api").glob("*.json")) == sorted(NAMES)


def test_no_other_folder_hides_the_templates():
    """ComfyUI serves only the first folder of such a name; what lies in ours would not be found."""
    for name in ("example_workflows", "example", "examples", "workflow"):
        assert not (ROOT / name).exists()


@each_name
def test_every_link_is_known_at_both_ends(name):
    workflow = saved(name)
    nodes = {node["id"]: node for node in workflow["nodes"]}
    links = {link[0]: link for link in workflow["links"]}
    for number, origin, output, target, slot, kind in links.values():
        assert number in nodes[origin]["outputs"][output]["links"]
        assert nodes[target]["inputs"][slot]["link"] == number
        assert nodes[origin]["outputs"][output]["type"] == kind
    ends = [number for node in nodes.values() for slot in node["outputs"] for number in slot["links"] or ()]
    starts = [slot["link"] for node in nodes.values() for slot in node["inputs"] if slot["link"] is not None]
    assert sorted(ends) == sorted(starts) == sorted(links)


@each_name
def test_our_nodes_have_the_inputs_of_the_surface_file(name):
    assert our_nodes(name)
    for _, node in our_nodes(name):
        required = SURFACE[node["class_type"]]["required"]
        assert set(required) <= set(node["inputs"])
        for key, value in node["inputs"].items():
            limits = required.get(key, {})
            if isinstance(value, (int, float)) and "min" in limits:
                assert limits["min"] <= value <= limits["max"]
            if "options" in limits:
                assert value in limits["options"]


@each_name
def test_the_api_twin_has_the_same_nodes_values_and_links(name):
    workflow, prompt = saved(name), twin(name)
    nodes = {str(node["id"]): node for node in workflow["nodes"] if node["type"] != NOTE}
    links = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    assert set(prompt) == set(nodes)
    for key, node in nodes.items():
        assert prompt[key]["class_type"] == node["type"]
        assert prompt[key]["_meta"]["title"] == node.get("title", prompt[key]["_meta"]["title"])
        linked = {slot["name"]: links[slot["link"]] for slot in node["inputs"] if slot["link"] is not None}
        inputs = prompt[key]["inputs"]
        assert {name: value for name, value in inputs.items() if isinstance(value, list)} == linked
        values = [value for value in inputs.values() if not isinstance(value, list)]
        saved_values = node.get("widgets_values", [])
        assert values == [value for value in saved_values if value not in (*CONTROLS, UPLOAD)]


@each_workflow
def test_the_files_are_built_from_the_present_source(workflow):
    nodes = saved(workflow.name)["nodes"]
    made = [(group, node) for group in workflow.groups for node in group.nodes]
    assert [node["type"] for node in nodes] == [node.type for _, node in made]
    for found, (group, node) in zip(nodes, made, strict=True):
        assert tuple(found["pos"]) == workflow.place(group, node)[:2]
        assert all(value in found["widgets_values"] for value in node.values.values())
        assert {slot["name"] for slot in found["inputs"] if slot["link"] is not None} == set(node.links)
    groups = saved(workflow.name)["groups"]
    assert [tuple(group["bounding"]) for group in groups] == [
        workflow.frame(group) for group in workflow.groups
    ]


@each_name
def test_no_value_is_an_absolute_path(name):
    for text in re.findall(r'"((?:[^"\\]|\\.)*)"', (FOLDER / f"{name}.json").read_text(encoding="utf-8")):
        assert not re.match(r"(/|~|[A-Za-z]:[\\/])", text), text


@pytest.mark.parametrize("workflow", RELEASED, ids=lambda workflow: workflow.name)
def test_the_note_says_where_each_model_goes_and_the_page_can_fetch_it(workflow):
    nodes = saved(workflow.name)["nodes"]
    notes = "\n".join(node["widgets_values"][0] for node in nodes if node["type"] == NOTE)
    offered = [model for node in nodes for model in node["properties"].get("models", ())]
    named = {
        value
        for node in nodes
        for value in node.get("widgets_values", ())
        if isinstance(value, str) and value.endswith(".safetensors")
    }
    assert {model["name"] for model in offered} == named == {model.name for model in workflow.models}
    for model in offered:
        assert f"- **{model['directory']}**: [{model['name']}](https://huggingface.co/" in notes
        assert model["url"].startswith("https://huggingface.co/")
        assert model["url"].endswith(f"/{model['name']}")


def model_files(name):
    return {
        value
        for node in twin(name).values()
        for value in node["inputs"].values()
        if isinstance(value, str) and value.endswith(".safetensors")
    }


@pytest.mark.parametrize("name", OF_THE_DEMO_MODEL)
def test_the_demo_names_only_files_of_the_pack_and_offers_none_to_download(name):
    names = model_files(name)
    assert all(map(is_demo_file, names))
    assert names == {file.name for file in BUNDLE.glob("*/*.safetensors")}
    assert not any(node["properties"].get("models") for node in saved(name)["nodes"])


@pytest.mark.parametrize("name", OF_THE_DEMO_MODEL)
def test_the_demo_is_made_as_its_model_was_trained(name):
    inputs = {key: value for node in twin(name).values() for key, value in node["inputs"].items()}
    scenes = PRESETS["cpu"].scenes
    assert (inputs["width"], inputs["height"]) == (scenes.width, scenes.height)
    assert (inputs["length"], inputs["drop_frames"]) == (scenes.length, 1)


def test_the_note_lists_exactly_the_words_that_the_demo_model_learned():
    scenes = PRESETS["cpu"].scenes
    assert set(demo_spec.WHO.split(", ")) == set(scenes.categories)
    assert set(demo_spec.DEEDS.split(", ")) == set(scenes.motions)
    assert {place.split()[-1] for place in demo_spec.PLACES.split(", ")} == set(scenes.places)
    listed = " ".join((demo_spec.WHO, demo_spec.DEEDS, demo_spec.THINGS, demo_spec.PLACES, demo_spec.CAMERA))
    assert set(re.findall(r"[a-z]+", listed)) <= set(VOCABULARY)


def test_the_prompt_of_the_demo_is_a_caption_of_the_drawn_world():
    options = replace(PRESETS["cpu"].scenes, subjects={2: 1.0}, camera=0.0, light=0.0)
    scene = draw_scene(np.random.default_rng(0), options)
    roles = (("robot", "waves"), ("fox", "jumps"))
    actors = tuple(
        replace(actor, identity=replace(actor.identity, category=category), motion=motion)
        for actor, (category, motion) in zip(scene.actors, roles, strict=True)
    )
    scene = replace(scene, actors=actors, place=replace(scene.place, word="beach"))
    assert caption(scene) == demo_spec.PROMPT


NAMED = ("magref_two_people", "magref_three_people", "magref_person_object_place")


@pytest.mark.parametrize("name", NAMED)
def test_the_prompt_calls_every_reference_by_its_name_and_none_else(name):
    (bind,) = (node for _, node in our_nodes(name) if node["class_type"] == "MagrefBindSubjects")
    (gallery,) = (node for _, node in our_nodes(name) if is_list(node))
    names = {entry["name"] for entry in json.loads(gallery["inputs"]["references"])}
    assert set(re.findall(r"@(\w+)", bind["inputs"]["prompt"])) == names


@pytest.mark.parametrize("name", ["magref_three_people", "magref_person_object_place"])
def test_a_prompt_with_names_becomes_a_caption_of_the_drawn_world(name):
    (bind,) = (node for _, node in our_nodes(name) if node["class_type"] == "MagrefBindSubjects")
    (gallery,) = (node for _, node in our_nodes(name) if is_list(node))
    words = {
        entry["name"]: entry.get("word", entry["name"])
        for entry in json.loads(gallery["inputs"]["references"])
    }
    text = re.sub(r"@(\w+)", lambda found: words[found[1]], bind["inputs"]["prompt"])
    roles = re.findall(r"a (\w+) (?:on the left|in the middle|on the right) (\w+)", text)
    options = replace(PRESETS["cpu"].scenes, subjects={len(roles): 1.0}, camera=0.0, light=0.0)
    scene = draw_scene(np.random.default_rng(0), options)
    actors = tuple(
        replace(actor, identity=replace(actor.identity, category=category), motion=motion)
        for actor, (category, motion) in zip(scene.actors, roles, strict=True)
    )
    scene = replace(scene, actors=actors, place=replace(scene.place, word="beach"))
    assert caption(scene) == text


@pytest.mark.parametrize("name", SHIPPED)
def test_a_drawn_picture_is_what_its_script_draws_of_somebody_unknown(name):
    assert min(SHIPPED[name].seed, SHIPPED[name].view) >= 1_000_000
    with Image.open(PICTURES / name) as picture:
        shipped = np.asarray(picture)
    drawn = draw(SHIPPED[name])
    assert shipped.shape == drawn.shape
    assert np.abs(shipped.astype(int) - drawn).mean() < 0.5  # OpenCV may round otherwise elsewhere
    sources = (PICTURES / "SOURCES.md").read_text(encoding="utf-8")
    assert f"`{name}`" in sources


@each_name
def test_the_pictures_are_shipped_and_named_in_the_note(name):
    notes = "\n".join(node["widgets_values"][0] for node in saved(name)["nodes"] if node["type"] == NOTE)
    files = [picture.file for picture in pictures(twin(name))]
    assert files
    for file in files:
        assert (FOLDER / "pictures" / file).is_file()
        assert f"**{file}**" in notes


def is_list(node):
    return node["class_type"] == "MagrefLoadReferences"


@each_name
def test_the_thumbnail_is_square_and_small(name):
    file = FOLDER / f"{name}.jpg"
    assert file.stat().st_size <= 100_000
    with Image.open(file) as picture:
        assert picture.format == "JPEG"
        assert picture.size == (512, 512)


def test_each_workflow_shows_what_the_others_do_not():
    types = {name: {node["class_type"] for node in twin(name).values()} for name in NAMES}
    assert "UNETLoader" in types["magref_native_unet"]
    assert "MagrefAutoMaskSubject" in types["magref_multi_subject"]
    assert {"MagrefDemoEncoders", "ImageScaleBy", "CreateVideo"} <= types["magref_demo"]
    ours = {"MagrefReferenceGuider", "MagrefBestOf", "MagrefSubjectReport", "MagrefDecorrelateReferences"}
    assert ours <= types["magref_best_of"]
    native = {"LoraLoaderModelOnly", "EasyCache", "ModelSamplingSD3", "SamplerCustom", "MagrefSolver"}
    assert native | {"MagrefSchedule", "MagrefDiTLoader"} <= types["magref_native_sampler"]
    masks = {"SAM3_Detect", "CLIPTextEncode", "RemoveBackground", "LoadBackgroundRemovalModel", "LoadImage"}
    assert masks | {"CheckpointLoaderSimple", "MagrefAutoMaskSubject"} <= types["magref_native_masks"]
    kinds = json.loads(
        next(node for _, node in our_nodes("magref_multi_subject") if is_list(node))["inputs"]["references"]
    )
    assert [entry["kind"] for entry in kinds] == ["person", "object", "background"]
