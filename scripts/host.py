"""ComfyUI 0.30 for demo, tests and benchmarks: fetched once into a cache folder, or the one you have.

python scripts/host.py [install]   fetch what is missing (about 7 GB, a few minutes the first time)
python scripts/host.py start       start a server with this pack and wait for Ctrl-C; its models, input and
                                   output stay in out/comfyui, or in the folder that --base names
python scripts/host.py path        print where ComfyUI and its Python are

MAGREF_HOST_DIR   the cache folder
COMFYUI_PATH      use this ComfyUI (0.30 or newer) instead; it is never changed
COMFYUI_PYTHON    the Python that starts it, where it is not found beside it
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts import ROOT, host_existing, host_install
from scripts.folder_lock import folder_lock
from scripts.host_install import HostError

SERVED = ROOT / "out" / "comfyui"
"""Where `start` keeps models, input and output."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """A ComfyUI that can be started."""

    source: Path
    """The folder with ComfyUI's main.py; treated as read-only."""
    python: Path
    """The interpreter that has ComfyUI's packages and our tools."""


def cache_folder() -> Path:
    """Where the host is kept: MAGREF_HOST_DIR, or `comfyui-magref` in the user's cache folder."""
    if chosen := os.environ.get("MAGREF_HOST_DIR"):
        return Path(chosen).expanduser().resolve()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "comfyui-magref"


def own_comfyui() -> Path | None:
    """The user's ComfyUI, where COMFYUI_PATH names one."""
    chosen = os.environ.get("COMFYUI_PATH")
    return Path(chosen).expanduser().resolve() if chosen else None


def find() -> Host | None:
    """The host that `install` left, without changing anything; None where there is none yet."""
    folder, own = cache_folder(), own_comfyui()
    if own is not None:
        python = host_install.venv_python(host_existing.overlay_folder(folder, own))
        source = own
    else:
        python = host_install.venv_python(folder / "venv")
        source = folder / "ComfyUI"
    return Host(source=source, python=python) if python.exists() and (source / "main.py").exists() else None


def install() -> Host:
    """Fetch whatever is missing and return the host; a finished one costs a few milliseconds.

    Two runs at once wait for each other; an interrupted run is taken up where it stopped.

    Raises:
        HostError: with one sentence that says what failed and what to do.
    """
    folder, own = cache_folder(), own_comfyui()

    def say_waiting() -> None:
        print(f"another run is installing into {folder}; waiting for it", flush=True)

    try:
        with folder_lock(folder, on_wait=say_waiting):
            if own is not None:
                python = host_existing.prepare_overlay(folder, own)
                return Host(source=own, python=python)
            python = host_install.install_host(folder)
            return Host(source=folder / "ComfyUI", python=python)
    except PermissionError as error:
        raise HostError(
            f"{folder} cannot be written ({error}): set MAGREF_HOST_DIR to another folder"
        ) from error


def use_host_python() -> Host:
    """Go on in the host's Python: install the host if needed and start this script again with it."""
    host = install()
    if Path(sys.prefix).resolve() == host.python.parent.parent.resolve():
        return host
    command = [str(host.python), str(Path(sys.argv[0]).resolve()), *sys.argv[1:]]
    sys.stdout.flush()
    if sys.platform != "win32":
        os.execv(command[0], command)
    raise SystemExit(subprocess.call(command))


def enter_host_python() -> Path:
    """ComfyUI's folder; goes on in ComfyUI's Python where this one lacks its packages.

    A Python that has them already, with `COMFYUI_PATH` set, is left as it is, as in the parts of a benchmark.
    """
    chosen = os.environ.get("COMFYUI_PATH")
    if chosen and find_spec("comfy_aimdo"):
        return Path(chosen).resolve()
    return use_host_python().source


def end_cleanly_on_terminate() -> None:
    """Let SIGTERM unwind `with` and `finally`, so that no server outlives the script."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def start(base: Path, *, cpu: bool) -> None:
    """Serve this pack until Ctrl-C.

    Args:
        base: folder of the server's models, input and output; it stays.
        cpu: keep off the GPU.
    """
    from scripts.host_server import Server

    def say_waiting() -> None:
        print(
            f"another server uses {base}; waiting for its end, or name another folder with --base", flush=True
        )

    found = install()
    print("starting ComfyUI", flush=True)
    with folder_lock(base, on_wait=say_waiting), Server(found, base=base, cpu=cpu) as server:
        print(f"ComfyUI with this pack: {server.url} (Ctrl-C stops it)")
        print(f"models, input and output: {base}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("stopping")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="?", default="install", choices=("install", "start", "path"))
    parser.add_argument("--base", type=Path, default=SERVED, metavar="FOLDER", help="for start: see above")
    parser.add_argument("--gpu", action="store_true", help="for start: use the GPU")
    arguments = parser.parse_args()
    command = arguments.command
    end_cleanly_on_terminate()
    if command == "start":
        start(arguments.base.expanduser().resolve(), cpu=not arguments.gpu)
        return
    host = install() if command == "install" else find()
    if host is None:
        raise HostError("there is no host yet: run `python scripts/host.py`")
    print(f"ComfyUI: {host.source}\nPython:  {host.python}")


if __name__ == "__main__":
    try:
        main()
    except HostError as error:
        raise SystemExit(f"error: {error}") from error
