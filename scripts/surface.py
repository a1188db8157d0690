"""What saved workflows and translators rely on, written down from the nodes themselves.

python scripts/surface.py           write tests/node_surface.json and locales/en/*.json
python scripts/surface.py --check   only compare them; exit code 1 where they differ
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts import ROOT
from scripts.host import use_host_python
from scripts.host_install import HostError

SURFACE = ROOT / "tests" / "node_surface.json"
LOCALE = ROOT / "locales" / "en"
WORDS = "web/js/*/english.js"
"""Sentences of the pages, as a module whose only value is JSON."""
LIMITS = ("default", "min", "max", "step")
OWN_TYPE = "MAGREF_"


def surface_of(nodes: Iterable[Any]) -> dict[str, Any]:
    """Node id -> inputs and outputs, in the form that the host sends to the browser.

    A change here breaks or alters saved workflows; texts are left to the locale.
    """
    return {node.GET_SCHEMA().node_id: _node_surface(node) for node in nodes}


def _node_surface(node: Any) -> dict[str, Any]:
    inputs = node.INPUT_TYPES()
    return {
        "display_name": node.GET_SCHEMA().display_name,
        "category": node.GET_SCHEMA().category,
        "required": {name: _input_surface(*given) for name, given in inputs.get("required", {}).items()},
        "optional": {name: _input_surface(*given) for name, given in inputs.get("optional", {}).items()},
        "outputs": dict(zip(node.RETURN_NAMES, node.RETURN_TYPES, strict=True)),
        "is_output_node": bool(node.OUTPUT_NODE),
    }


def _input_surface(kind: str, options: dict[str, Any] | None = None) -> dict[str, Any]:
    options = options or {}
    found = {"type": kind} | {key: options[key] for key in LIMITS if key in options}
    choices = options.get("options", [])
    if not is_file_list(choices):
        found["options"] = list(choices)
    if template := options.get("template"):
        (socket,) = (given for group in template["input"].values() for given in group.values())
        found |= {"sockets": template["names"], "socket_type": socket[0]}
    return found


def is_file_list(choices: Iterable[Any]) -> bool:
    """Whether a combo lists files, which differ from machine to machine."""
    return all(Path(str(choice)).suffix for choice in choices if choice != "auto")


def node_texts(nodes: Iterable[Any]) -> dict[str, Any]:
    """The content of nodeDefs.json: every text of every node, under the keys by which the browser asks."""
    return {node.GET_SCHEMA().node_id: _texts_of(node.GET_SCHEMA()) for node in nodes}


def _texts_of(schema: Any) -> dict[str, Any]:
    return {
        "display_name": schema.display_name,
        "description": schema.description,
        "inputs": {key: _name_and_tooltip(given) for key, given in named_inputs(schema)},
        "outputs": {str(index): _name_and_tooltip(given) for index, given in enumerate(schema.outputs)},
    }


def named_inputs(schema: Any) -> Iterator[tuple[str, Any]]:
    """Inputs and, for those that grow, each of their sockets.

    The classic canvas looks a socket up as "images_image_1", with "_" for ".", and Nodes 2.0 as "image_1".
    """
    for given in schema.inputs:
        yield given.id, given
        if template := getattr(given, "template", None):
            for socket in template.get_all():
                yield f"{given.id}_{socket.id}", socket
                yield socket.id, socket


def _name_and_tooltip(given: Any) -> dict[str, str]:
    texts = {"name": given.display_name or given.id}
    return texts | ({"tooltip": given.tooltip} if given.tooltip else {})


def other_texts(nodes: Iterable[Any]) -> dict[str, Any]:
    """The content of main.json: the menu's categories, our link types, and the sentences of our widgets."""
    schemas = [node.GET_SCHEMA() for node in nodes]
    categories = {part for schema in schemas for part in schema.category.split("/")}
    sockets = [given for schema in schemas for given in [*schema.inputs, *schema.outputs]]
    types = {name for given in sockets for name in given.get_io_type().split(",")}
    return {
        "nodeCategories": {name: name for name in sorted(categories)},
        "dataTypes": {name: name for name in sorted(types) if name.startswith(OWN_TYPE)},
        "magref": {file.parent.name: page_words(file) for file in sorted(ROOT.glob(WORDS))},
    }


def page_words(file: Path) -> dict[str, str]:
    """Key -> sentence of one widget."""
    text = file.read_text(encoding="utf-8")
    return json.loads(text[text.index("{") : text.rindex("}") + 1])


def files_of(nodes: Iterable[Any]) -> dict[Path, str]:
    """Path -> the text it must have."""
    nodes = list(nodes)
    contents = {
        SURFACE: surface_of(nodes),
        LOCALE / "nodeDefs.json": node_texts(nodes),
        LOCALE / "main.json": other_texts(nodes),
    }
    return {
        path: json.dumps(content, indent=2, ensure_ascii=False) + "\n" for path, content in contents.items()
    }


def differing(files: dict[Path, str]) -> list[Path]:
    """The files that are missing or hold something else."""
    return [
        path for path, text in files.items() if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]


def load_nodes(source: Path) -> tuple[Any, ...]:
    """The pack's nodes, loaded as ComfyUI would, from the ComfyUI in `source` and without a server."""
    os.environ["COMFYUI_PATH"] = str(source)
    from tests.pack import load_pack

    return load_pack().nodes.NODES


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare only")
    check = parser.parse_args().check
    files = files_of(load_nodes(use_host_python().source))
    changed = differing(files)
    for path in changed:
        print(f"{'differs' if check else 'written'}: {path.relative_to(ROOT)}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path], encoding="utf-8", newline="\n")
    if not changed:
        print("surface and locale equal the nodes")
    if check and changed:
        raise SystemExit(
            "the nodes have changed: run `python scripts/surface.py` and look at what it changes"
        )


if __name__ == "__main__":
    try:
        main()
    except HostError as error:
        raise SystemExit(f"error: {error}") from error
