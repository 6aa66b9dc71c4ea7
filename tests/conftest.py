"""What several test files share: a home whose model registry exists already, for MLflow takes seconds to make one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def template_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an empty registry; copy it."""
    from unibody import models

    home = tmp_path_factory.mktemp("template") / "home"
    models.Models(home / "models").versions("none")
    return home


@pytest.fixture
def folder(tmp_path: Path, template_home: Path) -> Path:
    """A folder of a user: his home is there, with an empty registry."""
    shutil.copytree(template_home, tmp_path / "home")
    return tmp_path
