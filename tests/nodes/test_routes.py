"""POST /magref/preview, over HTTP, without the rest of the server."""

from __future__ import annotations

import asyncio
import base64
import json
from io import BytesIO
from types import SimpleNamespace

import folder_paths
import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from magref_pack.nodes import routes
from magref_pack.nodes.canvas import BuildMaskedCanvas
from magref_pack.nodes.references import LoadReferences
from PIL import Image
from server import PromptServer

ALICE = {"file": "alice.png", "name": "alice", "kind": "person"}
CUP = {"file": "cup.png", "name": "cup"}
SMALL = {"width": 64, "height": 32}
NINES = "9" * 4300
HUGE_BOX = (
    '{"version": 1, "placements": [{"reference": "alice", "y": 0, "height": 8, '
    f'"x": {NINES}, "width": {NINES}}}]}}'
)
"""Numbers of as many digits as Python reads, whose sum it cannot write."""


@pytest.fixture(autouse=True)
def input_folder(tmp_path, monkeypatch):
    folder = tmp_path / "input"
    folder.mkdir()
    monkeypatch.setattr(folder_paths, "get_input_directory", lambda: str(folder))
    draw = np.random.default_rng(0)
    for name in ("alice", "cup"):
        Image.fromarray(draw.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    return folder


def post(body, *, chunked=False, headers=None):
    """Status and JSON of the answer; a dict is sent as JSON, anything else as it is."""
    data = json.dumps(body).encode() if isinstance(body, dict | list) else body

    async def pieces():
        for start in range(0, len(data), 2**16):
            yield data[start : start + 2**16]

    async def ask():
        app = web.Application(client_max_size=2**30)
        app.router.add_post(routes.PREVIEW, routes.Previewer().handle)
        async with TestClient(TestServer(app)) as client:
            sent = pieces() if chunked else data
            async with client.post(routes.PREVIEW, data=sent, headers=headers) as answer:
                return answer.status, await answer.json()

    return asyncio.run(ask())


def refusal(body, status=400, **options):
    """The sentence of an answer that is no preview."""
    found, answer = post(body, **options)
    assert found == status and list(answer) == ["error"]
    assert "\n" not in answer["error"] and "Traceback" not in answer["error"]
    return answer["error"]


def picture(url):
    kind, content = url.split(",")
    assert kind == "data:image/png;base64"
    return np.array(Image.open(BytesIO(base64.b64decode(content))))


@pytest.mark.parametrize("order", ["official", "reading", "fitted", "grouped", "behind"])
@pytest.mark.parametrize("seed", [0, 3])
def test_the_route_and_the_node_make_the_same_canvas_and_report(order, seed):
    status, answer = post({"references": [ALICE, CUP], "order": order, "layout_seed": seed, **SMALL})
    given = LoadReferences.execute(json.dumps([ALICE, CUP])).args[0]
    node = BuildMaskedCanvas.execute(given, 64, 32, order, seed, "rectangle", "#ffffff", "")
    assert status == 200 and answer["report"] == json.loads(node.args[3])
    assert (picture(answer["views"]["canvas"]) == node.args[0].image.numpy()).all()
    names = [reference.name for reference in node.args[0].references]
    assert answer["placements"] == [
        {
            "reference": names[placed.reference],
            "x": placed.box.x,
            "y": placed.box.y,
            "width": placed.box.width,
            "height": placed.box.height,
        }
        for placed in node.args[0].placements
    ]
    assert list(answer["views"]) == ["canvas", "mask", "latent_mask", "clip"]


def test_the_defaults_are_those_of_the_node():
    answer = post({"references": [ALICE]})[1]
    inputs = {item.id: getattr(item, "default", None) for item in BuildMaskedCanvas.GET_SCHEMA().inputs}
    del inputs["references"]
    full = post({"references": [ALICE], **inputs})[1]
    assert full == answer and (answer["report"]["width"], answer["report"]["height"]) == (832, 480)


def test_the_placements_that_come_back_can_be_given_back():
    first = post({"references": [ALICE, CUP], "order": "fitted", **SMALL})[1]
    text = json.dumps({"version": 1, "placements": first["placements"]})
    again = post({"references": [ALICE, CUP], "placements": text, **SMALL})[1]
    assert again["placements"] == first["placements"] and again["views"] == first["views"]


def test_photos_of_a_subject_are_placed_and_what_is_switched_off_is_not(input_folder):
    Image.new("RGB", (20, 30)).save(input_folder / "side.png")
    several = {**ALICE, "photos": ["side.png"], "keep_whole": True}
    status, answer = post({"references": [several, {**CUP, "off": True}], **SMALL})
    assert status == 200
    assert [placed["reference"] for placed in answer["placements"]] == ["alice", "alice 2"]
    assert {found["subject"] for found in answer["report"]["subjects"]} == {"alice"}
    sentence = refusal({"references": [{**ALICE, "off": True}], **SMALL})
    assert "all references are switched off" in sentence


def test_the_prompt_is_searched_for_names():
    answer = post({"references": [ALICE, CUP], "prompt": "alice waves", **SMALL})[1]
    missing = [
        found["reference"] for found in answer["report"]["findings"] if found["code"] == "name_missing"
    ]
    assert missing == ["cup"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "the body is not JSON"),
        (b"\xff\xfe\x00", "the body is not JSON"),
        (b"{", "the body is not JSON"),
        (b"[" * 200_000, "the body is nested too deeply: send an object such as"),
        ([ALICE], "the body is a list, but an object is needed: send one such as"),
        ({}, "the body has no list 'references': send an object such as"),
        ({"references": "alice.png"}, "the body has no list 'references'"),
        ({"references": []}, "at least one picture is needed: write an entry such as"),
        (
            {"references": [ALICE], "seed": 3},
            "the body has the field 'seed': use only references, width, height",
        ),
        ({"references": [ALICE], "width": 250, "height": 144}, "use 256 x 144"),
        ({"references": [ALICE], "width": 8192}, "no side may be over 4096: use a smaller size"),
        ({"references": [ALICE], "width": -16}, "both sides must be multiples of 16: use 16 x 480"),
        ({"references": [ALICE], "width": "832"}, "width is '832', but a whole number is needed"),
        ({"references": [ALICE], "height": 480.0}, "height is 480.0, but a whole number is needed"),
        ({"references": [ALICE], "height": float("nan")}, "height is nan, but a whole number is needed"),
        ({"references": [ALICE], "width": True}, "width is True, but a whole number is needed"),
        (
            {"references": [ALICE], "layout_seed": -1},
            "layout_seed is -1: use a whole number from 0 to 4294967295",
        ),
        ({"references": [ALICE], "layout_seed": 2**32}, "layout_seed is 4294967296: use a whole number"),
        (
            {"references": [ALICE], "order": "rows"},
            "order is 'rows': use one of official, reading, fitted, grouped, behind",
        ),
        ({"references": [ALICE], "order": None}, "order is None, but a text is needed: write it in quotes"),
        ({"references": [ALICE], "mask_shape": "oval"}, "mask_shape is 'oval': use one of rectangle, cutout"),
        ({"references": [ALICE], "background": "white"}, "use #ffffff for white"),
        (
            {"references": [ALICE], "background": ["#ffffff"]},
            "background is ['#ffffff'], but a text is needed",
        ),
        ({"references": [ALICE], "prompt": 3}, "prompt is 3, but a text is needed"),
        ({"references": [ALICE], "placements": {"version": 1}}, "but a text is needed"),
        ({"references": [ALICE], "placements": "{"}, "the placements are not JSON"),
        (
            {
                "references": [ALICE],
                "placements": '{"version": 1, "placements": [{"reference": "alice", "x": NaN}]}',
            },
            "has x nan, y None, width None, height None, but whole numbers of pixels are needed",
        ),
        (
            {"references": [ALICE], "placements": '{"version": 1, "placements": []}'},
            "reference 'alice' is placed 0 times",
        ),
        (
            {"references": [{"image": "image_1", "name": "a"}]},
            "a names the socket 'image_1', but no socket is",
        ),
        ({"references": [ALICE, ALICE]}, "two references are named"),
        ({"references": [{**ALICE, "name": "n" * 300}]}, "has 300 characters, but at most 64 are allowed"),
        (
            {"references": [{**ALICE, "kind": "ghost"}]},
            "alice is of kind 'ghost': use person, object, background",
        ),
        ({"references": [3]}, "reference 1 is 3, but"),
        (
            {"references": [{"file": "alice.png", "name": f"a{n}"} for n in range(129)]},
            "129 pictures are in use",
        ),
        (
            json.dumps({"references": [ALICE], "placements": HUGE_BOX}).encode(),
            "the box of 'alice' lies more than 1000000 pixels away or is as large",
        ),
    ],
)
def test_a_body_that_cannot_be_used_is_answered_with_one_sentence(body, sentence):
    assert sentence in refusal(body)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "a/../../secret.png", "..\\..\\secret.png"])
def test_a_path_outside_the_input_folder_is_refused(input_folder, name):
    Image.new("RGB", (8, 8)).save(input_folder.parent / "secret.png")
    sentence = refusal({"references": [{"file": name, "name": "a"}], **SMALL})
    assert "lies outside ComfyUI's input folder" in sentence or "is not in ComfyUI's input folder" in sentence
    assert str(input_folder) not in sentence


def test_a_link_that_leads_out_is_refused(input_folder):
    Image.new("RGB", (8, 8)).save(input_folder.parent / "secret.png")
    (input_folder / "link.png").symlink_to(input_folder.parent / "secret.png")
    sentence = refusal({"references": [{"file": "link.png", "name": "a"}], **SMALL})
    assert "lies outside ComfyUI's input folder" in sentence


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty (0 bytes): choose or export it again"),
        (b"this is no picture", "cannot be read (its format is unknown)"),
        (
            b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
            "is a drawing (SVG), not a picture",
        ),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "is a HEIC photo"),
    ],
)
def test_a_file_that_is_no_picture_is_refused(input_folder, content, sentence):
    (input_folder / "odd.png").write_bytes(content)
    assert sentence in refusal({"references": [{"file": "odd.png", "name": "a"}], **SMALL})


def test_a_missing_file_is_refused():
    assert "'gone.png' is not in ComfyUI's input folder" in refusal(
        {"references": [{"file": "gone.png", "name": "a"}]}
    )


@pytest.mark.parametrize("chunked", [False, True])
def test_a_huge_body_is_refused_whether_it_tells_its_length_or_not(chunked):
    body = json.dumps({"references": [ALICE], "prompt": "a" * 2**20}).encode()
    assert "the body is over 1 MiB" in refusal(body, status=413, chunked=chunked)


def test_a_body_of_just_under_1_mib_is_read():
    rest = len(json.dumps({"references": [ALICE], "prompt": "", **SMALL}))
    body = json.dumps({"references": [ALICE], "prompt": "a" * (2**20 - rest), **SMALL}).encode()
    assert len(body) == 2**20
    assert post(body)[0] == 200


def test_names_with_html_come_back_as_they_are():
    name = "<img src=x onerror=alert(1)>"
    answer = post({"references": [{**ALICE, "name": name}], **SMALL})[1]
    assert answer["report"]["subjects"][0]["reference"] == name


def test_the_route_is_registered_once(monkeypatch):
    server = SimpleNamespace(routes=web.RouteTableDef())
    monkeypatch.setattr(PromptServer, "instance", server, raising=False)
    routes.register_routes()
    routes.register_routes()
    assert [route.path for route in server.routes] == [routes.PREVIEW]


def test_without_a_server_there_is_no_route(monkeypatch):
    monkeypatch.delattr(PromptServer, "instance", raising=False)
    routes.register_routes()
