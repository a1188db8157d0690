"""A Chromium for the browser tests: the one that is there, else one that can be had without asking for root.

python scripts/browser.py    find or install it and print where it is
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts.host import use_host_python
from scripts.host_install import HostError, say

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)


def launch_arguments() -> list[str]:
    """Options that Chromium needs here: its sandbox does not work for root."""
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    return ["--no-sandbox"] if is_root else []


def find() -> Path | None:
    """A Chromium that starts: CHROMIUM_PATH, on the PATH, in its usual place, Playwright's own."""
    if named := os.environ.get("CHROMIUM_PATH"):
        if not starts(Path(named)):
            raise HostError(f"CHROMIUM_PATH is {named}, but that does not start: name a Chromium or unset it")
        return Path(named)
    on_path = [Path(found) for name in NAMES if (found := shutil.which(name))]
    return next((path for path in (*on_path, *map(Path, PLACES), *playwrights_own()) if starts(path)), None)


def playwrights_own() -> list[Path]:
    """Where Playwright keeps its Chromium, whether it is there or not; nothing without Playwright."""
    code = "from playwright.sync_api import sync_playwright\n"
    code += "with sync_playwright() as p: print(p.chromium.executable_path)"
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return [Path(asked.stdout.strip())] if asked.returncode == 0 else []


def starts(path: Path) -> bool:
    """Whether it can show a page (a Chromium without its system libraries is there, but cannot)."""
    if not path.is_file():
        return False
    command = [path, "--headless", "--disable-gpu", *launch_arguments(), "--dump-dom", "about:blank"]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return "<html>" in shown.stdout


def install() -> Path | None:
    """Bring a Chromium: apt as root on Debian, else Playwright's download; None where neither works."""
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    if is_root and shutil.which("apt-get") and is_debian():
        say("Chromium, by apt")
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update", "-q"], ["install", "-y", "-q", "chromium"]):
            subprocess.run(["apt-get", *command], env=environment, stdout=subprocess.DEVNULL, check=False)
        if found := find():
            return found
    say("Chromium, by Playwright")
    subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)
    return find()


def is_debian() -> bool:
    """Debian itself: elsewhere the package may be a stub for another package system."""
    release = Path("/etc/os-release")
    return release.exists() and "\nID=debian\n" in f"\n{release.read_text()}"


def find_or_install() -> Path | None:
    """A Chromium that starts, installed if need be; None where none can be had."""
    return find() or install()


if __name__ == "__main__":
    try:
        use_host_python()
        chromium = find_or_install()
    except HostError as error:
        raise SystemExit(f"error: {error}") from error
    if chromium is None:
        raise SystemExit("error: no Chromium can be had: install one, or set CHROMIUM_PATH")
    print(chromium)
