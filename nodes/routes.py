"""POST /magref/preview: the canvas and its report without a run, for the page and for users of the API."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, fields
from typing import Any, get_args

import torch
from aiohttp import web
from server import PromptServer

from ..magref_core.canvas.compose import MaskShape
from ..magref_core.canvas.layout import placements_to_json
from ..magref_core.canvas.placing import LayoutOrder
from ..magref_core.canvas.views import ViewKind, draw_views
from ..magref_core.errors import MagrefError
from .entries import load_files
from .pictures import data_url
from .preview import MAX_SEED, CanvasSettings, build_canvas, report_on

PREVIEW = "/magref/preview"
MAX_BODY = 2**20
"""Bytes."""
EXAMPLE = (
    '{"references": [{"file": "alice.png", "name": "alice", "kind": "person"}], "width": 832, "height": 480}'
)

_TEXTS = ("order", "mask_shape", "background", "placements")
_CHOICES = {"order": get_args(LayoutOrder), "mask_shape": get_args(MaskShape)}


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviewRequest:
    """What a body asks for."""

    references: str
    """JSON list as MAGREF Load References takes it, with files only."""
    settings: CanvasSettings
    prompt: str


def register_routes() -> None:
    """Add the route to the host's server, unless there is no server or it has the route already."""
    server = getattr(PromptServer, "instance", None)
    if server is None:
        return
    known = {route.path for route in server.routes if isinstance(route, web.RouteDef)}
    if PREVIEW not in known:
        server.routes.post(PREVIEW)(Previewer().handle)


class Previewer:
    """The handler; it makes one preview at a time, since each holds its pictures in memory."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def handle(self, request: web.Request) -> web.Response:
        """200 with the report, the placements and the views; else `error`, one sentence."""
        body = await _read_body(request)
        if body is None:
            return _error(
                413, "the body is over 1 MiB, but names and numbers need less: send no pictures in it"
            )
        try:
            asked = parse_request(body)
            async with self._turn:
                return web.json_response(await asyncio.to_thread(answer, asked))
        except MagrefError as error:
            return _error(400, str(error))


def parse_request(body: bytes) -> PreviewRequest:
    """Read a body.

    Raises:
        MagrefError: it is no such JSON object, or a field is unknown or of another type.
    """
    try:
        given = json.loads(body)
    except RecursionError as error:
        raise MagrefError(f"the body is nested too deeply: send an object such as {EXAMPLE}") from error
    except ValueError as error:  # also for bytes that are no UTF-8
        raise MagrefError(f"the body is not JSON ({error}): send an object such as {EXAMPLE}") from error
    if not isinstance(given, dict):
        raise MagrefError(
            f"the body is a {type(given).__name__}, but an object is needed: send one such as {EXAMPLE}"
        )
    known = ("references", *(field.name for field in fields(CanvasSettings)), "prompt")
    if unknown := sorted(set(given) - set(known)):
        raise MagrefError(f"the body has the field {unknown[0][:40]!r}: use only {', '.join(known)}")
    if not isinstance(given.get("references"), list):
        raise MagrefError(f"the body has no list 'references': send an object such as {EXAMPLE}")
    texts = {name: _text(name, given[name]) for name in _TEXTS if name in given}
    numbers = {
        name: _whole(name, given[name]) for name in ("width", "height", "layout_seed") if name in given
    }
    if not 0 <= numbers.get("layout_seed", 0) <= MAX_SEED:
        raise MagrefError(f"layout_seed is {numbers['layout_seed']}: use a whole number from 0 to {MAX_SEED}")
    for name, choices in _CHOICES.items():
        if texts.get(name, choices[0]) not in choices:
            raise MagrefError(f"{name} is {texts[name][:40]!r}: use one of {', '.join(choices)}")
    settings: dict[str, Any] = {**texts, **numbers}
    return PreviewRequest(
        references=json.dumps(given["references"]),
        settings=CanvasSettings(**settings),
        prompt=_text("prompt", given.get("prompt", "")),
    )


def answer(asked: PreviewRequest) -> dict[str, Any]:
    """The body of a good answer.

    Raises:
        MagrefError: see `load_files` and `build_canvas`.
    """
    with torch.inference_mode():  # as the host runs the node
        canvas = build_canvas(load_files(asked.references), asked.settings)
        report = report_on(canvas, asked.prompt)
        views: dict[ViewKind, str] = {kind: data_url(view) for kind, view in draw_views(canvas).items()}
    text = placements_to_json(canvas.placements, [reference.name for reference in canvas.references])
    return {"report": report.as_object(), "placements": json.loads(text)["placements"], "views": views}


async def _read_body(request: web.Request) -> bytes | None:
    """The body, or None where it is too large; then no more of it than that is read."""
    if (request.content_length or 0) > MAX_BODY:
        return None
    body = bytearray()
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > MAX_BODY:
            return None
    return bytes(body)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise MagrefError(f"{name} is {repr(value)[:40]}, but a text is needed: write it in quotes")
    return value


def _whole(name: str, value: Any) -> int:
    if type(value) is not int:
        raise MagrefError(f"{name} is {repr(value)[:40]}, but a whole number is needed: correct it")
    return value


def _error(status: int, sentence: str) -> web.Response:
    return web.json_response({"error": sentence}, status=status)
