import json
import socket
import time

import pytest

from scripts.comfy_client import (
    ComfyClient,
    ComfyError,
    OutputFile,
    Progress,
    PromptFailedError,
    PromptInterruptedError,
    PromptRejectedError,
    UnreachableError,
    output_files,
)
from scripts.websocket_reader import WebSocketReader
from tests.scripts.fake_comfyui import fake_comfyui, frame, text_frame

WORKFLOW = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "cat.png"}},
    "2": {"class_type": "MagrefSampler", "inputs": {}, "_meta": {"title": "Sampler"}},
}
ACCEPTED = (200, {"prompt_id": "p1", "number": 1, "node_errors": {}})


@pytest.fixture
def fake():
    with fake_comfyui() as server:
        yield server


WAITING = (200, {"queue_running": [], "queue_pending": [[0, "p0", {}, {}, []], [1, "p1", {}, {}, []]]})
RUNNING = (200, {"queue_running": [[1, "p1", {}, {}, []]], "queue_pending": []})
EMPTY = (200, {"queue_running": [], "queue_pending": []})


def finished(*messages, outputs=None):
    return (200, {"p1": {"outputs": outputs or {}, "status": {"messages": [list(m) for m in messages]}}})


def test_text_messages_arrive_whole_whatever_their_length_and_pieces(fake):
    long, longer = "x" * 300, "y" * 70000
    fake.events = [
        frame(b"short"),
        frame(long.encode()),
        frame(longer.encode()),
        frame(b"in th", last=False),
        frame(b"ree pie", opcode=0, last=False),
        frame(b"ces", opcode=0),
    ]
    reader = WebSocketReader(fake.url.replace("http", "ws") + "/ws")
    assert [reader.receive(timeout=5) for _ in range(4)] == ["short", long, longer, "in three pieces"]
    reader.close()


def test_previews_and_pings_are_no_messages(fake):
    fake.events = [frame(b"\0\1", opcode=2), frame(b"are you there", opcode=9), frame(b"yes")]
    reader = WebSocketReader(fake.url.replace("http", "ws") + "/ws")
    assert reader.receive(timeout=5) == "yes"
    reader.close()


def test_a_ping_is_answered_with_its_own_text_under_a_mask():
    ours, theirs = socket.socketpair()
    reader = WebSocketReader.__new__(WebSocketReader)
    reader._socket, reader._buffer, reader._message, reader._opcode = ours, b"", b"", 0
    theirs.sendall(frame(b"abc", opcode=9) + frame(b"end"))
    assert reader.receive(timeout=5) == "end"
    answer = theirs.recv(100)
    assert answer[:2] == bytes([0x80 | 0xA, 0x80 | 3])
    assert bytes(byte ^ answer[2 + index % 4] for index, byte in enumerate(answer[6:])) == b"abc"


def test_a_pause_in_the_middle_of_a_message_loses_nothing():
    ours, theirs = socket.socketpair()
    reader = WebSocketReader.__new__(WebSocketReader)
    reader._socket, reader._buffer, reader._message, reader._opcode = ours, b"", b"", 0
    whole = frame(b"half and half")
    theirs.sendall(whole[:6])
    assert reader.receive(timeout=0.05) is None
    theirs.sendall(whole[6:])
    assert reader.receive(timeout=5) == "half and half"
    theirs.close()
    with pytest.raises(ConnectionError):
        reader.receive(timeout=5)


def test_a_run_reports_progress_and_returns_its_history(fake):
    running = {"value": 3, "max": 4, "state": "running"}
    waiting = {"value": 0, "max": 1, "state": "pending"}
    fake.events = [
        text_frame("status", {"sid": "s"}),
        text_frame("progress_state", {"prompt_id": "other", "nodes": {"1": running}}),
        text_frame("progress_state", {"prompt_id": "p1", "nodes": {"1": waiting, "2": running}}),
        text_frame("execution_success", {"prompt_id": "p1"}),
    ]
    answers = iter([(200, {}), finished(outputs={"2": {"text": ["done"]}})])
    fake.routes = {"/prompt": ACCEPTED, "/history/p1": lambda: next(answers), "/queue": RUNNING}
    seen, queued = [], []
    history = ComfyClient(fake.url).run(WORKFLOW, on_progress=seen.append, on_queued=queued.append)
    assert seen == [Progress(node_id="2", label="Sampler", value=3, maximum=4)]
    assert queued == ["p1"]
    assert history["outputs"] == {"2": {"text": ["done"]}}
    sent = json.loads(next(body for _, path, body in fake.asked if path == "/prompt"))
    assert sent["prompt"] == WORKFLOW


def test_without_a_websocket_the_run_still_ends(fake):
    fake.has_websocket = False
    answers = iter([(200, {}), finished()])
    fake.routes = {"/prompt": ACCEPTED, "/history/p1": lambda: next(answers), "/queue": RUNNING}
    assert ComfyClient(fake.url).run(WORKFLOW)["outputs"] == {}


def test_a_node_that_raises_is_named_with_its_message(fake):
    details = {"node_id": "2", "node_type": "MagrefSampler", "exception_message": "steps is 0\n"}
    fake.routes = {"/prompt": ACCEPTED, "/history/p1": finished(["execution_error", details])}
    with pytest.raises(PromptFailedError, match=r"^node 2 \(MagrefSampler\): steps is 0$"):
        ComfyClient(fake.url).run(WORKFLOW)


def test_a_cancelled_run_is_no_failure_of_a_node(fake):
    fake.routes = {"/prompt": ACCEPTED, "/history/p1": finished(["execution_interrupted", {}])}
    with pytest.raises(PromptInterruptedError):
        ComfyClient(fake.url).run(WORKFLOW)


def test_a_refused_workflow_lists_every_complaint(fake):
    errors = [
        {"message": "Value not in list", "details": "vae_name: 'x' not in ['y']"},
        {"message": "Required input is missing", "details": ""},
    ]
    report = {
        "error": {"type": "prompt_outputs_failed_validation", "message": "failed", "details": ""},
        "node_errors": {"3": {"class_type": "VAELoader", "errors": errors}},
    }
    fake.routes = {"/prompt": (400, report)}
    with pytest.raises(PromptRejectedError) as raised:
        ComfyClient(fake.url).run(WORKFLOW)
    assert "node 3 (VAELoader): Value not in list - vae_name: 'x' not in ['y']" in str(raised.value)
    assert "node 3 (VAELoader): Required input is missing" in str(raised.value)
    assert raised.value.body == report


def test_a_workflow_accepted_only_in_part_is_taken_back(fake):
    complaint = {"3": {"class_type": "SaveImage", "errors": [{"message": "bad", "details": "images"}]}}
    fake.routes = {
        "/prompt": (200, {"prompt_id": "p1", "node_errors": complaint}),
        "/queue": (200, b""),
        "/interrupt": (200, b""),
    }
    with pytest.raises(PromptRejectedError, match=r"node 3 \(SaveImage\): bad - images"):
        ComfyClient(fake.url).run(WORKFLOW)
    assert ("POST", "/queue", b'{"delete": ["p1"]}') in fake.asked
    assert ("POST", "/interrupt", b'{"prompt_id": "p1"}') in fake.asked


@pytest.mark.parametrize("queue", [WAITING, RUNNING])
def test_a_run_that_takes_too_long_is_cancelled_even_where_it_waits(fake, queue):
    fake.has_websocket = False
    fake.routes = {
        "/prompt": ACCEPTED,
        "/history/p1": (200, {}),
        "/interrupt": (200, b""),
        "/queue": queue,
    }
    with pytest.raises(ComfyError, match="not finished after 0 s and was cancelled"):
        ComfyClient(fake.url).run(WORKFLOW, timeout=0.1)
    assert ("POST", "/queue", b'{"delete": ["p1"]}') in fake.asked
    assert ("POST", "/interrupt", b'{"prompt_id": "p1"}') in fake.asked


def test_a_run_that_was_removed_ends_with_a_sentence(fake):
    fake.has_websocket = False
    queues = iter([WAITING, EMPTY, EMPTY])
    fake.routes = {"/prompt": ACCEPTED, "/history/p1": (200, {}), "/queue": lambda: next(queues)}
    with pytest.raises(ComfyError, match=r"p1 is neither in the server's queue nor in its history: .*again$"):
        ComfyClient(fake.url).run(WORKFLOW)
    assert next(queues, None) is None


def test_a_run_just_on_its_way_from_the_queue_to_the_history_is_waited_for(fake):
    fake.has_websocket = False
    histories, queues = iter([(200, {}), (200, {}), (200, {}), finished()]), iter([EMPTY, RUNNING, EMPTY])
    fake.routes = {
        "/prompt": ACCEPTED,
        "/history/p1": lambda: next(histories),
        "/queue": lambda: next(queues),
    }
    assert ComfyClient(fake.url).run(WORKFLOW)["outputs"] == {}


def test_nobody_at_the_address_is_told_with_the_remedy():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(
        UnreachableError, match=rf"no ComfyUI answers at {url} .*: start it, or give the address"
    ):
        ComfyClient(url).object_info()


@pytest.mark.parametrize(
    "url", ["http://", "http://no host/", "ftp://localhost", "http://localhost:notaport"]
)
def test_an_address_that_is_none_is_told_likewise(url):
    with pytest.raises(UnreachableError, match="no ComfyUI answers at"):
        ComfyClient(url).run(WORKFLOW)


def test_another_kind_of_server_is_recognised(fake):
    fake.routes = {"/object_info": (200, b"<html>hello</html>")}
    with pytest.raises(UnreachableError, match="is no ComfyUI: /object_info is not JSON"):
        ComfyClient(fake.url).object_info()
    with pytest.raises(ComfyError, match="answered HTTP 404: is there a ComfyUI"):
        ComfyClient(fake.url).history("p1")


def test_an_address_without_scheme_is_taken_as_http(fake):
    fake.routes = {"/object_info": (200, {"A": {}})}
    assert ComfyClient(fake.url.removeprefix("http://") + "/").object_info() == {"A": {}}


def test_an_uploaded_picture_arrives_whole_and_its_place_comes_back(fake, tmp_path):
    content = bytes(range(256)) * 3
    (tmp_path / "tom.PNG").write_bytes(content)
    fake.routes = {"/upload/image": (200, {"name": "cat.png", "subfolder": "demo", "type": "input"})}
    stored = ComfyClient(fake.url).upload_image(tmp_path / "tom.PNG", name="cat.png", subfolder="demo")
    assert stored == "demo/cat.png"
    body = fake.asked[0][2]
    assert content in body
    assert b'name="image"; filename="cat.png"' in body
    assert b'name="subfolder"\r\n\r\ndemo\r\n' in body


def test_a_download_is_whole_or_absent(fake, tmp_path):
    output = OutputFile(node_id="1", filename="a b.mp4", subfolder="video")
    fake.routes = {"/view": (200, b"film")}
    client = ComfyClient(fake.url)
    assert client.download(output, tmp_path / "new" / "demo.mp4").read_bytes() == b"film"
    assert fake.asked[0][1] == "/view?filename=a%20b.mp4&subfolder=video&type=output"
    fake.routes = {"/view": (404, b"")}
    with pytest.raises(ComfyError, match="HTTP 404"):
        client.download(output, tmp_path / "other.mp4")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["demo.mp4"]


def test_every_saved_file_is_listed_and_nothing_else():
    item = {"filename": "x.mp4", "subfolder": "video", "type": "output"}
    preview = {"filename": "y.png", "subfolder": "", "type": "temp"}
    history = {"outputs": {"4": {"images": [item, preview], "animated": [True]}, "2": {"text": ["hello"]}}}
    assert output_files(history) == [OutputFile(node_id="4", filename="x.mp4", subfolder="video")]


def test_the_end_of_a_run_is_noticed_at_once(fake):
    """The message that ends it wakes the client, which would otherwise ask once a second."""
    fake.events = [text_frame("execution_success", {"prompt_id": "p1"})]
    answers = iter([(200, {}), finished()])
    fake.routes = {"/prompt": ACCEPTED, "/history/p1": lambda: next(answers), "/queue": RUNNING}
    started = time.monotonic()
    ComfyClient(fake.url).run(WORKFLOW)
    assert time.monotonic() - started < 0.8
