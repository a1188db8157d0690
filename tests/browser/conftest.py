"""A Chromium page on the server of the tests, once for each of the two ways in which ComfyUI draws nodes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from scripts import browser, graph_page
from scripts.host_server import PACK_NAME, Server
from scripts.workflow_specs import WORKFLOWS

COMPLAINTS = (PACK_NAME, "zod schema", "Error loading workflow")
"""What a message on the page's console must not name; the host has a noise of its own there."""

TIMEOUT = 60_000
"""Milliseconds for one step: on a busy machine a click or a page has taken more than 20 seconds."""


@pytest.fixture(scope="package", autouse=True)
def released_names(server: Server) -> Iterator[None]:
    """The tiny models under the names of the released files, for as long as these tests run."""
    models = server.base / "models"
    files = {models / model.folder / model.name for workflow in WORKFLOWS for model in workflow.models}
    for file in files:
        shutil.copy(next(file.parent.glob("tiny_*")), file)
    yield
    for file in files:
        file.unlink()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = browser.find()
    if path is None:
        message = "no Chromium: run `python scripts/browser.py`"
        pytest.fail(message, pytrace=False) if os.environ.get("CI") else pytest.skip(message)
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=path, args=browser.launch_arguments())


@pytest.fixture(scope="module", params=["classic", "nodes2"])
def open_page(request: pytest.FixtureRequest, chromium: Browser, server: Server) -> Iterator[Page]:
    """A page with an empty graph."""
    context = chromium.new_context(viewport={"width": 1600, "height": 1000}, locale="en-US")
    page = context.new_page()
    page.set_default_timeout(TIMEOUT)
    graph_page.open_graph(page, server.url, nodes2=request.param == "nodes2")
    yield page
    context.close()


@pytest.fixture(autouse=True)
def page(open_page: Page) -> Iterator[Page]:
    """The page; the test fails if the page complains of us meanwhile."""
    messages: list[str] = []

    def hear(message):
        if message.type in ("error", "warning") and any(word in message.text for word in COMPLAINTS):
            messages.append(message.text)

    def catch(error):
        messages.append(str(error))

    open_page.on("console", hear)
    open_page.on("pageerror", catch)
    yield open_page
    open_page.remove_listener("console", hear)
    open_page.remove_listener("pageerror", catch)
    assert messages == []
