"""A ComfyUI server of our own: free loopback port, own base folder, readiness, log, clean stop."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from scripts import ROOT
from scripts.comfy_client import ComfyClient, UnreachableError
from scripts.host_install import HostError

if TYPE_CHECKING:
    from scripts.host import Host

PACK_NAME = "ComfyUI-MAGREF"
"""The folder name under which the server knows this pack."""
BASE_FOLDERS = ("custom_nodes", "input", "models", "output", "temp", "user")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
WAIT_ASLEEP = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Else torch's threads spin while they wait for each other, which on busy cores takes many times longer."""
FAILURE_MARKS = ("IMPORT FAILED", "Error while calling comfy_entrypoint")


class Server:
    """Starts on `with` and stops at its end; the base folder is removed unless it was given.

    Args:
        host: the ComfyUI to start.
        base: folder for models, input, output and custom_nodes; a fresh temporary one if None.
        models: a folder laid out like ComfyUI's `models`, used in place of an empty one.
        packs: custom node folders to load, by the name they get.
        cpu: keep off the GPU, as tests and the tiny demo do.
        arguments: further options of ComfyUI's main.py.
    """

    def __init__(
        self,
        host: Host,
        *,
        base: Path | None = None,
        models: Path | None = None,
        packs: dict[str, Path] | None = None,
        cpu: bool = True,
        arguments: Sequence[str] = (),
    ) -> None:
        self.host = host
        self.owns_base = base is None
        self.base = base or Path(tempfile.mkdtemp(prefix="magref-host-"))
        self.models = models
        self.packs = {PACK_NAME: ROOT} if packs is None else packs
        self.arguments = [*(["--cpu"] if cpu else []), *arguments]
        self.log_file = self.base / "server.log"
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.links: list[Path] = []

    @property
    def url(self) -> str:
        """The address of the started server, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def client(self) -> ComfyClient:
        """A client of this server."""
        return ComfyClient(self.url)

    def __enter__(self) -> Server:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, *, timeout: float = 600) -> None:
        """Start and wait until the server answers.

        Raises:
            HostError: it ended or did not answer in time (with the end of its log), or a pack did not load.
        """
        self.prepare_base()
        self.port = free_port()
        options = ["--base-directory", self.base, "--listen", "127.0.0.1", "--port", str(self.port)]
        options += ["--disable-auto-launch", "--disable-api-nodes", "--log-stdout"]
        # In memory: the default would write into the source tree, whatever the base folder.
        options += ["--database-url", "sqlite:///:memory:"]
        command = [self.host.python, "-u", self.host.source / "main.py", *options, *self.arguments]
        with self.log_file.open("wb") as log, heeding_interrupts():
            self.process = subprocess.Popen(
                command,
                cwd=self.host.source,
                env=WAIT_ASLEEP | os.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A group of its own, so that Ctrl-C reaches us alone and we end it in order.
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        self.wait_until_ready(timeout)
        if failures := self.import_failures():
            raise HostError("ComfyUI could not load a pack:\n" + "\n".join(failures))

    def prepare_base(self) -> None:
        """Make the base folder with links to the packs and models."""
        if self.models is not None:
            self.link(self.models, self.base / "models")
        for name in BASE_FOLDERS:
            (self.base / name).mkdir(parents=True, exist_ok=True)
        for name, folder in self.packs.items():
            self.link(folder, self.base / "custom_nodes" / name)

    def link(self, target: Path, link: Path) -> None:
        """Link a folder and remember to unlink it."""
        link.parent.mkdir(parents=True, exist_ok=True)
        if not is_link_to(link, target):  # a server that was killed leaves its links
            link_folder(target.resolve(), link)
        self.links.append(link)

    def wait_until_ready(self, timeout: float) -> None:
        """Poll until the server answers; fail at once when it has ended."""
        assert self.process is not None
        client, end = ComfyClient(self.url, timeout=5), time.monotonic() + timeout
        while time.monotonic() < end:
            if self.process.poll() is not None:
                code = self.process.returncode
                raise HostError(f"ComfyUI ended with code {code} at its start:\n{self.log_tail()}")
            try:
                client.get_json("/system_stats")
                return
            except UnreachableError:
                time.sleep(0.2)
        told = f"ComfyUI did not answer within {timeout:.0f} s: try again when the machine is less busy"
        raise HostError(f"{told}, or see what its log says:\n{self.log_tail()}")

    def stop(self, *, timeout: float = 10) -> None:
        """Ask the server to end, then force it; remove links and, if it is ours, the base folder."""
        if self.process is not None and self.process.poll() is None:
            end_process(self.process, timeout)
        for link in self.links:
            unlink_folder(link)
        self.links.clear()
        if self.owns_base:
            shutil.rmtree(self.base, ignore_errors=True)

    def log(self) -> str:
        """What the server has written so far, without colours."""
        return COLOUR.sub("", self.log_file.read_text(encoding="utf-8", errors="replace"))

    def log_tail(self, lines: int = 30) -> str:
        """The last lines of the log."""
        return "\n".join(self.log().splitlines()[-lines:])

    def import_failures(self) -> list[str]:
        """Log lines that say that a pack did not load; ComfyUI goes on without it."""
        return [line for line in self.log().splitlines() if any(mark in line for mark in FAILURE_MARKS)]

    def require_nodes(self, node_ids: Iterable[str]) -> None:
        """Raise unless all are there; an entrypoint that breaks half-way registers the first half."""
        missing = sorted(set(node_ids) - set(self.client().object_info()))
        if missing:
            raise HostError(f"the server lacks the nodes {', '.join(missing)}:\n{self.log_tail()}")


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def heeding_interrupts() -> Generator[None]:
    """Within, processes are started that heed SIGINT.

    A shell without job control lets what it starts by `&` ignore it, and children would inherit that.
    """
    if (
        signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
        or threading.current_thread() is not threading.main_thread()
    ):
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def end_process(process: subprocess.Popen[bytes], timeout: float) -> None:
    """Interrupt, wait, and kill the whole group if that did not help."""
    if sys.platform == "win32":
        # The python.exe of an environment starts the real one: end the tree, by its id.
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(process.pid)], capture_output=True, check=False)
        process.wait()
        return
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def link_folder(target: Path, link: Path) -> None:
    """Make `link` another name of a folder."""
    if sys.platform == "win32":
        # A junction: symbolic links need a right that ordinary users lack.
        command = ["cmd", "/c", "mklink", "/J", str(link), str(target)]
        subprocess.run(command, capture_output=True, check=True)
    else:
        link.symlink_to(target, target_is_directory=True)


def is_link_to(link: Path, target: Path) -> bool:
    """Whether `link` is another name of the folder `target`."""
    return link.exists() and link.resolve() == target.resolve() and link.absolute() != target.absolute()


def unlink_folder(link: Path) -> None:
    """Remove the link and never what it leads to."""
    if sys.platform == "win32":
        os.rmdir(link)
    else:
        link.unlink(missing_ok=True)
