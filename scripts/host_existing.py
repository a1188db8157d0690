"""A ComfyUI that the user already has: used as it is; our tools go into an environment beside it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from scripts import ROOT
from scripts.host_install import (
    COMFYUI_VERSION,
    OPENCV,
    HostError,
    make_venv,
    python_runs,
    say,
    stamp_matches,
    venv_python,
    write_stamp,
)

PROBE = """
import importlib.util, json, sys
def has(name):
    return importlib.util.find_spec(name) is not None
missing = [name for name in ("torch", "torchvision", "aiohttp", "av") if not has(name)]
paths = [path for path in sys.path if path.rstrip("/\\\\").endswith(("site-packages", "dist-packages"))]
print(json.dumps({"missing": missing, "paths": paths, "cv2": has("cv2")}))
"""


def overlay_folder(folder: Path, source: Path) -> Path:
    """Our environment for one ComfyUI and one Python of it."""
    mark = f"{source}\n{os.environ.get('COMFYUI_PYTHON', '')}"
    return folder / f"overlay-{hashlib.sha256(mark.encode()).hexdigest()[:10]}"


def check_comfyui(source: Path) -> None:
    """Raise unless `source` is a ComfyUI that is new enough."""
    if not (source / "main.py").exists() or not (source / "comfyui_version.py").exists():
        raise HostError(
            f"COMFYUI_PATH is {source}, but that holds no ComfyUI: name the folder with its main.py"
        )
    text = (source / "comfyui_version.py").read_text()
    found = re.search(r"__version__\s*=\s*[\"']([^\"']+)", text)
    version = found.group(1) if found else "unknown"
    if not found or version_parts(version) < version_parts(COMFYUI_VERSION):
        raise HostError(
            f"the ComfyUI in {source} is version {version}, but {COMFYUI_VERSION} or newer is needed: "
            "update it, or unset COMFYUI_PATH to use a copy of ours"
        )


def version_parts(version: str) -> tuple[int, ...]:
    """'0.30.1' -> (0, 30, 1); what is missing counts as 0, and what follows the digits not at all."""
    leading = [re.match(r"\d+", part) for part in [*version.split("."), "", ""][:3]]
    return tuple(int(digits[0]) if digits else 0 for digits in leading)


def base_python(source: Path) -> Path:
    """The Python that starts this ComfyUI: named, in its folder, beside it (Windows portable), or ours."""
    if named := os.environ.get("COMFYUI_PYTHON"):
        python = Path(named).expanduser()
        if not python.exists():
            raise HostError(f"COMFYUI_PYTHON is {python}, but there is no such file")
        return python.absolute()
    candidates = [venv_python(source / name) for name in (".venv", "venv")]
    candidates.append(source.parent / "python_embeded" / "python.exe")
    return next((python for python in candidates if python.exists()), Path(sys.executable))


def prepare_overlay(folder: Path, source: Path) -> Path:
    """Make the environment of ours over the user's; returns its Python. The user's own is only read.

    A virtual environment does not see the packages of another one, so a .pth file adds their folders
    behind ours.
    """
    check_comfyui(source)
    overlay = overlay_folder(folder, source)
    python = venv_python(overlay)
    below = base_python(source)
    mark = f"{below}\n{(ROOT / 'requirements-dev.txt').read_text()}"
    if stamp_matches(overlay, mark) and python_runs(python):
        return python
    found = probe(below)
    say(f"using {source} with {below}; test tools go into {overlay}")
    make_venv(below, overlay)
    lines = [f"import site; site.addsitedir({path!r})\n" for path in found["paths"]]
    (site_packages(python) / "comfyui_below.pth").write_text("".join(lines))
    install_tools(python, with_cv2=not found["cv2"])
    write_stamp(overlay, mark)
    say("ready")
    return python


def install_tools(python: Path, *, with_cv2: bool) -> None:
    """Install our tools, complete with their own commands, and OpenCV where the Python below has none."""
    wanted = [["--ignore-installed", "-r", ROOT / "requirements-dev.txt"]]
    if with_cv2:
        wanted.append([OPENCV])  # its numpy is the one below
    for words in wanted:
        command = [python, "-m", "pip", "install", "-q", *words]
        # Kept back if it works: pip complains about what it finds below, which is not ours to mend.
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise HostError(f"the test tools could not be installed; pip says:\n{ran.stderr}")


def probe(python: Path) -> dict[str, Any]:
    """Ask a Python which package folders it has; raise where it cannot run ComfyUI."""
    asked = subprocess.run([python, "-c", PROBE], capture_output=True, text=True, check=False)
    if asked.returncode:
        raise HostError(
            f"{python} does not run ({asked.stderr.strip()[-200:]}): set COMFYUI_PYTHON to another"
        )
    found = json.loads(asked.stdout)
    if found["missing"]:
        raise HostError(
            f"{python} has no {', '.join(found['missing'])}: set COMFYUI_PYTHON to the Python that starts "
            "your ComfyUI, or unset COMFYUI_PATH to use a copy of ours"
        )
    return found


def site_packages(python: Path) -> Path:
    """Where an environment keeps its packages."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    asked = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return Path(asked.stdout.strip())
