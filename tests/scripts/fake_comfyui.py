"""A server of a few routes that answers as ComfyUI does, for tests of the client."""

import base64
import hashlib
import json
import struct
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(payload, *, opcode=1, last=True):
    """One unmasked frame, written from RFC 6455, 5.2."""
    head = bytes([(0x80 if last else 0) | opcode])
    if len(payload) < 126:
        head += bytes([len(payload)])
    elif len(payload) < 1 << 16:
        head += bytes([126]) + struct.pack(">H", len(payload))
    else:
        head += bytes([127]) + struct.pack(">Q", len(payload))
    return head + payload


def text_frame(kind, data):
    return frame(json.dumps({"type": kind, "data": data}).encode())


class FakeComfyUI:
    """What the routes answer, and what they were asked."""

    def __init__(self):
        self.routes = {}
        self.asked = []
        self.events = []
        self.has_websocket = True
        self.socket_done = threading.Event()
        self.url = ""


@contextmanager
def fake_comfyui():
    fake = FakeComfyUI()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path.startswith("/ws"):
                return self.serve_socket()
            return self.answer()

        def do_POST(self):
            self.answer()

        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = self.path.partition("?")[0]
            fake.asked.append((self.command, self.path, body))
            answer = fake.routes.get(path, (404, b""))
            code, content = answer() if callable(answer) else answer
            content = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def serve_socket(self):
            if not fake.has_websocket:
                return self.send_error(404)
            key = self.headers["Sec-WebSocket-Key"]
            accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
            lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
            self.wfile.write("\r\n".join([*lines, f"Sec-WebSocket-Accept: {accept}", "", ""]).encode())
            for event in fake.events:
                self.wfile.write(event)
            self.wfile.flush()
            fake.socket_done.wait(10)
            self.close_connection = True
            return None

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        fake.socket_done.set()
        server.shutdown()
        server.server_close()
        thread.join()
