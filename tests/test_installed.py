"""A package of somebody else's, installed, brings a dialect, a solution and a use case: nothing of ours is touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from made_solution import SOLUTION, USECASE
from small import DIALECT
from test_backbone import raw

ENTRIES = """
[unibody.dialects]
hall_nine = hall_nine.dialects

[unibody.usecases]
hall_nine = hall_nine.usecases

[unibody.solutions]
warm = hall_nine.warm
"""
PACKAGE = {
    "hall_nine/__init__.py": "",
    "hall_nine/dialects/__init__.py": "",
    "hall_nine/dialects/small.toml": DIALECT,
    "hall_nine/usecases/__init__.py": "",
    "hall_nine/usecases/plants/wear.toml": USECASE,
    "hall_nine/warm.py": SOLUTION,
    "hall_nine-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: hall-nine\nVersion: 1.0\n",
    "hall_nine-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "hall_nine-1.0.dist-info/RECORD": "",
    "hall_nine-1.0.dist-info/entry_points.txt": ENTRIES,
}


def installed(folder: Path, **changed: str) -> Path:
    """A wheel made by hand, and pip's own installation of it into a folder."""
    wheel = folder / "hall_nine-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as z:
        for name, text in (PACKAGE | changed).items():
            z.writestr(name, text)
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--disable-pip-version-check"]
    line = [*pip, "--quiet", "--target", str(folder / "site"), str(wheel)]
    said = subprocess.run(line, capture_output=True, text=True, check=False)
    if "No module named pip" in said.stderr:
        pytest.skip("pip is not installed: python -m ensurepip")
    assert said.returncode == 0, said.stderr
    return folder / "site"


def unibody(site: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    own = {k: v for k, v in os.environ.items() if not k.startswith("UNIBODY_")}
    own |= {"PYTHONPATH": str(site), "UNIBODY_HOME": str(folder / "home"), "UNIBODY_QUIET_SECONDS": "0"}
    line = [sys.executable, "-c", "from unibody.cli import main; main()", *words]
    return subprocess.run(line, cwd=folder, env=own, capture_output=True, text=True, check=False)


def said(*given: Any) -> Any:
    done = unibody(*given, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_installed_package_is_checked_ingested_and_run(folder: Path) -> None:
    site = installed(folder)
    assert said(site, folder, "check")["ok"]
    raw(folder)
    tally = said(site, folder, "ingest", str(folder / "raw"))
    assert tally["landed"] == tally["records"] > 0 and tally["rows"]["machine_reading"]
    ran = said(site, folder, "run", "wear")
    assert ran["usecase"] == "wear" and ran["decisions"] > 0


def test_a_package_that_does_not_load_is_named(folder: Path) -> None:
    site = installed(folder, **{"hall_nine/warm.py": "import nothing_of_the_kind\n"})
    done = unibody(site, folder, "check")
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert "hall_nine.warm" in done.stderr and "nothing_of_the_kind" in done.stderr
