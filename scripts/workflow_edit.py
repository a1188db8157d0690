"""Changes to a workflow in API format before it is queued: sizes, pictures, model files."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.comfy_client import ComfyError, Workflow

MODEL_SUFFIXES = (".safetensors", ".sft", ".gguf", ".ckpt", ".pt", ".pth", ".bin")
MODEL_FOLDERS = {
    "MagrefDiTLoader": "diffusion_models",
    "UNETLoader": "diffusion_models",
    "CheckpointLoaderSimple": "checkpoints",
    "CLIPLoader": "text_encoders",
    "CLIPVisionLoader": "clip_vision",
    "LoadBackgroundRemovalModel": "background_removal",
    "LoraLoader": "loras",
    "LoraLoaderModelOnly": "loras",
    "VAELoader": "vae",
}
CUT_OUT = "MagrefAutoMaskSubject"
DEMO_PREFIX = "magref_demo_"
"""Of the files of the small demo model; they come with the pack, and fit each other and no others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MissingModel:
    """A model file that a loader names and the server does not have."""

    node_id: str
    class_type: str
    input: str
    file: str
    choices: tuple[str, ...]
    """Files that could stand in; none for a file of the demo model, and never one of those for others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A place in the workflow where a picture file is named."""

    name: str
    """The reference's name, or the title of a Load Image node."""
    file: str
    node_id: str
    input: str
    index: int | None
    """Which entry of the reference list; None for a Load Image node."""


def load_workflow(file: Path) -> Workflow:
    """Read a workflow in API format.

    Raises:
        ComfyError: there is no such file, it is no JSON, or it is in the format that the page saves.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ComfyError(f"there is no workflow {file}: give the path of a file in API format") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ComfyError(f"{file} is no JSON ({error}): export the workflow again") from error
    if isinstance(content, dict) and "nodes" in content:
        raise ComfyError(
            f"{file} is in the format of the page: use Workflow > Export (API), or workflows/api/"
        )
    if not isinstance(content, dict) or not all(
        isinstance(node, dict)
        and isinstance(node.get("class_type"), str)
        and isinstance(node.get("inputs"), dict)
        for node in content.values()
    ):
        raise ComfyError(f"{file} is no workflow in API format: use Workflow > Export (API)")
    return content


def set_everywhere(workflow: Workflow, values: dict[str, int]) -> None:
    """As `set_where_present`, for values that somebody asked for.

    Raises:
        ComfyError: no node has such an input.
    """
    for name in values:
        if not any(isinstance(node["inputs"].get(name), int) for node in workflow.values()):
            raise ComfyError(f"no node of the workflow has a value '{name}': leave it out or use --set")
    set_where_present(workflow, values)


def set_where_present(workflow: Workflow, values: dict[str, int]) -> None:
    """Set the inputs of these names in every node that has them as a value (not as a link)."""
    for node in workflow.values():
        for name, value in values.items():
            if isinstance(node["inputs"].get(name), int):
                node["inputs"][name] = value


def set_input(workflow: Workflow, assignment: str) -> None:
    """Apply one NODE.INPUT=VALUE, where NODE is an id or a title; VALUE is JSON or plain text.

    Raises:
        ComfyError: the assignment cannot be read, or there is no such node or input.
    """
    place, equals, text = assignment.partition("=")
    wanted, dot, name = place.rpartition(".")
    if not equals or not dot:
        raise ComfyError(f"--set {assignment} cannot be read: write NODE.INPUT=VALUE such as 5.text=a dog")
    matches = [node for node_id, node in workflow.items() if wanted in (node_id, title(node))]
    if len(matches) != 1:
        known = ", ".join(f"{node_id} ({title(node)})" for node_id, node in workflow.items())
        raise ComfyError(
            f"--set names the node '{wanted}', of which there are {len(matches)}: use one of {known}"
        )
    if name not in matches[0]["inputs"]:
        known = ", ".join(matches[0]["inputs"])
        raise ComfyError(f"node '{wanted}' has no input '{name}': use one of {known}")
    try:
        matches[0]["inputs"][name] = json.loads(text)
    except json.JSONDecodeError:
        matches[0]["inputs"][name] = text


def title(node: dict[str, Any]) -> str:
    """What the page calls a node."""
    return node.get("_meta", {}).get("title") or node["class_type"]


def pictures(workflow: Workflow) -> list[Picture]:
    """Every picture file that the workflow names: entries of reference lists, and Load Image nodes."""
    found: list[Picture] = []
    for node_id, node in workflow.items():
        inputs = node["inputs"]
        if node["class_type"] == "MagrefLoadReferences":
            for index, entry in enumerate(reference_entries(node_id, inputs["references"])):
                if "file" in entry:
                    name = entry.get("name", Path(entry["file"]).stem)
                    found.append(
                        Picture(
                            name=name, file=entry["file"], node_id=node_id, input="references", index=index
                        )
                    )
        elif node["class_type"] == "LoadImage":
            found.append(
                Picture(name=title(node), file=inputs["image"], node_id=node_id, input="image", index=None)
            )
    return found


def reference_entries(node_id: str, text: Any) -> list[dict[str, Any]]:
    """The entries of a reference list; none where the list comes from another node.

    Raises:
        ComfyError: the text is no list of entries.
    """
    if not isinstance(text, str):
        return []
    try:
        entries = json.loads(text)
    except json.JSONDecodeError as error:
        raise ComfyError(
            f"the references of node {node_id} are not JSON ({error}): export them again"
        ) from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ComfyError(f"the references of node {node_id} are no list of entries: export them again")
    return entries


def find_picture(workflow: Workflow, name: str) -> Picture:
    """The picture of that name.

    Raises:
        ComfyError: the workflow has none, or more than one.
    """
    known = pictures(workflow)
    matches = [picture for picture in known if picture.name == name]
    if len(matches) == 1:
        return matches[0]
    names = ", ".join(picture.name for picture in known) or "none at all"
    raise ComfyError(f"the workflow has {len(matches)} pictures named '{name}': it has {names}")


def set_picture(workflow: Workflow, picture: Picture, file: str) -> None:
    """Let a picture be read from another file of the server's input folder."""
    inputs = workflow[picture.node_id]["inputs"]
    if picture.index is None:
        inputs[picture.input] = file
        return
    entries = json.loads(inputs[picture.input])
    entries[picture.index]["file"] = file
    inputs[picture.input] = json.dumps(entries)


def missing_nodes(workflow: Workflow, object_info: dict[str, Any]) -> list[str]:
    """Node types that the server does not know."""
    return sorted({node["class_type"] for node in workflow.values()} - set(object_info))


def missing_models(workflow: Workflow, object_info: dict[str, Any]) -> list[MissingModel]:
    """Model files that the server does not offer to the nodes that name them."""
    return [
        MissingModel(
            node_id=node_id,
            class_type=node["class_type"],
            input=name,
            file=value,
            choices=() if is_demo_file(value) else tuple(filter(is_ordinary_model_file, choices)),
        )
        for node_id, node in workflow.items()
        for name, value in node["inputs"].items()
        if is_model_file(value)
        for choices in offered(object_info[node["class_type"]], name)
        if value not in choices
    ]


def is_model_file(value: Any) -> bool:
    """Whether a value names a model file (and not, say, the built-in choice of a loader)."""
    return isinstance(value, str) and value.lower().endswith(MODEL_SUFFIXES)


def is_demo_file(value: Any) -> bool:
    """Whether a value names a file of the demo model."""
    return is_model_file(value) and value.startswith(DEMO_PREFIX)


def is_ordinary_model_file(value: Any) -> bool:
    """Whether a value names any other model file."""
    return is_model_file(value) and not value.startswith(DEMO_PREFIX)


def runs_demo_model(workflow: Workflow) -> bool:
    """Whether all model files that the workflow names are those of the demo model."""
    values = [value for node in workflow.values() for value in node["inputs"].values()]
    return any(map(is_demo_file, values)) and not any(map(is_ordinary_model_file, values))


def without_models(workflow: Workflow, class_types: Collection[str]) -> Workflow:
    """What the outputs of some types need, where that names no model file; empty if each needs one.

    GrabCut stands in for the masks that other nodes hand to MAGREF Auto Mask Subject.
    """
    changed = {
        node_id: {**node, "inputs": _cut_out_alone(node["inputs"])} if node["class_type"] == CUT_OUT else node
        for node_id, node in workflow.items()
    }
    kept: set[str] = set()
    for node_id, node in changed.items():
        needed = _upstream(changed, node_id)
        values = [value for each in needed for value in changed[each]["inputs"].values()]
        if node["class_type"] in class_types and not any(map(is_model_file, values)):
            kept |= needed
    return {node_id: node for node_id, node in changed.items() if node_id in kept}


def _cut_out_alone(inputs: dict[str, Any]) -> dict[str, Any]:
    if "mask" not in inputs:
        return inputs
    return {name: value for name, value in inputs.items() if name != "mask"} | {"method": "grabcut"}


def _upstream(workflow: Workflow, node_id: str) -> set[str]:
    """The node and all before it."""
    found, waiting = set[str](), [node_id]
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting += [link[0] for link in workflow[current]["inputs"].values() if isinstance(link, list)]
    return found


def offered(node_info: dict[str, Any], name: str) -> Iterator[tuple[str, ...]]:
    """The list of choices of an input, if it has one; the host writes it in two ways."""
    for group in ("required", "optional"):
        spec = node_info["input"].get(group, {}).get(name)
        if spec and isinstance(spec[0], list):
            yield tuple(spec[0])
        elif spec and spec[0] == "COMBO":
            yield tuple(spec[1].get("options", ()))


def fit_models(workflow: Workflow, object_info: dict[str, Any]) -> list[MissingModel]:
    """Where the server has exactly one file for a loader, use that one; returns what was replaced.

    Files of the demo model stand in for nothing, and nothing for them.

    Raises:
        ComfyError: some loader has no file to choose from, or several.
    """
    missing = missing_models(workflow, object_info)
    if hopeless := [model for model in missing if len(model.choices) != 1]:
        raise ComfyError(describe_missing(hopeless))
    for model in missing:
        workflow[model.node_id]["inputs"][model.input] = model.choices[0]
    return missing


def describe_missing(missing: list[MissingModel]) -> str:
    """One line per model file: which, where it goes, what is there instead."""
    lines = ["the server lacks model files that the workflow names:"]
    for model in missing:
        if is_demo_file(model.file):
            lines.append(
                f"  {model.file}: restore the folder models/demo of ComfyUI-MAGREF, for instance by "
                "installing the pack again"
            )
            continue
        folder = MODEL_FOLDERS.get(model.class_type)
        where = f"put it into ComfyUI/models/{folder}" if folder else f"it belongs to {model.class_type}"
        there = ", ".join(model.choices) or "nothing"
        lines.append(
            f"  {model.file}: {where}, or use --set {model.node_id}.{model.input}=FILE (there: {there})"
        )
    return "\n".join(lines)
