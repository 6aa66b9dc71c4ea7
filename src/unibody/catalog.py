"""The solutions there are, by name, and the use cases found: ours, a user's folder, and installed entry points."""

from __future__ import annotations

import importlib.util
import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, get_type_hints

from unibody import solution as contract
from unibody.errors import SetupError, nearest
from unibody.solution import Kind, Solution, Split, UseCase

if TYPE_CHECKING:
    # mypy holds each of our modules against the contract
    from unibody import loop
    from unibody.plants import failure

    _CHECKED: tuple[Solution, ...] = (failure, loop)

#: Our solutions, name -> module. A test holds this list against the files.
SOLUTIONS: dict[str, str] = {
    "failure": "unibody.plants.failure",
    "loop": "unibody.loop",
}
RISKS = ("low", "medium", "high")


def solution(name: str, folder: Path | None = None) -> ModuleType:
    """The solution of this name: ours, else an entry point `unibody.solutions`, else a file of the user's folder.

    Raises SetupError where there is none, or where it breaks the contract.
    """
    if name in SOLUTIONS:
        return import_module(SOLUTIONS[name])
    if name in _installed():
        return _checked(loaded(_installed()[name]))
    path = (folder or Path()).absolute() / f"{name}.py"
    if folder is None or not path.is_file():
        own = [p.stem for p in folder.glob("*.py")] if folder and folder.is_dir() else []
        raise SetupError(f"no solution {name!r}; {nearest(name, [*SOLUTIONS, *_installed(), *own])}")
    return _own(path, path.stat().st_mtime_ns)


@cache
def _installed() -> dict[str, EntryPoint]:
    return {e.name: e for e in entry_points(group="unibody.solutions")}


def loaded(entry: EntryPoint) -> ModuleType:
    """What an installed package offers; SetupError names it where it does not load."""
    try:
        module: ModuleType = entry.load()
    except Exception as e:  # whatever a package raises, the message says which
        of = f" of {entry.dist.name}" if entry.dist else ""
        wrong = f"{type(e).__name__}: {e}"
        raise SetupError(f"entry point {entry.group}{of}: {entry.value} does not load: {wrong}") from e
    return module


def folders(what: str) -> list[Path]:
    """Folders of dialects or use cases that installed packages bring: entry points `unibody.dialects`, `.usecases`."""
    packages = [(e, loaded(e)) for e in entry_points(group=f"unibody.{what}")]
    for entry, package in packages:
        if not hasattr(package, "__path__"):
            raise SetupError(
                f"entry point {entry.group}: {entry.value} is a module, should be a package (a folder with __init__.py)"
            )
    return [Path(folder) for _, package in packages for folder in package.__path__]


@cache
def _own(path: Path, changed: int) -> ModuleType:
    """A user's own file as a module; loaded again when it was changed."""
    spec = importlib.util.spec_from_file_location(f"unibody_own_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their annotations up there
    try:
        spec.loader.exec_module(module)
    except Exception as e:  # whatever a user's file raises, the message says which file
        raise SetupError(f"solution {path}: does not load: {type(e).__name__}: {e}") from e
    return _checked(module)


def _checked(module: ModuleType) -> ModuleType:
    contract.check(module)
    if not is_dataclass(module.Settings):
        raise SetupError(f"solution {module.__file__}: Settings should be a frozen dataclass")
    return module


def use_cases(folders: list[Path], solutions: Path | None = None) -> dict[str, UseCase]:
    """All use cases below these folders, by name; a later folder's replaces one of the same name.

    Raises SetupError naming file, key and what would have been right.
    """
    paths = {
        p.stem: (p, folder) for folder in folders if folder.is_dir() for p in sorted(folder.rglob("*.toml"))
    }
    return {name: use_case(path, folder, solutions) for name, (path, folder) in sorted(paths.items())}


def use_case(path: Path, folder: Path, solutions: Path | None = None) -> UseCase:
    """Read one use case; its room is the folder it lies in."""
    try:
        stated = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as e:
        raise SetupError(f"{path}: cannot be read as TOML: {e}") from e
    hints = {f.name: f for f in fields(UseCase)}
    own = {n: f for n, f in hints.items() if n not in ("name", "room", "path")}
    for key in stated:
        if key not in own:
            raise SetupError(f"{path}: no key {key!r}; {nearest(key, own)}")
    for key in ("solution", "question", "owner"):
        if not isinstance(stated.get(key), str):
            raise SetupError(f"{path}: {key} = {stated.get(key)!r} should be a text")
    if not re.fullmatch(r"[\w-]+", path.stem):
        raise SetupError(f"{path}: a use case's name should be letters, digits, _ and -")
    module = solution(stated["solution"], solutions)
    values: dict[str, Any] = {"kind": contract.kinds(module)[0], "subject": module.SUBJECT}
    for key, value in stated.items():
        values[key] = _value(str(path), key, value, module)
    values.setdefault("settings", _settings(str(path), {}, module))
    if (values.get("truth") is None) != (values.get("split") is None):
        raise SetupError(
            f"{path}: truth and split belong together: what it is judged by, and how the rows are cut"
        )
    there = {c for t in module.READS for c in t.columns}
    for column in values.get("where", {}):
        if column not in there:
            raise SetupError(
                f"{path}: where: no table that {module.__name__} reads has {column!r}; {nearest(column, there)}"
            )
    if values["subject"] and values["subject"] not in there:
        raise SetupError(
            f"{path}: subject: no table that {module.__name__} reads has {values['subject']!r}; {nearest(values['subject'], there)}"
        )
    room = path.parent.relative_to(folder).as_posix()
    return UseCase(name=path.stem, room="" if room == "." else room, path=str(path), **values)


def _value(path: str, key: str, value: Any, module: ModuleType) -> Any:
    if key == "split":
        return Split.parse(_typed(path, key, value, str))
    if key == "kind":
        if value not in contract.kinds(module):
            raise SetupError(
                f"{path}: kind = {value!r}: {module.__name__} gives {', '.join(contract.kinds(module))}"
            )
        return Kind(value)
    if key == "settings":
        return _settings(path, _typed(path, key, value, dict), module)
    if key in ("tags", "notify"):
        return tuple(_typed(path, key, value, list))
    if key == "where":
        return _typed(path, key, value, dict)
    if key in ("cap", "horizon_hours"):
        return float(_typed(path, key, value, (int, float)))
    if key == "risk" and value not in RISKS:
        raise SetupError(f"{path}: risk = {value!r} should be one of {', '.join(RISKS)}")
    if key == "data" and value not in ("real", "twin"):
        raise SetupError(f"{path}: data = {value!r} should be real or twin")
    if key == "when":
        every(_typed(path, key, value, str), path)
    return _typed(path, key, value, str)


def _typed(path: str, key: str, value: Any, kind: type | tuple[type, ...]) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        names = kind.__name__ if isinstance(kind, type) else "a number"
        raise SetupError(f"{path}: {key} = {value!r} should be {names}")
    return value


def _settings(path: str, stated: Mapping[str, Any], module: ModuleType) -> Any:
    """The solution's settings with what the use case states; each checked against its field's type."""
    known = {f.name: f for f in fields(module.Settings)}
    types = get_type_hints(module.Settings)
    for key, value in stated.items():
        if key not in known:
            raise SetupError(f"{path}: settings has no {key!r}; {nearest(key, known)}")
        allowed = {float: (int, float), tuple: (list, tuple)}.get(types[key], types[key])
        if isinstance(allowed, type | tuple) and (
            not isinstance(value, allowed) or isinstance(value, bool) != (types[key] is bool)
        ):
            raise SetupError(f"{path}: settings.{key} = {value!r} should be {types[key].__name__}")
    missing = [
        n
        for n, f in known.items()
        if n not in stated and f.default is MISSING and f.default_factory is MISSING
    ]
    if missing:
        raise SetupError(f"{path}: settings must state {', '.join(missing)}")
    return module.Settings(**{k: tuple(v) if isinstance(v, list) else v for k, v in stated.items()})


def every(when: str, path: str) -> float | str:
    """Read a use case's `when`: seconds between runs, or the name of the table whose new rows start it.

    >>> every("every 2 h", "here"), every("new rows in stock", "here")
    (7200.0, 'stock')
    """
    from unibody.dialects.dialect import duration
    from unibody.tables import TABLES

    words = when.split()
    if words[:1] == ["every"]:
        return duration(" ".join(words[1:]), f"{path}: when").total_seconds()
    if words[:3] == ["new", "rows", "in"] and len(words) == 4:
        if words[3] not in TABLES:
            raise SetupError(f"{path}: when: no table {words[3]!r}; {nearest(words[3], TABLES)}")
        return words[3]
    raise SetupError(f"{path}: when = {when!r} should be like 'every 1 h' or 'new rows in stock'")
