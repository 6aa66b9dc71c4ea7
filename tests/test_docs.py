"""Docs that are true: the tutorial and the how-tos are run, the reference is what the code says, links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```(?P<kind>\w+)(?: title=(?P<title>\S+))?\n(?P<body>.*?)^```$", re.M | re.S)


def blocks(page: str) -> Iterator[tuple[str, str | None, str]]:
    for found in BLOCK.finditer((DOCS / page).read_text()):
        yield found["kind"], found["title"], found["body"]


def shell(line: str, folder: Path) -> str:
    words = shlex.split(line)
    words = (
        [sys.executable, "-m", "unibody", *words[1:]]
        if words[0] == "unibody"
        else [sys.executable, *words[1:]]
    )
    env = {**os.environ, "UNIBODY_HOME": str(folder / "home"), "UNIBODY_QUIET_SECONDS": "0"}
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"$ {line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The tutorial, run as it stands: every file written, every command run, in order."""
    folder = tmp_path_factory.mktemp("tutorial")
    said: dict[str, str] = {}
    for kind, title, body in blocks("tutorial.md"):
        if title:
            (folder / title).parent.mkdir(parents=True, exist_ok=True)
            (folder / title).write_text(body)
        elif kind == "sh":
            for line in body.strip().splitlines():
                said[line] = shell(line, folder)
    return folder, said


def test_tutorial_data_become_a_judged_use_case(rig: tuple[Path, dict[str, str]]) -> None:
    folder, said = rig
    decisions = json.loads(said["unibody decisions --json"])
    assert {d["subject"] for d in decisions} == {f"north P{n:02d}" for n in range(12, 16)}
    (score,) = json.loads(shell("unibody judge pump_life --json", folder))
    assert score["beats"] and score["ours"] < score["baseline"] < score["chance"]
    assert score["units"] == 12 and score["leaks"] == []


def test_tutorial_data_are_read_as_they_are(rig: tuple[Path, dict[str, str]]) -> None:
    folder, _ = rig
    status = json.loads(shell("unibody lake status --json", folder))
    lines = (folder / "rig_north.csv").read_text().splitlines()[1:]
    assert status["tables"]["outcome"]["rows"] == 12 == sum(line.endswith("FEST") for line in lines)
    assert status["tables"]["machine_reading"]["rows"] == 2 * sum(line.endswith("ok") for line in lines)
    again = json.loads(shell("unibody ingest rig_north.csv --json", folder))
    assert again["landed"] == 0 and again["already_known"] == len(lines)


def test_tutorial_decision_is_approved_once(rig: tuple[Path, dict[str, str]]) -> None:
    folder, said = rig
    first = json.loads(said["unibody decisions --json"])[0]["decision_id"]
    assert "approved" in shell(f"unibody decisions approve {first} --note 'stop planned'", folder)
    with pytest.raises(AssertionError, match="is approved: it can become sent, reverted"):
        shell(f"unibody decisions approve {first} --note again", folder)


def test_the_solution_of_the_how_to_works(rig: tuple[Path, dict[str, str]]) -> None:
    folder, _ = rig
    ((_, title, body),) = [b for b in blocks("how-to/add-a-solution.md") if b[1]]
    assert title
    (folder / title).parent.mkdir(exist_ok=True)
    (folder / title).write_text(body)
    case = (
        'solution = "hottest"\nquestion = "Which pump runs hot?"\nowner = "rig"\nwhere.machine = "north *"\n'
    )
    (folder / "usecases" / "hot_pump.toml").write_text(case)
    assert "right" in shell("unibody check", folder)
    try:
        # without a truth it cannot learn a limit: the error must name the use case, not show a traceback
        done = shell("unibody run hot_pump", folder)
        pytest.fail(f"ran without truth: {done}")
    except AssertionError as e:
        assert "Traceback" not in str(e)
    finally:
        (folder / "usecases" / "hot_pump.toml").unlink()


def test_reference_is_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, str(DOCS / "reference.py"), "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr + "run `make docs`"


def test_links_lead_somewhere() -> None:
    broken = []
    for page in [*DOCS.rglob("*.md"), ROOT / "README.md"]:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
            if not target.startswith(("http:", "https:", "mailto:")) and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)} -> {target}")
    assert not broken


def test_tables_of_use_case_keys_are_complete() -> None:
    from dataclasses import fields

    from unibody.solution import UseCase

    page = (DOCS / "how-to/add-a-use-case.md").read_text() + (DOCS / "reference/use-cases.md").read_text()
    missing = [
        f.name for f in fields(UseCase) if f.name not in ("name", "room", "path") and f.name not in page
    ]
    assert not missing
