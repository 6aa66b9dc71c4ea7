"""Make the reference pages from the code; with --check only say whether they are up to date."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import typer

from unibody import catalog, cli
from unibody.dialects import dialect, readers
from unibody.settings import Settings
from unibody.solution import UseCase
from unibody.tables import SYSTEM, TABLES

HERE = Path(__file__).parent / "reference"
MADE = "<!-- made by docs/reference.py from the code: change the code, then `make docs` -->\n\n"


def tables() -> str:
    """Every canonical table."""
    text = "# Tables\n\nUnits are written as pint reads them; instants are UTC with microseconds.\n\n"
    for t in TABLES.values():
        about = " ".join((t.__doc__ or "").split())
        facts = [f"key: {', '.join(t.key)}", f"at: {t.at}"]
        facts += [f"usage: {t.usage_in}"] if t.usage_in else []
        facts += ["says what will be"] if t.foresees else []
        facts += [f"kept as series of {', '.join(t.packs)}"] if t.packs else []
        text += f"## {t.title()}\n\n{about} ({'; '.join(facts)})\n\n"
        text += "| column | type | unit | meaning | must be | sensitivity |\n|---|---|---|---|---|---|\n"
        for name, c in t.columns.items():
            kind = str(c.dtype).split("(")[0].lower()
            must = ("filled; " if c.required else "") + c.allowed().replace("|", "\\|")
            text += (
                f"| {name} | {kind} | {c.unit or ''} | {c.meaning} | {must.strip('; ')} | {c.sensitivity} |\n"
            )
        text += "\n"
    return text + f"The lake adds to every row: {', '.join(SYSTEM)}.\n"


def commands() -> str:
    """Every command with its help."""
    root = typer.main.get_command(cli.app)
    text = "# Commands\n\nEvery command takes `--json`. An error is a message on stderr and exit code 2.\n\n"

    def walk(command: object, path: list[str]) -> Iterator[tuple[list[str], object]]:
        children = getattr(command, "commands", None)
        if children is None or getattr(command, "invoke_without_command", False):
            yield path, command
        for name, child in sorted((children or {}).items()):
            yield from walk(child, [*path, name])

    for path, command in walk(root, ["unibody"]):
        params = command.params  # type: ignore[attr-defined]
        args = [
            p.name.upper() if p.required else f"[{p.name.upper()}]"
            for p in params
            if p.param_type_name == "argument"
        ]
        text += f"## `{' '.join([*path, *args])}`\n\n{(command.help or '').strip()}\n\n"  # type: ignore[attr-defined]
        for p in params:
            if p.param_type_name == "option" and p.name not in (
                "install_completion",
                "show_completion",
                "help",
            ):
                text += f"- `{p.opts[0]}`: {getattr(p, 'help', '') or ''}\n"
        text += "\n"
    return text


def settings() -> str:
    """Every setting."""
    text = "# Settings\n\nIn `unibody.toml`, or as an environment variable. `unibody settings` shows what is in force.\n\n"
    text += "| setting | variable | default | meaning |\n|---|---|---|---|\n"
    for name, f in Settings.model_fields.items():
        text += f"| {name} | UNIBODY_{name.upper()} | {f.default} | {f.description} |\n"
    return text


def dialects() -> str:
    """Every key of a dialect, and every reader."""
    text = "# Dialects\n\nThe keys of a dialect's TOML; see [Add a dialect](../how-to/add-a-dialect.md).\n\n"
    for cls in (dialect.Dialect, dialect.FileKind, dialect.RowMap, dialect.ColumnMap, dialect.Signals):
        source = inspect.getsource(cls)
        text += f"## {cls.__name__}\n\n{inspect.getdoc(cls)}\n\n```python\n{source[source.index('class') :].strip()}\n```\n\n"
    text += "In TOML: `from` is `source` of a column (`take` of signals), `except` is `leave`, `null` is `nulls`.\n\n## Readers\n\n"
    for name in readers.READERS:
        module = sys.modules.get(readers.READERS[name]) or __import__(
            readers.READERS[name], fromlist=["read"]
        )
        text += f"### {name}\n\n{inspect.getdoc(module)}\n\n"
    return text


def use_cases() -> str:
    """Every key of a use case, the solutions and their settings, and the use cases there are."""
    text = "# Use cases and solutions\n\n## Keys of a use case\n\n"
    text += "".join(f"- `{f.name}`\n" for f in fields(UseCase) if f.name not in ("name", "room", "path"))
    text += "\n## Solutions\n\n"
    for name in catalog.SOLUTIONS:
        module = catalog.solution(name)
        text += f"### {name}\n\n{inspect.getdoc(module)}\n\nReads {', '.join(t.title() for t in module.READS)}. Settings:\n\n"
        for f in fields(module.Settings):
            text += f"- `{f.name}` ({f.default}): {f.metadata.get('meaning', '')}\n"
        text += "\n"
    import unibody

    cases = catalog.use_cases([Path(unibody.__file__).parent / "usecases"])
    text += (
        "## Use cases\n\n| use case | question | kind | truth | split | data |\n|---|---|---|---|---|---|\n"
    )
    for c in cases.values():
        text += f"| {c.name} | {c.question} | {c.kind} | {c.truth or ''} | {c.split or ''} | {c.data} |\n"
    return text


def measures() -> str:
    """How each kind is measured."""
    from unibody.methods import scores

    return f"# Measures\n\n```\n{inspect.getdoc(scores)}\n```\n"


PAGES = {
    "tables.md": tables,
    "commands.md": commands,
    "settings.md": settings,
    "dialects.md": dialects,
    "use-cases.md": use_cases,
    "measures.md": measures,
}


def main() -> int:
    """Write the pages, or check them."""
    stale = []
    for name, make in PAGES.items():
        text, path = MADE + make().rstrip() + "\n", HERE / name
        if "--check" not in sys.argv:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        elif not path.is_file() or path.read_text() != text:
            stale.append(name)
    if stale:
        print(f"not up to date: {', '.join(stale)}; run `make docs`")
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
