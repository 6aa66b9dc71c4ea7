"""The house as DESIGN.md draws it: who may import whom, what is listed is there, and nothing of this machine lies about."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import unibody
from unibody import catalog

SRC = Path(unibody.__file__).parent
ROOT = SRC.parent.parent
MODULES = sorted(SRC.rglob("*.py"))

#: Bottom up: a module imports only from floors above it in this list.
FLOORS = (
    ("errors", "usecases"),
    ("settings", "tables", "twin"),
    ("dialects",),
    ("engine",),
    ("lake", "ledger"),
    ("solution",),
    ("gate",),
    ("models",),
    ("methods",),
    ("rollout",),
    ("plants", "supply", "engineering", "vehicles", "customers", "loop"),
    ("catalog",),
    ("backbone",),
    ("api", "mcp"),
    ("web",),
    ("cli",),
    ("__main__",),
)
FLOOR = {name: i for i, names in enumerate(FLOORS) for name in names}
ROOMS = FLOORS[FLOOR["plants"]]
HEAVY = (
    "polars",
    "pandera",
    "mlflow",
    "sklearn",
    "lightgbm",
    "nicegui",
    "pydantic_settings",
    "deltalake",
    "duckdb",
    "ibis",
    "numpy",
)


def part(path: Path) -> str:
    first = path.relative_to(SRC).parts[0]
    return first.removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The parts of ours that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            words = node.module.split(".")
            if words == ["unibody"]:
                found |= {
                    a.name for a in node.names if (SRC / a.name).is_dir() or (SRC / f"{a.name}.py").is_file()
                }
            elif words[0] == "unibody":
                found.add(words[1])
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("unibody.")}
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: relative import"
    return found


def tracked() -> list[Path]:
    """The text files that git knows or would add."""
    line = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(line, capture_output=True, check=False)
    if found.returncode:
        pytest.skip("no git checkout")
    paths = [ROOT / p for p in found.stdout.decode().split("\0") if p]
    return [p for p in paths if p.is_file() and b"\0" not in p.read_bytes()[:4096]]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SRC)))
def test_a_module_imports_only_from_above_it(path):
    mine = part(path)
    if mine == "__init__":
        return
    assert mine in FLOOR, f"{mine} has no floor in this test's list: give it one"
    for other in imported(path) - {mine}:
        assert FLOOR[other] < FLOOR[mine], f"{mine} imports {other}"


@pytest.mark.parametrize("room", [r for r in ROOMS if (SRC / r).is_dir()])
def test_rooms_never_import_each_other(room):
    for path in (SRC / room).rglob("*.py"):
        assert not imported(path) & (set(ROOMS) - {room, "loop"}), path


def test_the_twin_writes_with_code_of_its_own():
    assert set().union(*(imported(p) for p in (SRC / "twin").rglob("*.py"))) <= {"errors", "twin"}


def test_the_tables_import_nothing_of_ours():
    assert set().union(*(imported(p) for p in (SRC / "tables").rglob("*.py"))) <= {"tables"}


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from unibody.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        f"print('heavy:', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-1] == "heavy: []"


def test_the_catalog_lists_the_solutions_that_are_there():
    files = {p for room in ROOMS for p in (SRC / room).glob("*.py")}  # a room may be one solution itself
    files |= {
        p / "__init__.py" for room in ROOMS for p in (SRC / room).glob("*/") if (p / "__init__.py").is_file()
    }
    solutions = {
        p.parent.name if p.stem == "__init__" else p.stem
        for p in files
        if {"READS", "KIND", "SUBJECT"}
        <= {
            t.id
            for n in ast.parse(p.read_text()).body
            if isinstance(n, ast.Assign)
            for t in n.targets
            if isinstance(t, ast.Name)
        }
    }
    assert solutions == set(catalog.SOLUTIONS)
    for name, module in catalog.SOLUTIONS.items():
        assert module.rsplit(".", 1)[-1] == name
        catalog.contract.check(catalog.solution(name))


def test_the_readmes_tree_is_the_tree():
    readme = ROOT / "README.md"
    block = re.search(
        r"^```(?:tree)?\n(src/unibody/\n.*?)^```", readme.read_text() if readme.is_file() else "", re.M | re.S
    )
    if not block:
        pytest.skip("README.md has no fenced block that starts with src/unibody/")
    named, folders = set(), [ROOT]
    for line in block[1].splitlines():
        # the name ends where two blanks begin the caption; several files may share a line
        bare = line.split("#")[0]
        depth = (len(bare) - len(bare.lstrip())) // 2
        names = re.split(r"\s{2,}", bare.strip())[0].split()
        if not names:
            continue
        folders = folders[: depth + 1]
        for name in names:
            path = folders[-1] / name
            assert path.exists(), f"README's tree names {path.relative_to(ROOT)}, which is not there"
            named.add(path.resolve())
        if names[-1].endswith("/"):
            folders.append(folders[-1] / names[-1])
    there = {
        p for p in SRC.iterdir() if p.name not in ("__init__.py", "__main__.py", "__pycache__", "py.typed")
    }
    missing = sorted(p.name for p in there if p.resolve() not in named and (p.suffix == ".py" or p.is_dir()))
    assert not missing, f"README's tree does not name {missing}"


def test_a_file_that_outgrew_one_read_is_a_folder():
    long = {str(p.relative_to(SRC)): n for p in MODULES if (n := len(p.read_text().splitlines())) > 480}
    assert not long, f"longer than one read: {long}"


def test_nothing_of_this_machine_lies_in_the_tree():
    # this checkout's own folder, somebody's home, an index or an address on a private network
    home = re.compile(
        rf"{re.escape(str(ROOT.parent))}/|/home/\w+/|index-url|https?://\S+/simple\b|(?:10|192\.168)\.\d+\.\d+\.\d+"
    )
    found = []
    for path in tracked():
        if path == Path(__file__):
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if home.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    assert not found, "\n".join(found[:20])


def test_every_public_name_says_what_it_is_for():
    environ = {**os.environ, "RUFF_NO_CACHE": "true"}
    line = [sys.executable, "-m", "ruff", "check", "--select", "D1", "--ignore", "D105,D107", str(SRC)]
    said = subprocess.run(line, capture_output=True, text=True, env=environ, check=False)
    assert said.returncode == 0, said.stdout
