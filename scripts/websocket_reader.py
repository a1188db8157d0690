"""Reads the text messages of a websocket with the standard library alone.

The demo talks to a server on any machine from any Python, so that it must not ask for a package first; of the
protocol it needs only the client's greeting, incoming text and the answer to a ping.

Source: RFC 6455.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import ssl
import struct
from urllib.parse import urlsplit

GREETING_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA


class WebSocketReader:
    """An open connection; `receive` gives one text message at a time, binary ones are left out.

    Args:
        url: ws:// or wss:// address.
        timeout: seconds for the connection and the greeting.

    Raises:
        OSError: no connection, or the other side speaks no websocket.
    """

    def __init__(self, url: str, *, timeout: float = 10) -> None:
        self._buffer = b""
        self._message = b""
        self._opcode = 0
        address = urlsplit(url)
        secure = address.scheme == "wss"
        port = address.port or (443 if secure else 80)
        self._socket = socket.create_connection((address.hostname or "", port), timeout)
        try:
            if secure:
                context = ssl.create_default_context()
                self._socket = context.wrap_socket(self._socket, server_hostname=address.hostname)
            self._greet(address.netloc.rpartition("@")[2], f"{address.path or '/'}?{address.query}")
        except BaseException:
            self._socket.close()
            raise

    def _greet(self, netloc: str, target: str) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {target} HTTP/1.1", f"Host: {netloc}", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", ""]
        self._socket.sendall("\r\n".join(lines).encode())
        while b"\r\n\r\n" not in self._buffer:
            self._fill()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        accept = base64.b64encode(hashlib.sha1((key + GREETING_GUID).encode()).digest())
        if b" 101 " not in head.split(b"\r\n")[0] or accept not in head:
            raise ConnectionError(f"no websocket: {head.splitlines()[0].decode(errors='replace')}")

    def _fill(self) -> None:
        received = self._socket.recv(1 << 16)
        if not received:
            raise ConnectionError("the other side closed the connection")
        self._buffer += received

    def receive(self, *, timeout: float) -> str | None:
        """The next text message, or None if none came within `timeout` seconds.

        Raises:
            OSError: the connection is gone.
        """
        self._socket.settimeout(timeout)
        while True:
            frame = self._take_frame()
            if frame is None:
                try:
                    self._fill()
                except TimeoutError:
                    return None
                continue
            message = self._take_message(*frame)
            if message is not None:
                return message

    def _take_frame(self) -> tuple[bool, int, bytes] | None:
        """(is last, opcode, payload) of the first complete frame; a server's frames are not masked."""
        if len(self._buffer) < 2:
            return None
        length, start = self._buffer[1] & 0x7F, 2
        if length >= 126:
            width, kind = (2, ">H") if length == 126 else (8, ">Q")
            if len(self._buffer) < 2 + width:
                return None
            (length,), start = struct.unpack(kind, self._buffer[2 : 2 + width]), 2 + width
        if len(self._buffer) < start + length:
            return None
        first, payload = self._buffer[0], self._buffer[start : start + length]
        self._buffer = self._buffer[start + length :]
        return bool(first & 0x80), first & 0x0F, payload

    def _take_message(self, is_last: bool, opcode: int, payload: bytes) -> str | None:
        if opcode == PING:
            self._send(PONG, payload)
            return None
        if opcode == CLOSE:
            raise ConnectionError("the other side closed the connection")
        if opcode == PONG:
            return None
        if opcode:  # 0 goes on with the message begun before
            self._opcode, self._message = opcode, b""
        self._message += payload
        return self._message.decode() if is_last and self._opcode == TEXT else None

    def _send(self, opcode: int, payload: bytes) -> None:
        """Send one short frame; a client's frames are masked."""
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload[:125]))
        self._socket.sendall(bytes([0x80 | opcode, 0x80 | len(masked)]) + mask + masked)

    def close(self) -> None:
        """End the connection."""
        self._socket.close()
