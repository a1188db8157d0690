"""A built wheel holds what the code reads beside itself."""

import re

from scripts import ROOT

PACKAGE = ROOT / "magref_core"


def named_in_pyproject() -> set[str]:
    """Paths of the files that the table of package data names, from the root."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    table = re.search(r"^\[tool\.setuptools\.package-data\]\n((?:.+\n)+)", text, re.MULTILINE)
    entries = re.findall(r'^"([\w.]+)" = \[(.+)\]$', table[1] if table else "", re.MULTILINE)
    return {
        f"{package.replace('.', '/')}/{name}"
        for package, names in entries
        for name in re.findall(r'"([^"]+)"', names)
    }


def test_every_file_that_is_no_module_is_named_as_package_data():
    files = {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert files == named_in_pyproject()
    assert "magref_core/evaluation/halves.safetensors" in files
