"""What a person sees of every node: its texts, its help page, and the files that record them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from magref_pack.nodes import NODES
from PIL import Image

from scripts.surface import differing, files_of, is_file_list

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "web" / "docs"
SECTIONS = ["Inputs", "Outputs", "When it fails", "Source"]
SCHEMAS = {node.GET_SCHEMA().node_id: node.GET_SCHEMA() for node in NODES}
COMPILED_CHARACTERS = set("@{}|%")
"""Syntax in the names and descriptions of a locale; tooltips are shown as they are."""
MIN_LENGTH = 15
"""Characters without its values from which on a text counts as a sentence."""
UNSPOKEN_MAX = 2**32
"""Above it a limit is that of the number format, not of the node."""

each_node = pytest.mark.parametrize("node_id", SCHEMAS)


@cache
def page(node_id: str) -> str:
    return (DOCS / f"{node_id}.md").read_text(encoding="utf-8")


def section(node_id: str, title: str) -> str:
    after = page(node_id).split(f"\n## {title}\n")[1]
    return after.split("\n## ")[0].strip()


def bullets(node_id: str, title: str) -> dict[str, str]:
    """Name -> text of its list item, in order."""
    items = re.split(r"^- ", section(node_id, title), flags=re.MULTILINE)[1:]
    matches = [re.match(r"`(\w+)`: (.+)", item, re.DOTALL) for item in items]
    assert all(matches), f"{node_id}: each item under {title} starts with - `name`: and its text"
    return {match[1]: match[2] for match in matches if match}


@cache
def sentences() -> list[re.Pattern[str]]:
    """Every text in the sources that is long enough for a sentence, with any value in its gaps."""
    found = []
    for file in [*ROOT.glob("nodes/*.py"), *ROOT.glob("magref_core/**/*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            texts = list(pieces(node))
            if sum(len(text) for text in texts if text) > MIN_LENGTH:
                found.append(
                    re.compile("".join(".+?" if text is None else re.escape(text) for text in texts))
                )
    return found


def pieces(node: ast.AST) -> Iterator[str | None]:
    """The fixed parts of a text, and None for each value between them."""
    if isinstance(node, ast.JoinedStr):
        for part in node.values:
            yield from pieces(part)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        yield from pieces(node.left)
        yield from pieces(node.right)
    else:
        yield node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


@pytest.mark.parametrize("name", ["node_surface.json", "nodeDefs.json", "main.json"])
def test_the_recorded_file_equals_the_nodes(name):
    files = {path: text for path, text in files_of(NODES).items() if path.name == name}
    assert len(files) == 1
    assert not differing(files), "run `python scripts/surface.py` and look at what it changes"


def test_lists_of_files_are_told_from_lists_of_choices():
    assert is_file_list([]) and is_file_list(["a.safetensors", "b/c.gguf"])
    assert not is_file_list(["unipc", "dpm++", "euler"])


@each_node
def test_a_node_has_a_name_a_category_and_a_description(node_id):
    schema = SCHEMAS[node_id]
    assert re.fullmatch(r"Magref[A-Z]\w+", node_id)
    assert re.fullmatch(r"MAGREF( [A-Z][A-Za-z]+)+", schema.display_name)
    assert schema.display_name.replace(" ", "").lower() == node_id.lower()
    assert re.fullmatch(r"MAGREF/[a-z]+", schema.category)
    assert schema.description.endswith(".")


@each_node
def test_every_input_tells_its_effect(node_id):
    for given in SCHEMAS[node_id].inputs:
        template = getattr(given, "template", None)
        tooltip = given.tooltip or (template and template.input.tooltip) or ""
        assert len(tooltip) > 15 and tooltip.endswith("."), given.id


@each_node
def test_every_output_has_an_id_and_a_name(node_id):
    outputs = SCHEMAS[node_id].outputs
    assert all(output.id and output.display_name for output in outputs)
    assert len({output.id for output in outputs}) == len(outputs) > 0


@each_node
def test_names_and_descriptions_hold_nothing_that_the_browser_would_compile(node_id):
    schema = SCHEMAS[node_id]
    names = [given.display_name or given.id for given in [*schema.inputs, *schema.outputs]]
    assert not COMPILED_CHARACTERS & set("".join([schema.display_name, schema.description, *names]))


def test_each_node_has_a_help_page_and_a_picture_and_there_are_no_others():
    assert {file.stem for file in DOCS.glob("*.md")} == set(SCHEMAS)
    assert {file.name for file in (DOCS / "img").iterdir()} == {f"{node_id}.png" for node_id in SCHEMAS}


@each_node
def test_a_help_page_has_its_title_sentence_picture_and_sections(node_id):
    title, sentence, picture = page(node_id).split("\n\n")[:3]
    assert title == f"# {SCHEMAS[node_id].display_name}"
    assert sentence.endswith(".") and "\n" not in sentence
    assert re.fullmatch(rf"!\[.{{15,}}\]\(img/{node_id}\.png\)", picture)
    assert re.findall(r"^## (.+)$", page(node_id), re.MULTILINE) == SECTIONS
    assert "fficial program" in section(node_id, "Source")


@each_node
def test_a_help_page_has_no_link_that_the_browser_would_look_for_beside_the_graph(node_id):
    links = re.findall(r"(?<!!)\[[^\]]*\]\(([^)]+)\)", page(node_id))
    assert all(link.startswith("https://") for link in links)


@each_node
def test_the_picture_of_a_node_is_large_enough_to_be_read(node_id):
    with Image.open(DOCS / "img" / f"{node_id}.png") as picture:
        picture.load()
        assert picture.width >= 400 and picture.height >= 150
        assert picture.convert("L").getextrema() != (0, 0)


@each_node
def test_a_help_page_names_every_input_and_output_in_their_order(node_id):
    schema = SCHEMAS[node_id]
    assert list(bullets(node_id, "Inputs")) == [given.id for given in schema.inputs]
    assert list(bullets(node_id, "Outputs")) == [given.id for given in schema.outputs]


@each_node
def test_a_help_page_states_ranges_defaults_and_choices(node_id):
    texts = bullets(node_id, "Inputs")
    for given in SCHEMAS[node_id].inputs:
        text, default = texts[given.id], getattr(given, "default", None)
        if (options := getattr(given, "options", None)) and not is_file_list(options):
            assert all(f"`{option}`" in text for option in options), given.id
            assert f"`{default or options[0]}` (the default" in text, given.id
        elif isinstance(default, bool):
            assert f"{'yes' if default else 'no'} unless changed" in text, given.id
        elif isinstance(default, int | float):
            assert f"{default:g} unless changed" in text, given.id
            if given.max < UNSPOKEN_MAX:
                assert f"{shown(given.min)} to {shown(given.max)}" in text, given.id


def shown(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


@each_node
def test_a_help_page_quotes_only_errors_that_the_pack_says(node_id):
    items = section(node_id, "When it fails").splitlines()
    quoted = [re.match(r"- \*\*(.+?)\*\*", item) for item in items]
    assert items and all(quoted), "each item under When it fails starts with - **the sentence**"
    for match in quoted:
        assert match and any(pattern.fullmatch(match[1]) for pattern in sentences()), match and match[1]
