"""The shipped workflows, made in a real ComfyUI page as a person would and saved in both formats.

python scripts/build_workflows.py [NAME ...]    workflows/<name>.json and .jpg, workflows/api/<name>.json

Their contents lie in scripts/workflow_specs. No model is needed: empty files stand in for them.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts import ROOT, browser, graph_page, workflow_edit
from scripts.host import Host, end_cleanly_on_terminate, use_host_python
from scripts.host_install import HostError
from scripts.workflow_specs import WORKFLOWS
from scripts.workflow_specs.spec import GROUP_COLOURS, MARGIN, Box, ModelFile, Node, Workflow

if TYPE_CHECKING:
    from PIL.Image import Image
    from playwright.sync_api import Page

FOLDER = ROOT / "workflows"
PICTURES = ROOT / "workflows" / "pictures"

THUMBNAIL = 512
"""Its side in pixels; the template browser shows squares."""
FRAME, CORNER = 20, 14
DARK = (24, 25, 29)

MAKE_NODE = """([type, title, box, values, colours, models]) => {
    const node = LiteGraph.createNode(type)
    if (!node) throw new Error(`there is no node ${type}`)
    app.graph.add(node)
    if (title) node.title = title
    if (colours) [node.color, node.bgcolor] = colours
    if (models.length) node.properties.models = models
    for (const [name, value] of Object.entries(values)) {
        const widget = node.widgets?.find(w => w.name === name || !name)
        if (!widget) throw new Error(`${type} has no widget ${name}`)
        widget.value = value
        widget.callback?.(value, app.canvas, node)
    }
    node.pos = box.slice(0, 2)
    node.setSize(box.slice(2))
    return String(node.id)
}"""

LINK = """([origin, output, target, input, points]) => {
    const [from, to] = [origin, target].map(id => app.graph.getNodeById(id))
    const out = from.outputs.findIndex(slot => slot.name === output)
    const into = to.inputs.findIndex(slot => slot.name === input)
    if (out < 0) throw new Error(`${from.type} has no output ${output}`)
    if (into < 0) throw new Error(`${to.type} has no input ${input}`)
    const link = from.connect(out, to, into)
    if (!link) throw new Error(`${from.type} ${output} does not fit ${to.type} ${input}`)
    for (const point of points) app.graph.createReroute(point, link)
}"""

HAS_INPUT = "([id, name]) => app.graph.getNodeById(id).inputs.some(slot => slot.name === name)"

RESIZE = """([id, size]) => app.graph.getNodeById(id).setSize(size)"""

MAKE_GROUP = """([title, colour, box]) => {
    const group = new LiteGraph.LGraphGroup(title)
    group.color = colour
    group.pos = box.slice(0, 2)
    group.size = box.slice(2)
    app.graph.add(group)
}"""

SAVE = "async () => JSON.stringify(await app.graphToPrompt())"


def build(page: Page, workflow: Workflow) -> tuple[dict[str, Any], dict[str, Any]]:
    """Make the workflow on an empty graph; returns it in UI and in API format."""
    graph_page.show_workflow(page, graph_page.BLANK)
    ids: dict[str, str] = {}
    for group in workflow.groups:
        title, colour = f"{group.number} {group.title}", GROUP_COLOURS[group.number - 1]
        page.evaluate(MAKE_GROUP, [title, colour, workflow.frame(group)])
        for node in group.nodes:
            ids[node.key] = make_node(page, node, workflow.place(group, node))
    for node in (node for group in workflow.groups for node in group.nodes):
        for name, (origin, output) in node.links.items():
            points = [workflow.point(*point) for point in node.via.get(name, ())]
            page.wait_for_function(HAS_INPUT, arg=[ids[node.key], name])  # some grow with the one before
            page.evaluate(LINK, [ids[origin], output, ids[node.key], name, points])
        page.evaluate(RESIZE, [ids[node.key], node.box[2:]])
    graph_page.settle(page)
    saved = json.loads(page.evaluate(SAVE))
    return tidy(saved["workflow"], workflow.name), saved["output"]


def make_node(page: Page, node: Node, box: Box) -> str:
    """Make one node; returns its id."""
    models = [describe(node.model)] if node.model else []
    return page.evaluate(MAKE_NODE, [node.type, node.title, box, node.values, node.colours, models])


def describe(model: ModelFile) -> dict[str, str]:
    """A model in the form in which the page offers to download it."""
    return {"name": model.name, "url": model.url, "directory": model.folder}


def tidy(saved: dict[str, Any], name: str) -> dict[str, Any]:
    """A saved workflow without what differs from run to run; without a view, pages show the whole graph."""
    kept = {key: value for key, value in saved["extra"].items() if key in ("reroutes", "linkExtensions")}
    return saved | {"id": str(uuid.uuid5(uuid.NAMESPACE_URL, name)), "extra": kept}


def write_json(content: Any, file: Path) -> None:
    """Save it as the page does."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{file.relative_to(ROOT)}: {file.stat().st_size / 1000:.0f} kB", flush=True)


def compute_canvas(page: Page, prompt: dict[str, Any], output: Path) -> Image:
    """Run the graph as far as its canvas; returns the picture."""
    from PIL import Image

    kind, detail = graph_page.run_prompt(page, workflow_edit.without_models(prompt, ["SaveImage"]))
    if kind != "execution_success":
        raise HostError(f"the canvas could not be computed: {kind}, {json.dumps(detail)[:500]}")
    graph_page.look_at(page, graph_page.graph_area(page), scale=0.2)  # it loads pictures in view
    page.wait_for_function(
        "() => app.graph.nodes.some(node => node.type === 'SaveImage' && node.imgs?.[0]?.complete)"
    )
    graph_page.settle(page)
    return Image.open(max(output.glob("*.png"))).convert("RGB")


def photograph(page: Page) -> Image:
    """The whole graph."""
    from PIL import Image

    whole = graph_page.graph_area(page).grown(MARGIN)
    area = graph_page.look_at(page, whole, scale=min(1700 / whole.width, 960 / whole.height))
    clip = {"x": area.x, "y": area.y, "width": area.width, "height": area.height}
    return Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")  # pyright: ignore[reportArgumentType]


def thumbnail(canvas: Image, graph: Image) -> Image:
    """The canvas in large and the graph below, in a square."""
    from PIL import Image, ImageDraw

    square = Image.new("RGB", (THUMBNAIL, THUMBNAIL), DARK)
    top = FRAME
    for picture in (canvas, graph):
        width = THUMBNAIL - 2 * FRAME
        height = min(width * picture.height // picture.width, THUMBNAIL - FRAME - top)
        width = height * picture.width // picture.height
        mask = Image.new("L", (4 * width, 4 * height))
        ImageDraw.Draw(mask).rounded_rectangle((0, 0, 4 * width, 4 * height), 4 * CORNER, fill=255)
        place = ((THUMBNAIL - width) // 2, top)
        square.paste(
            picture.resize((width, height), Image.Resampling.LANCZOS), place, mask.resize((width, height))
        )
        top += height + FRAME
    return square


def lay_out_models(folder: Path, models: Iterable[ModelFile]) -> None:
    """Put an empty file in the place of each model, so that the loaders offer it."""
    for model in models:
        file = folder / model.folder / model.name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def build_all(host: Host, workflows: Iterable[Workflow]) -> None:
    """Start a server and a browser, and save each workflow with its picture."""
    from playwright.sync_api import sync_playwright

    from scripts.host_server import Server

    with tempfile.TemporaryDirectory(prefix="magref-workflows-") as folder:
        base = Path(folder)
        shutil.copytree(PICTURES, base / "input")
        lay_out_models(base / "models", (model for workflow in workflows for model in workflow.models))
        with Server(host, base=base) as server, sync_playwright() as playwright:
            chromium = playwright.chromium.launch(
                executable_path=browser.find(), args=browser.launch_arguments()
            )
            context = chromium.new_context(viewport={"width": 1800, "height": 1000}, locale="en-US")
            page = context.new_page()
            graph_page.open_graph(page, server.url)
            graph_page.hide_panels(page)
            for workflow in workflows:
                saved, prompt = build(page, workflow)
                write_json(saved, FOLDER / f"{workflow.name}.json")
                write_json(prompt, FOLDER / "api" / f"{workflow.name}.json")
                picture = thumbnail(compute_canvas(page, prompt, base / "output"), photograph(page))
                picture.save(FOLDER / f"{workflow.name}.jpg", quality=88, optimize=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = {workflow.name: workflow for workflow in WORKFLOWS}
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[[], *known], help="all if left out")
    names = parser.parse_args().names or list(known)
    end_cleanly_on_terminate()
    build_all(use_host_python(), [known[name] for name in names])


if __name__ == "__main__":
    try:
        main()
    except HostError as error:
        raise SystemExit(f"error: {error}") from error
