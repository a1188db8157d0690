import os
import signal
import sys
import time

import pytest

from scripts import host
from scripts.comfy_client import ComfyClient, UnreachableError
from scripts.host import Host
from scripts.host_install import HostError
from scripts.host_server import Server, link_folder

ANSWERING = """
import json, signal, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"NodeA": {}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

server = HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler)
try:
    server.serve_forever()
except KeyboardInterrupt:
    print("Stopped server")
"""


@pytest.fixture
def make_server(tmp_path):
    """Servers whose main.py is a few lines."""

    def make(main, **options):
        source = tmp_path / "source"
        source.mkdir(exist_ok=True)
        (source / "main.py").write_text(main)
        return Server(Host(source=source, python=sys.executable), **{"packs": {}, **options})

    return make


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_server_answers_inside_with_and_is_gone_after_it(make_server):
    with make_server(ANSWERING) as server:
        assert server.client().object_info() == {"NodeA": {}}
        server.require_nodes(["NodeA"])
        assert server.base.is_dir()
    assert server.process.returncode == 0
    assert not server.base.exists()
    with pytest.raises(UnreachableError):
        ComfyClient(server.url).object_info()


def test_a_server_ends_in_order_even_where_a_shell_made_us_ignore_interrupts(make_server):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with make_server(ANSWERING) as server:
            pass
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert server.process.returncode == 0


def test_a_server_that_dies_at_its_start_is_told_at_once_with_its_last_words(make_server):
    started = time.monotonic()
    server = make_server("import sys\nprint('\\x1b[31mno such \\x1b[0mmodule')\nsys.exit(3)")
    with pytest.raises(HostError, match=r"ended with code 3 at its start:\nno such module$"), server:
        pass
    assert time.monotonic() - started < 10
    assert not server.base.exists()


def test_a_server_that_never_answers_is_given_up_and_ended(make_server):
    server = make_server("import time\nprint('thinking', flush=True)\ntime.sleep(60)")
    with pytest.raises(HostError, match=r"did not answer within 1 s: try again .*:\nthinking"):
        server.start(timeout=1)
    server.stop()
    assert server.process.returncode is not None


def test_a_server_that_ignores_the_interrupt_is_killed(make_server):
    stubborn = ANSWERING.replace("try:", "signal.signal(signal.SIGINT, signal.SIG_IGN)\ntry:")
    server = make_server(stubborn)
    server.start()
    server.stop(timeout=0.3)
    assert not is_alive(server.process.pid)


@pytest.mark.parametrize("mark", ["0.1 seconds (IMPORT FAILED)", "Error while calling comfy_entrypoint in x"])
def test_a_pack_that_does_not_load_is_told(make_server, mark):
    with (
        pytest.raises(HostError, match="could not load a pack"),
        make_server(f"print('{mark}', flush=True)\n{ANSWERING}"),
    ):
        pass


def test_a_missing_node_is_told(make_server):
    with make_server(ANSWERING) as server, pytest.raises(HostError, match="lacks the nodes NodeB"):
        server.require_nodes(["NodeA", "NodeB"])


def test_packs_and_models_are_lent_and_stay_whole(make_server, tmp_path):
    for name in ("pack", "models"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "kept.txt").write_text("kept")
    server = make_server(ANSWERING, packs={"Our-Pack": tmp_path / "pack"}, models=tmp_path / "models")
    with server:
        assert (server.base / "custom_nodes" / "Our-Pack" / "kept.txt").read_text() == "kept"
        assert (server.base / "models" / "kept.txt").read_text() == "kept"
    assert not server.base.exists()
    assert (tmp_path / "pack" / "kept.txt").exists()
    assert (tmp_path / "models" / "kept.txt").exists()


def test_a_given_base_folder_is_kept_without_our_links(make_server, tmp_path):
    (tmp_path / "pack").mkdir()
    server = make_server(ANSWERING, base=tmp_path / "base", packs={"Our-Pack": tmp_path / "pack"})
    with server:
        (server.base / "output" / "result.txt").write_text("result")
    assert (tmp_path / "base" / "output" / "result.txt").exists()
    assert list((tmp_path / "base" / "custom_nodes").iterdir()) == []


def test_a_link_that_a_killed_server_left_is_taken_over(make_server, tmp_path):
    (tmp_path / "pack").mkdir()
    left = tmp_path / "base" / "custom_nodes" / "Our-Pack"
    left.parent.mkdir(parents=True)
    link_folder(tmp_path / "pack", left)
    with make_server(ANSWERING, base=tmp_path / "base", packs={"Our-Pack": tmp_path / "pack"}):
        assert left.resolve() == tmp_path / "pack"
    assert not left.exists()
    assert (tmp_path / "pack").is_dir()


@pytest.mark.parametrize("gpu", [False, True])
def test_start_keeps_what_was_made_and_says_where(make_server, tmp_path, monkeypatch, capsys, gpu):
    main = "import sys\nprint('cpu' if '--cpu' in sys.argv else 'gpu', flush=True)\n" + ANSWERING
    monkeypatch.setattr(host, "install", lambda: make_server(main).host)
    monkeypatch.setattr(host, "end_cleanly_on_terminate", lambda: None)
    base = tmp_path / "served"

    class CtrlC:
        def wait(self):
            (base / "output" / "video.mp4").write_text("video")
            raise KeyboardInterrupt

    monkeypatch.setattr(host.threading, "Event", CtrlC)
    monkeypatch.setattr(sys, "argv", ["host.py", "start", "--base", str(base), *(["--gpu"] if gpu else [])])
    for _ in range(2):
        host.main()
        assert (base / "output" / "video.mp4").exists()
        assert ("gpu" if gpu else "cpu") in (base / "server.log").read_text()
    assert f"models, input and output: {base}" in capsys.readouterr().out
    assert list((base / "custom_nodes").iterdir()) == []


@pytest.mark.parametrize(("chosen", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_wait_asleep_unless_the_user_chose_otherwise(make_server, monkeypatch, chosen, expected):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if chosen:
        monkeypatch.setenv("OMP_WAIT_POLICY", chosen)
    told = "import os\nprint('policy', os.environ['OMP_WAIT_POLICY'], flush=True)\n"
    with make_server(told + ANSWERING) as server:
        assert f"policy {expected}" in server.log()
