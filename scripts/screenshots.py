"""Pictures of the nodes and workflows, taken from a real ComfyUI in Chromium.

python scripts/screenshots.py nodes       web/docs/img/<node_id>.png, one per node, for its help page
python scripts/screenshots.py workflows   docs/img/workflow_<name>_{classic,nodes2}.png
python scripts/screenshots.py workflows magref_demo   only this one; in the same way for nodes
python scripts/screenshots.py guide       docs/img/start_*.png, the steps of docs/getting-started.md

No released model is needed: empty files stand in for them, and only the canvas is computed.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts import ROOT, graph_page, workflow_edit
from scripts.browser import find_or_install, launch_arguments
from scripts.build_workflows import PICTURES, lay_out_models
from scripts.graph_page import Area
from scripts.host import Host, end_cleanly_on_terminate, use_host_python
from scripts.host_install import HostError
from scripts.workflow_specs import WORKFLOWS
from scripts.workflow_specs.files import CAT, DIT, LORA, TABLE, WOMAN

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NODE_PICTURES = ROOT / "web" / "docs" / "img"
WORKFLOW_PICTURES = ROOT / "docs" / "img"
NODE_PREFIX = "Magref"

OFFICIAL = "MAGREF/diffusion_pytorch_model.safetensors.index.json"

BINDER = "MagrefBindSubjects"
PROMPT = "@woman sits at the @tabel,\nand a"

UNSHOWN: dict[str, Any] = {
    "loader": {
        "class_type": "MagrefDiTLoader",
        "inputs": {"model": DIT.name, "precision": "default"},
    },
    "lora": {
        "class_type": "MagrefLoraLoader",
        "inputs": {"model": ["loader", 0], "lora": LORA.name, "strength": 1.0, "preset": "auto"},
    },
    "sampler": {
        "class_type": "MagrefSampler",
        "inputs": {
            "model": ["lora", 0],
            "steps": ["lora", 1],
            "shift": ["lora", 2],
            "guidance_scale": ["lora", 3],
        },
    },
    "profile": {
        "class_type": "MagrefSpeedProfile",
        "inputs": {
            "model": ["loader", 0],
            "profile": "balanced",
            "steps": 40,
            "shift": 3.0,
            "guidance_scale": 5.0,
            "attention": "as ComfyUI",
        },
    },
    "quick": {
        "class_type": "MagrefSampler",
        "inputs": {
            "model": ["profile", 0],
            "steps": ["profile", 1],
            "shift": ["profile", 2],
            "guidance_scale": ["profile", 3],
        },
    },
    "convert": {
        "class_type": "MagrefConvertModel",
        "inputs": {"model": OFFICIAL, "format": "fp8", "name": "", "overwrite": False},
    },
    "cast": {"class_type": "MagrefLoadReferences", "inputs": {"references": json.dumps([WOMAN, CAT, TABLE])}},
    "encoders": {"class_type": "MagrefDemoEncoders", "inputs": {}},
    "binder": {
        "class_type": BINDER,
        "inputs": {"clip": ["encoders", 0], "references": ["cast", 0], "prompt": PROMPT},
    },
}
"""A graph, in API format, with the nodes that no shipped workflow has."""

DENSITY = 2
"""Pixels of a picture for each CSS pixel."""
NODE_MARGIN = 28
NODE_WIDTH = 360
"""The least; file names need it."""
NODE_SIZES = {BINDER: (460, 330), "MagrefLoadReferences": (420, 380)}
"""The least of single nodes: room for the open list above the line of chips, and for every card."""
WORKFLOW_MARGIN = 40
WORKFLOW_WIDTH = 2000
"""Of the picture, in pixels."""

PICTURES_SHOWN = """ids => app.graph.nodes
    .filter(node => ids.includes(String(node.id)) && app.nodeOutputs[node.id]?.images?.length)
    .map(node => LiteGraph.vueNodesMode
        ? [...document.querySelectorAll(`[data-node-id="${node.id}"] img[src]`)] : node.imgs)
    .every(images => images?.length && images.every(image => image.complete && image.naturalWidth))"""

ISOLATE = """([id, gap, least]) => {
    const node = app.graph.getNodeById(id)
    node.setSize(least.map((side, axis) => Math.max(side, node.size[axis])))
    const others = slots => [...new Set(slots)].map(other => app.graph.getNodeById(other))
    const linked = ids => ids.filter(link => link != null).map(link => app.graph.links.get(link))
    const before = others(linked((node.inputs ?? []).map(slot => slot.link)).map(link => link.origin_id))
    const after = others(linked((node.outputs ?? []).flatMap(slot => slot.links)).map(link => link.target_id))
    const kept = new Set([node, ...before, ...after])
    const sources = [...before]
    while (sources.length) {
        const inputs = sources.pop().inputs ?? []
        const found = others(linked(inputs.map(slot => slot.link)).map(link => link.origin_id))
        for (const other of found.filter(other => !kept.has(other))) {
            kept.add(other)
            sources.push(other)
            other.pos = [node.pos[0] - 5000, other.pos[1]]
        }
    }
    for (const other of [...app.graph.nodes]) if (!kept.has(other)) app.graph.remove(other)
    const stack = (column, x) => {
        let y = node.pos[1]
        for (const other of column) {
            other.pos = [x(other), y]
            y += other.size[1] + gap
        }
    }
    stack(before, other => node.pos[0] - gap - other.size[0])
    stack(after, () => node.pos[0] + node.size[0] + gap)
}"""


def shipped_workflows(folder: str) -> dict[str, dict[str, Any]]:
    """Name -> workflow; in UI format from "workflows", in API format from "workflows/api"."""
    files = sorted((ROOT / folder).glob("*.json"))
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}


@contextmanager
def photo_studio(host: Host) -> Iterator[tuple[str, Browser]]:
    """The address of a server with the photographs and stand-in models, and a browser."""
    from playwright.sync_api import sync_playwright

    from scripts.host_server import Server

    chromium = find_or_install()
    if chromium is None:
        raise HostError("no Chromium can be had: install one, or set CHROMIUM_PATH")
    with tempfile.TemporaryDirectory(prefix="magref-pictures-") as folder:
        base = Path(folder)
        shutil.copytree(PICTURES, base / "input")
        lay_out_models(base / "models", (model for workflow in WORKFLOWS for model in workflow.models))
        with Server(host, base=base) as server, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=launch_arguments())
            yield server.url, browser


def open_page(browser: Browser, url: str, *, nodes2: bool) -> Page:
    """An empty graph without panels around it."""
    context = browser.new_context(
        viewport={"width": 1600, "height": 1400}, device_scale_factor=DENSITY, locale="en-US"
    )
    page = context.new_page()
    graph_page.open_graph(page, url, nodes2=nodes2)
    graph_page.hide_panels(page)
    return page


def compute_canvas(page: Page) -> None:
    """Run the outputs that need no model, so that their pictures are seen."""
    runnable = workflow_edit.without_models(graph_page.to_prompt(page), ["SaveImage", "PreviewImage"])
    if runnable:
        kind, detail = graph_page.run_prompt(page, runnable)
        if kind != "execution_success":
            raise HostError(f"the canvas could not be computed: {kind}, {json.dumps(detail)[:500]}")


def wait_for_pictures(page: Page, node_ids: list[str]) -> None:
    """Wait until nodes show the pictures that they were sent; the classic canvas loads those in view."""
    page.wait_for_function(PICTURES_SHOWN, arg=node_ids)
    graph_page.settle(page)


def take(page: Page, area: Area, file: Path) -> None:
    """Save what the page shows in `area`."""
    from PIL import Image

    clip = {"x": area.x, "y": area.y, "width": area.width, "height": area.height}
    shot = Image.open(io.BytesIO(page.screenshot(clip=clip)))  # pyright: ignore[reportArgumentType]
    file.parent.mkdir(parents=True, exist_ok=True)
    shot.convert("RGB").save(file, optimize=True)
    print(
        f"{file.relative_to(ROOT)}: {shot.width} x {shot.height}, {file.stat().st_size / 1000:.0f} kB",
        flush=True,
    )


def offer_names(page: Page) -> None:
    """Begin a name in the prompt of MAGREF Bind Subjects, so that the list of names opens."""
    box = page.locator("textarea:has(+ .magref-mirror)")
    box.press("Control+End")
    box.press_sequentially(" @")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.magref-face')].every(one => one.complete && one.naturalWidth)"
    )
    page.evaluate("() => app.canvas.deselectAll()")
    graph_page.settle(page)


def take_nodes(browser: Browser, url: str, names: Collection[str]) -> None:
    """One picture of each node of ours, as it stands in the first workflow that has it, the demo's last."""
    page, taken = open_page(browser, url, nodes2=False), set[str]()
    shipped = sorted(shipped_workflows("workflows/api").values(), key=workflow_edit.runs_demo_model)
    for workflow in (*shipped, UNSHOWN):
        for node_id, node in workflow.items():
            kind = node["class_type"]
            if not kind.startswith(NODE_PREFIX) or kind in taken or (names and kind not in names):
                continue
            if kind == BINDER and workflow is not UNSHOWN:
                continue  # its prompt there has nothing to mend
            taken.add(kind)
            graph_page.show_workflow(page, workflow)
            compute_canvas(page)
            least = NODE_SIZES.get(kind, (NODE_WIDTH, 0))
            page.evaluate(ISOLATE, [node_id, 3 * NODE_MARGIN, least])
            graph_page.look_at(page, graph_page.node_area(page, node_id))
            wait_for_pictures(page, [node_id])  # the node grows with its picture
            area = graph_page.look_at(page, graph_page.node_area(page, node_id).grown(NODE_MARGIN))
            if kind == BINDER:
                offer_names(page)
            take(page, area, NODE_PICTURES / f"{kind}.png")
    page.context.close()


def take_workflows(browser: Browser, url: str, names: Collection[str]) -> None:
    """Two pictures of each shipped workflow: the classic canvas and Nodes 2.0."""
    for mode, nodes2 in (("classic", False), ("nodes2", True)):
        page = open_page(browser, url, nodes2=nodes2)
        for name, workflow in shipped_workflows("workflows").items():
            if names and name not in names:
                continue
            graph_page.show_workflow(page, workflow)
            compute_canvas(page)
            graph_page.look_at(page, graph_page.graph_area(page), scale=0.2)
            wait_for_pictures(page, list(graph_page.to_prompt(page)))
            whole = graph_page.graph_area(page).grown(WORKFLOW_MARGIN)
            scale = WORKFLOW_WIDTH / DENSITY / whole.width
            # Room around it, where the page keeps its menu button.
            size = {"width": int(whole.width * scale) + 200, "height": int(whole.height * scale) + 200}
            page.set_viewport_size(size)  # pyright: ignore[reportArgumentType]
            graph_page.settle(page)
            area = graph_page.look_at(page, whole, scale=scale)
            take(page, area, WORKFLOW_PICTURES / f"workflow_{name}_{mode}.png")
        page.context.close()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=("nodes", "workflows", "guide"), help="all if left out")
    parser.add_argument("names", nargs="*", metavar="NAME", help="of nodes or workflows; all if left out")
    arguments = parser.parse_args()
    what, names = arguments.what, arguments.names
    end_cleanly_on_terminate()
    with photo_studio(use_host_python()) as (url, browser):
        if what in (None, "nodes"):
            take_nodes(browser, url, names)
        if what in (None, "workflows"):
            take_workflows(browser, url, names)
        if what in (None, "guide"):
            from scripts.guide_pictures import take_guide

            take_guide(browser, url)


if __name__ == "__main__":
    try:
        main()
    except HostError as error:
        raise SystemExit(f"error: {error}") from error
