"""A small client of ComfyUI's HTTP interface, in the standard library alone."""

from __future__ import annotations

import http.client
import json
import mimetypes
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from scripts.websocket_reader import WebSocketReader

Workflow = dict[str, dict[str, Any]]
"""API format: node id -> {class_type, inputs, _meta}."""


class ComfyError(RuntimeError):
    """The server refused or failed; the message is for users."""


class UnreachableError(ComfyError):
    """Nothing answers at the address."""


class PromptRejectedError(ComfyError):
    """The server refused the workflow; `body` is its answer."""

    def __init__(self, message: str, body: dict[str, Any]) -> None:
        super().__init__(message)
        self.body = body


class PromptFailedError(ComfyError):
    """A node raised; `details` is the server's report of it."""

    def __init__(self, message: str, details: dict[str, Any]) -> None:
        super().__init__(message)
        self.details = details


class PromptInterruptedError(ComfyError):
    """Somebody cancelled the run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a running node is."""

    node_id: str
    label: str
    """The node's title, or its type."""
    value: float
    maximum: float


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputFile:
    """A file that a run has written on the server."""

    node_id: str
    filename: str
    subfolder: str


class ComfyClient:
    """Talks to one server.

    Args:
        url: its address, as in the browser.
        timeout: seconds for one request.
    """

    def __init__(self, url: str, *, timeout: float = 60) -> None:
        self.url = (url if "://" in url else f"http://{url}").rstrip("/")
        self.timeout = timeout
        self.client_id = uuid.uuid4().hex

    def request(self, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> bytes:
        """The body of the answer.

        Raises:
            UnreachableError: nothing answers there.
            ComfyError: the answer is an HTTP error other than 400.
            PromptRejectedError: the answer is HTTP 400 with a JSON report.
        """
        request = urllib.request.Request(self.url + path, data=body, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise http_failure(f"{self.url}{path}", error.code, error.read()) from error
        except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise UnreachableError(
                f"no ComfyUI answers at {self.url} ({reason}): start it, or give the address of its page"
            ) from error

    def get_json(self, path: str) -> Any:
        """The answer to a GET as JSON."""
        answer = self.request(path)
        try:
            return json.loads(answer)
        except ValueError as error:
            raise UnreachableError(f"what answers at {self.url} is no ComfyUI: {path} is not JSON") from error

    def post_json(self, path: str, content: Any) -> Any:
        """Post JSON; the answer as JSON, None where it is empty."""
        answer = self.request(path, json.dumps(content).encode(), {"Content-Type": "application/json"})
        return json.loads(answer) if answer else None

    def object_info(self) -> dict[str, Any]:
        """Every node's inputs and outputs, by node id."""
        return self.get_json("/object_info")

    def upload_image(self, file: Path, *, name: str | None = None, subfolder: str = "") -> str:
        """Put a picture into the server's input folder, over one of that name; returns its name there."""
        boundary, kind = uuid.uuid4().hex, mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        filename = (name or file.name).replace('"', "'")
        parts = [form_field(boundary, "overwrite", "true"), form_field(boundary, "subfolder", subfolder)]
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{filename}"\r\n'
        parts += [head, f"Content-Type: {kind}\r\n\r\n"]
        body = "".join(parts).encode() + file.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        answer = self.request(
            "/upload/image", body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        )
        stored = json.loads(answer)
        return "/".join(part for part in (stored["subfolder"], stored["name"]) if part)

    def queue(self, workflow: Workflow) -> str:
        """Queue a workflow; returns the prompt's id.

        Raises:
            PromptRejectedError: the server refuses it, or would silently drop a part of it.
        """
        answer = self.post_json("/prompt", {"prompt": workflow, "client_id": self.client_id})
        if answer["node_errors"]:
            self.cancel(answer["prompt_id"])
            raise PromptRejectedError(describe_rejection(answer), answer)
        return answer["prompt_id"]

    def interrupt(self, prompt_id: str | None = None) -> None:
        """Cancel one prompt, or whatever runs."""
        self.post_json("/interrupt", {"prompt_id": prompt_id} if prompt_id else {})

    def cancel(self, prompt_id: str) -> None:
        """Take a prompt out of the queue, or interrupt it where it runs already."""
        self.post_json("/queue", {"delete": [prompt_id]})
        self.interrupt(prompt_id)

    def history(self, prompt_id: str) -> dict[str, Any] | None:
        """What the server remembers of a finished prompt; None while it waits or runs."""
        return self.get_json(f"/history/{prompt_id}").get(prompt_id)

    def is_queued(self, prompt_id: str) -> bool:
        """Whether a prompt waits or runs."""
        queue = self.get_json("/queue")
        return any(entry[1] == prompt_id for entry in (*queue["queue_running"], *queue["queue_pending"]))

    def run(
        self,
        workflow: Workflow,
        *,
        on_progress: Callable[[Progress], None] | None = None,
        on_queued: Callable[[str], None] | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Queue a workflow and wait for its end; returns its history.

        The websocket serves progress and an early wake-up; the verdict comes from the history, so that a lost
        connection costs nothing but progress.

        Args:
            workflow: API format.
            on_progress: told of each running node.
            on_queued: told the prompt's id.
            timeout: seconds; the prompt is cancelled after them.

        Raises:
            PromptRejectedError: the server refused it.
            PromptFailedError: a node raised.
            PromptInterruptedError: it was cancelled.
            ComfyError: it took longer than `timeout`, or the server no longer knows it.
        """
        events = self._open_events()
        try:
            prompt_id = self.queue(workflow)
            if on_queued is not None:
                on_queued(prompt_id)
            end = time.monotonic() + timeout if timeout else None
            was_gone = False
            while (history := self.history(prompt_id)) is None:
                if end is not None and time.monotonic() > end:
                    self.cancel(prompt_id)
                    raise ComfyError(f"the run was not finished after {timeout:.0f} s and was cancelled")
                is_gone = not self.is_queued(prompt_id)
                if is_gone and was_gone:  # once may be its step from the queue to the history
                    raise ComfyError(
                        f"the run {prompt_id} is neither in the server's queue nor in its history: somebody "
                        "removed it, or the server was started anew; queue it again"
                    )
                was_gone = is_gone
                events = follow_events(events, prompt_id, workflow, on_progress)
        finally:
            if events is not None:
                events.close()
        return check_history(history)

    def _open_events(self) -> WebSocketReader | None:
        scheme, rest = ("wss", self.url[8:]) if self.url.startswith("https:") else ("ws", self.url[7:])
        try:
            return WebSocketReader(f"{scheme}://{rest}/ws?clientId={self.client_id}", timeout=self.timeout)
        except (OSError, ValueError):
            return None  # a proxy without websockets, no server, or no address: `queue` says which

    def download(self, output: OutputFile, target: Path) -> Path:
        """Fetch an output file to `target`; nothing half-written is left behind."""
        where = urlencode(
            {"filename": output.filename, "subfolder": output.subfolder, "type": "output"}, quote_via=quote
        )
        content = self.request(f"/view?{where}")
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}.partial")
        partial.write_bytes(content)
        partial.replace(target)
        return target


def form_field(boundary: str, name: str, value: str) -> str:
    """One text field of a multipart form."""
    return f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'


def http_failure(address: str, code: int, body: bytes) -> ComfyError:
    """The error that an HTTP answer stands for."""
    try:
        report = json.loads(body)
    except ValueError:
        report = None
    if code == 400 and isinstance(report, dict) and "error" in report:
        return PromptRejectedError(describe_rejection(report), report)
    path = urlsplit(address).path
    return ComfyError(f"{address} answered HTTP {code}: is there a ComfyUI, and is {path} open to you?")


def describe_rejection(report: dict[str, Any]) -> str:
    """One line per complaint of the server about a workflow."""
    lines: list[str] = []
    for node_id, node in (report.get("node_errors") or {}).items():
        for error in node["errors"]:
            what = " - ".join(part for part in (error["message"], error.get("details", "")) if part)
            lines.append(f"node {node_id} ({node['class_type']}): {what}")
    error = report.get("error")
    if not lines and isinstance(error, dict):
        lines.append(
            " - ".join(part for part in (error.get("message", ""), error.get("details", "")) if part)
        )
    return "the server refused the workflow: " + (
        "\n  ".join(["", *lines]) if len(lines) > 1 else "".join(lines)
    )


def follow_events(
    events: WebSocketReader | None,
    prompt_id: str,
    workflow: Workflow,
    on_progress: Callable[[Progress], None] | None,
) -> WebSocketReader | None:
    """Pass on progress until the prompt ends or a second has gone; returns the connection while it lives."""
    end = time.monotonic() + 1
    if events is None:
        time.sleep(0.5)
        return None
    try:
        while (left := end - time.monotonic()) > 0:
            text = events.receive(timeout=left)
            if text is None:
                break
            message = json.loads(text)
            data = message.get("data") or {}
            if data.get("prompt_id") != prompt_id:
                continue
            if message["type"] in ("execution_success", "execution_error", "execution_interrupted"):
                time.sleep(0.05)  # the history is filled right after this message
                break
            if message["type"] == "progress_state" and on_progress is not None:
                for node in running_nodes(data, workflow):
                    on_progress(node)
    except OSError:
        events.close()
        return None
    return events


def running_nodes(data: dict[str, Any], workflow: Workflow) -> list[Progress]:
    """The nodes that a `progress_state` message reports as running."""
    found: list[Progress] = []
    for node_id, state in data["nodes"].items():
        if state["state"] == "running":
            node = workflow.get(state.get("display_node_id") or node_id, {})
            label = node.get("_meta", {}).get("title") or node.get("class_type", node_id)
            found.append(Progress(node_id=node_id, label=label, value=state["value"], maximum=state["max"]))
    return found


def check_history(history: dict[str, Any]) -> dict[str, Any]:
    """The history itself, or the exception that it tells of."""
    for kind, data in history["status"]["messages"]:
        if kind == "execution_error":
            what = data["exception_message"].strip()
            raise PromptFailedError(f"node {data['node_id']} ({data['node_type']}): {what}", data)
        if kind == "execution_interrupted":
            raise PromptInterruptedError("the run was cancelled")
    return history


def output_files(history: dict[str, Any]) -> list[OutputFile]:
    """Every file that the run saved, in node order; previews are left out."""
    return [
        OutputFile(node_id=node_id, filename=item["filename"], subfolder=item["subfolder"])
        for node_id, output in history["outputs"].items()
        for items in output.values()
        for item in items
        if isinstance(item, dict) and "filename" in item and item["type"] == "output"
    ]
