"""The graph of the demo built by hand, stage by stage, from an empty canvas; tests and pictures use it.

It is made for a page of 1600 x 1000 CSS pixels. Each stage is what docs/getting-started.md tells to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts import graph_hands as hands
from scripts import graph_page
from scripts.build_workflows import PICTURES
from scripts.workflow_specs.files import (
    BEACH,
    DEMO_CLIP_VISION,
    DEMO_DIT,
    DEMO_TEXT_ENCODER,
    DEMO_VAE,
    FOX,
    ROBOT,
)

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

SCALE = 0.55
"""The graph is drawn smaller than this, so that all of it fits on the page."""
MIDDLE, EMPTY = (830, 500), (1450, 850)
"""Where the wheel is turned, and a place where no node lies."""

NODES = {
    "dit": ("MAGREF DiT Loader", (180, 130)),
    "encoders": ("MAGREF Demo Encoders", (180, 225)),
    "vae": ("Load VAE", (180, 330)),
    "references": ("MAGREF Load References", (180, 430)),
    "canvas": ("MAGREF Build Masked Canvas", (450, 130)),
    "prompt": ("CLIP Text Encode (Prompt)", (740, 130)),
    "negative": ("CLIP Text Encode (Prompt)", (740, 285)),
    "guidance": ("MAGREF Apply Masked Guidance", (740, 440)),
    "preview": ("Preview Image", (740, 640)),
    "sampler": ("MAGREF Sampler", (980, 130)),
    "decode": ("MAGREF Decode Video", (980, 400)),
    "video": ("Save Video", (1220, 130)),
}
"""Key -> title, and where on the page the middle of its title bar comes to lie."""

LINKS = (
    ("references", "references", "canvas", "references"),
    ("encoders", "clip", "prompt", "clip"),
    ("encoders", "clip", "negative", "clip"),
    ("prompt", "CONDITIONING", "guidance", "positive"),
    ("negative", "CONDITIONING", "guidance", "negative"),
    ("vae", "VAE", "guidance", "vae"),
    ("encoders", "clip_vision", "guidance", "clip_vision"),
    ("canvas", "canvas", "guidance", "canvas"),
    ("canvas", "image", "preview", "images"),
    ("dit", "model", "sampler", "model"),
    ("guidance", "positive", "sampler", "positive"),
    ("guidance", "negative", "sampler", "negative"),
    ("guidance", "latent", "sampler", "latent"),
    ("sampler", "latent", "decode", "latent"),
    ("vae", "VAE", "decode", "vae"),
    ("decode", "video", "video", "video"),
)
"""From node and output to node and input."""

MODELS = (
    ("dit", "model", DEMO_DIT),
    ("encoders", "text_encoder", DEMO_TEXT_ENCODER),
    ("encoders", "clip_vision", DEMO_CLIP_VISION),
    ("vae", "vae_name", DEMO_VAE),
)
PROMPT = "a robot on the left waves and a fox on the right jumps, on the beach"
NUMBERS: dict[tuple[str, str], float] = {
    ("canvas", "width"): 96,
    ("canvas", "height"): 64,
    ("guidance", "length"): 17,
    ("sampler", "steps"): 20,
    ("sampler", "guidance_scale"): 1,
    ("sampler", "seed"): 7,
    ("decode", "fps"): 8,
    ("decode", "drop_frames"): 1,
}
"""What the demo's model needs."""
SUBJECTS = (ROBOT, FOX, BEACH)
GALLERY_GROWS = (20, 90)
"""By how many CSS pixels the gallery is made larger, so that three cards show."""


def add_nodes(page: Page) -> dict[str, str]:
    """All nodes by double-click and search; their ids by key."""
    hands.zoom_out(page, SCALE, MIDDLE)
    return {key: hands.add_node(page, title, at, empty=EMPTY) for key, (title, at) in NODES.items()}


def link_nodes(page: Page, ids: dict[str, str]) -> None:
    """All links, dragged from socket to socket."""
    for origin, output, target, name in LINKS:
        hands.link(page, (ids[origin], output), (ids[target], name))


def choose_models(page: Page, ids: dict[str, str]) -> None:
    """The demo's files, from the lists of the loaders."""
    for key, name, file in MODELS:
        hands.choose(page, ids[key], name, file)


def add_pictures(page: Page, ids: dict[str, str]) -> None:
    """Three pictures by the file dialog; names and kinds by keyboard."""
    hands.grow(page, ids["references"], GALLERY_GROWS)
    gallery = seen_gallery(page)
    opener = gallery.get_by_role("button", name="Add pictures")
    hands.choose_files(page, opener, [PICTURES / subject["file"] for subject in SUBJECTS])
    cards = gallery.locator(".magref-card")
    cards.nth(len(SUBJECTS) - 1).wait_for()
    for card, subject in zip(cards.all(), SUBJECTS, strict=True):
        card.locator(".magref-name").click()
        page.keyboard.press("Control+a")
        page.keyboard.type(subject["name"])
        page.keyboard.press("Tab")
        page.keyboard.press(subject["kind"][0])
    page.keyboard.press("Tab")
    graph_page.settle(page)


def write_prompt(page: Page, ids: dict[str, str]) -> None:
    """What shall happen."""
    hands.type_text(page, ids["prompt"], "text", PROMPT)


def enter_numbers(page: Page, ids: dict[str, str], numbers: dict[tuple[str, str], float]) -> None:
    """Numbers by (key of the node, widget)."""
    hands.show_advanced(page, ids["decode"])
    for (key, name), value in numbers.items():
        hands.enter(page, ids[key], name, value)


def move_picture(page: Page, start: hands.Point, end: hands.Point) -> None:
    """Drag on the canvas of the editor, from and to shares (0 to 1) of its width and height."""
    area = page.locator(".magref-editor-picture").bounding_box()
    assert area is not None
    points = ((area["x"] + x * area["width"], area["y"] + y * area["height"]) for x, y in (start, end))
    hands.drag(page, *points)


def seen_gallery(page: Page) -> Locator:
    """The only gallery that is seen."""
    return page.get_by_test_id("magref-gallery").filter(visible=True)
