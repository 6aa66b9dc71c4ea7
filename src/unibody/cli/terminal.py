"""What all commands share: the home, JSON and tables on the terminal, progress, refusals."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from unibody.backbone import Backbone

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def backbone_of_home() -> Backbone:
    """The backbone over the home that the settings name."""
    from unibody import settings
    from unibody.backbone import Backbone

    return Backbone(settings.current())


def print_json(body: Any) -> None:
    """Print one JSON document."""
    typer.echo(json.dumps(finite(body), default=str, ensure_ascii=False))


def finite(body: Any) -> Any:
    """JSON has no NaN: too few units to say becomes null."""
    if isinstance(body, float):
        return body if body == body and abs(body) != float("inf") else None
    if isinstance(body, dict):
        return {k: finite(v) for k, v in body.items()}
    if isinstance(body, (list, tuple)):
        return [finite(v) for v in body]
    return body


def print_table(columns: list[str], rows: list[list[Any]], title: str | None = None) -> None:
    """Print a table; whatever the cells hold is text."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, title=title, box=None, header_style="bold", title_justify="left")
    for row in rows:
        # markup off: a name out of a raw file is text, never formatting
        table.add_row(*(escaped(str(c)) for c in row))
    console = Console()
    # a program that reads the output, or a narrow log, gets whole lines
    (console if console.is_terminal else Console(width=200)).print(table)


def escaped(text: str) -> str:
    """Text that the terminal's markup cannot misread."""
    from rich.markup import escape

    return escape(text)


@contextmanager
def progress_line(quiet: bool) -> Iterator[Any]:
    """A progress line on the terminal's error side; nothing where the output is read by a program."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("...", total=None)
        yield lambda what, done, whole: bar.update(
            task, description=f"{escaped(what)}  {done:,}" if done else escaped(what)
        )


def instant(text: str | None) -> datetime | None:
    """Read --as-of."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        refuse(f"--as-of {text!r} should be ISO 8601, e.g. 2026-06-01T12:00:00Z")
    return at.replace(tzinfo=at.tzinfo or UTC)


def refuse(message: str) -> NoReturn:
    """Say what is wrong with the command line."""
    from unibody.errors import SetupError

    raise SetupError(message)


def scoreboard(board: list[dict[str, Any]]) -> None:
    """Print each use case's score beside its baseline and chance."""

    def number(x: float | None) -> str:
        return "-" if x is None or x != x else f"{x:.3g}"

    print_table(["use case", "measure", "ours", "95 % interval", "baseline", "chance", "beats", "units", "split", "data"], [
        [b["usecase"], b["metric"], number(b["ours"]), f"{number(b['low'])} .. {number(b['high'])}",
         f"{number(b['baseline'])} ({b['baseline_name']})", number(b["chance"]),
         "yes" if b["beats"] else "leak?" if b["leaks"] else "no", b["units"], b["split"], b["data"]]
        for b in board
    ])  # fmt: skip
    for b in board:
        for leak in b["leaks"]:
            typer.secho(f"{b['usecase']}: {leak}", fg="yellow", err=True)
