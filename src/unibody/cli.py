"""The command line: thin over the backbone. `--json` everywhere; heavy things are imported where they are used."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from unibody.backbone import Backbone

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="One structure for a car maker's data and decisions.",
)
twin_app = typer.Typer(no_args_is_help=True, help="A whole car maker, made up, with known answers.")
lake_app = typer.Typer(no_args_is_help=True, help="The facts: status, rows, quarantine, lineage.")
decisions_app = typer.Typer(help="What the use cases propose, and what people said.")
app.add_typer(twin_app, name="twin")
app.add_typer(lake_app, name="lake")
app.add_typer(decisions_app, name="decisions")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main() -> None:
    """Run the command line; an error of ours is a message and exit code 2, never a traceback."""
    from unibody.errors import UnibodyError

    try:
        app()
    except UnibodyError as e:
        typer.secho(f"unibody: {e}", fg="red", err=True)
        sys.exit(2)


def _backbone() -> Backbone:
    from unibody import settings
    from unibody.backbone import Backbone

    return Backbone(settings.current())


def _print_json(body: Any) -> None:
    typer.echo(json.dumps(_finite(body), default=str, ensure_ascii=False))


def _finite(body: Any) -> Any:
    """JSON has no NaN: too few units to say becomes null."""
    if isinstance(body, float):
        return body if body == body and abs(body) != float("inf") else None
    if isinstance(body, dict):
        return {k: _finite(v) for k, v in body.items()}
    if isinstance(body, (list, tuple)):
        return [_finite(v) for v in body]
    return body


def _table(columns: list[str], rows: list[list[Any]], title: str | None = None) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, title=title, box=None, header_style="bold", title_justify="left")
    for row in rows:
        # markup off: a name out of a raw file is text, never formatting
        table.add_row(*(_escape(str(c)) for c in row))
    console = Console()
    # a program that reads the output, or a narrow log, gets whole lines
    (console if console.is_terminal else Console(width=200)).print(table)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


@contextmanager
def _progress(quiet: bool) -> Iterator[Any]:
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
            task, description=f"{_escape(what)}  {done:,}" if done else _escape(what)
        )


def _as_of(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        _refuse(f"--as-of {text!r} should be ISO 8601, e.g. 2026-06-01T12:00:00Z")
    return at.replace(tzinfo=at.tzinfo or UTC)


def _refuse(message: str) -> NoReturn:
    from unibody.errors import SetupError

    raise SetupError(message)


# ---- everything


@app.command()
def up(
    once: Annotated[bool, typer.Option("--once", help="One pass, the scoreboard, then exit.")] = False,
    as_json: Json = False,
    port: Annotated[int | None, typer.Option(help="Port of the web app on 127.0.0.1.")] = None,
    vehicles: Annotated[
        int, typer.Option(help="Vehicles of the made-up car maker, where the lake is empty.")
    ] = 1000,
) -> None:
    """Everything on one machine: an empty lake gets a small made-up car maker; then use cases, schedule, web app."""
    from unibody.backbone.up import first_pass

    backbone = _backbone()
    with _progress(as_json) as progress:
        board = first_pass(backbone, vehicles=vehicles, progress=progress)
    if as_json:
        _print_json(board)
    else:
        _scoreboard(board["judged"])
        typer.echo(f"{board['decisions']} decisions wait; {board['seconds']} s")
        for name, why in board["failed"].items():
            typer.secho(f"{name}: {why}", fg="yellow", err=True)
    if not once:
        from unibody.web import serve

        serve(backbone, port or backbone.settings.port)


@app.command()
def ingest(
    paths: list[Path],
    dialect: Annotated[str | None, typer.Option(help="Use this dialect, whatever the file's name.")] = None,
    as_json: Json = False,
) -> None:
    """Bring raw files, or all files below folders, into the lake."""
    with _progress(as_json) as progress:
        tally = _backbone().ingest(paths, only=dialect, progress=progress).plain()
    if as_json:
        _print_json(tally)
        return
    _table(["records", "landed", "quarantined", "already known", "set aside", "seconds"], [[
        f"{tally['records']:,}", f"{tally['landed']:,}", f"{tally['quarantined']:,}", f"{tally['already_known']:,}",
        ", ".join(f"{r}: {n:,}" for r, n in tally["set_aside"].items()) or "0", tally["seconds"],
    ]])  # fmt: skip
    _table(["table", "rows"], [[t, f"{n:,}"] for t, n in tally["rows"].items()])
    for problem in tally["problems"]:
        typer.secho(f"quarantined: {problem}", fg="yellow", err=True)
    if tally["unmatched"]:
        typer.echo(f"{len(tally['unmatched'])} files match no dialect, e.g. {tally['unmatched'][0]}")


# ---- twin


@twin_app.command("make")
def twin_make(
    folder: Path,
    vehicles: Annotated[int, typer.Option(help="How many vehicles.")] = 1000,
    days: Annotated[int, typer.Option(help="How many days.")] = 60,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 1,
    as_json: Json = False,
) -> None:
    """Make a small car maker: raw files in each system's own format, and the answer key."""
    from dataclasses import asdict

    from unibody import twin

    with _progress(as_json) as progress:
        summary = twin.make(folder, vehicles, days, seed, progress)
    if as_json:
        _print_json(asdict(summary))
    else:
        typer.echo(
            f"{folder}: {summary.files} files, {summary.bytes / 1e6:.1f} MB, {summary.vehicles} vehicles"
        )


# ---- lake


@lake_app.command("status")
def lake_status(as_json: Json = False) -> None:
    """Tables and sources in numbers."""
    status = _backbone().status()
    if as_json:
        _print_json(status)
        return
    _table(
        ["table", "rows", "MB", "files"],
        [[t, f"{s['rows']:,}", f"{s['bytes'] / 1e6:.2f}", s["files"]] for t, s in status["tables"].items()],
    )
    _table(["system", "files", "records", "landed", "quarantined", "last seen"], [
        [n, s["files"], f"{s['records']:,}", f"{s['landed']:,}", s["quarantined"], s["seen_at"][:16]] for n, s in status["sources"].items()
    ])  # fmt: skip


@lake_app.command("show")
def lake_show(
    table: str,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 20,
    as_of: Annotated[str | None, typer.Option(help="As known then of what happened before.")] = None,
    as_json: Json = False,
) -> None:
    """The first rows of a table, with where each came from."""
    frame = _backbone().show(table, limit, _as_of(as_of))
    if as_json:
        _print_json(frame.to_dicts())
    else:
        _table(frame.columns, [list(r) for r in frame.rows()])


@lake_app.command("quarantine")
def lake_quarantine(
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 50, as_json: Json = False
) -> None:
    """Records that could not land: where, what is wrong, what would have been right."""
    entries, count = _backbone().quarantine(limit)
    if as_json:
        _print_json({"waiting": count, "entries": entries})
        return
    _table(
        ["file", "record", "what is wrong"],
        [[Path(e["path"]).name, e["from_record"], e["rule"]] for e in entries],
    )
    typer.echo(f"{count} waiting; mend the dialect, then `unibody lake replay`")


@lake_app.command("replay")
def lake_replay(as_json: Json = False) -> None:
    """Map quarantined records again with the dialects as they are now."""
    tally = _backbone().replay().plain()
    if as_json:
        _print_json(tally)
    else:
        typer.echo(
            f"{tally['landed']} of {tally['records']} landed, {tally['quarantined']} stay in quarantine"
        )


@lake_app.command("lineage")
def lake_lineage(
    source: str,
    record: Annotated[int | None, typer.Option(help="One record's rows.")] = None,
    as_json: Json = False,
) -> None:
    """What a source, or one of its records, became."""
    found = _backbone().lineage(source, record)
    if as_json:
        _print_json(found)
        return
    typer.echo(
        f"{found['source']['path']} ({found['source']['dialect']} {found['source']['dialect_version']})"
    )
    for title, rows in found["rows"].items():
        typer.echo(f"  {title}: {rows if isinstance(rows, int) else json.dumps(rows, default=str)}")


@lake_app.command("compact")
def lake_compact(table: Annotated[str | None, typer.Argument()] = None, as_json: Json = False) -> None:
    """Rewrite many small files of a table (or of all) into few."""
    from unibody.lake import OWN, named
    from unibody.tables import TABLES

    lake = _backbone().lake
    tables = [named(table)] if table else [*TABLES.values(), *OWN.values()]
    done = {lake.path(t).name: lake.compact(t) for t in tables if lake.version(t) >= 0}
    if as_json:
        _print_json(done)
    else:
        _table(
            ["table", "files before", "files after"],
            [[n, d.get("numFilesRemoved", 0), d.get("numFilesAdded", 0)] for n, d in done.items()],
        )


# ---- use cases


@app.command()
def usecases(as_json: Json = False) -> None:
    """The questions there are, and how well each is answered."""
    backbone = _backbone()
    runs = backbone.ledger.last_runs()
    rows: list[dict[str, Any]] = []
    for case in backbone.usecases.values():
        judgement, last = backbone.judged(case.name), runs.get(case.name)
        rows.append({
            "usecase": case.name, "room": case.room, "question": case.question, "solution": case.solution, "kind": str(case.kind),
            "owner": case.owner, "when": case.when, "tags": list(case.tags), "data": case.data, "path": case.path,
            "truth": case.truth, "split": str(case.split) if case.split else None,
            "score": judgement.plain() if judgement else None, "last_run": last["began_at"] if last else None,
        })  # fmt: skip
    if as_json:
        _print_json(rows)
        return
    _table(
        ["use case", "question", "score"],
        [[r["usecase"], r["question"], _score_text(r["score"])] for r in rows],
    )


def _score_text(s: dict[str, Any] | None) -> str:
    if s is None:
        return "not judged yet"
    return f"{s['metric']} {s['ours']:.3g} ({s['baseline_name']} {s['baseline']:.3g}){' beats' if s['beats'] else ''}"


@app.command()
def check(as_json: Json = False) -> None:
    """Load every dialect, use case and solution, and say what is wrong."""
    from unibody import catalog

    backbone = _backbone()
    found = {"dialects": len(backbone.dialects), "usecases": len(backbone.usecases)}
    for case in backbone.usecases.values():
        catalog.solution(case.solution, backbone.settings.solutions)
    if as_json:
        _print_json(found | {"ok": True})
    else:
        typer.echo(f"{found['dialects']} dialects and {found['usecases']} use cases are right")


@app.command()
def run(
    name: Annotated[str | None, typer.Argument()] = None,
    everything: Annotated[bool, typer.Option("--all", help="All use cases that have data.")] = False,
    tag: Annotated[str | None, typer.Option(help="All use cases of this tag.")] = None,
    as_of: Annotated[str | None, typer.Option(help="Decide as one would have then.")] = None,
    as_json: Json = False,
) -> None:
    """Judge, learn, decide and propose: one use case, all, or those of a tag."""
    backbone = _backbone()
    done, failed = [], {}
    names = _chosen(backbone, name, everything, tag)
    with _progress(as_json) as progress:
        for each in names:
            try:
                done.append(backbone.run(each, _as_of(as_of), progress).plain())
            except Exception as e:
                if name is not None:
                    raise
                failed[each] = str(e)
    if as_json:
        _print_json(done[0] if name else {"ran": done, "failed": failed})
        return
    _table(
        ["use case", "model", "decisions", "new or changed"],
        [[d["usecase"], d["model"], d["decisions"], d["new"]] for d in done],
    )
    _scoreboard([d["score"] for d in done if d["score"]])
    for each, why in failed.items():
        typer.secho(f"{each}: {why}", fg="yellow", err=True)


def _chosen(backbone: Backbone, name: str | None, everything: bool, tag: str | None) -> list[str]:
    if name is not None:
        return [backbone.usecase(name).name]
    if not everything and tag is None:
        _refuse("name a use case, or say --all or --tag TAG; `unibody usecases` lists them")
    return [
        c.name
        for c in backbone.usecases.values()
        if (everything or tag in c.tags) and (c.truth is None or backbone.has_truth(c))
    ]


@app.command()
def judge(
    name: Annotated[str | None, typer.Argument()] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All use cases that have truth in the lake.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Score a use case on what was held back, beside a naive baseline and chance."""
    backbone = _backbone()
    with _progress(as_json) as progress:
        board = [backbone.judge(n, progress).plain() for n in _chosen(backbone, name, everything, None)]
    if as_json:
        _print_json(board)
    else:
        _scoreboard(board)


def _scoreboard(board: list[dict[str, Any]]) -> None:
    def number(x: float | None) -> str:
        return "-" if x is None or x != x else f"{x:.3g}"

    _table(["use case", "measure", "ours", "95 % interval", "baseline", "chance", "beats", "units", "split", "data"], [
        [b["usecase"], b["metric"], number(b["ours"]), f"{number(b['low'])} .. {number(b['high'])}",
         f"{number(b['baseline'])} ({b['baseline_name']})", number(b["chance"]),
         "yes" if b["beats"] else "leak?" if b["leaks"] else "no", b["units"], b["split"], b["data"]]
        for b in board
    ])  # fmt: skip
    for b in board:
        for leak in b["leaks"]:
            typer.secho(f"{b['usecase']}: {leak}", fg="yellow", err=True)


# ---- decisions


@decisions_app.callback(invoke_without_command=True)
def decisions(
    context: typer.Context, limit: Annotated[int, typer.Option(min=1)] = 50, as_json: Json = False
) -> None:
    """List what needs a decision."""
    if context.invoked_subcommand is not None:
        return
    found = _backbone().decisions()
    if as_json:
        _print_json(found)
        return
    _table(["id", "about", "do what", "why", "worth EUR", "sure", "state"], [
        [d["decision_id"], d["subject"], d["action"], d["reason"], "" if d["worth_eur"] is None else f"{d['worth_eur']:,.0f}",
         "" if d["sure"] is None else f"{d['sure']:.2f}", d["sent"]] for d in found[:limit]
    ])  # fmt: skip
    typer.echo(f"{len(found)} decisions")


def _move(decision_id: str, state: str, note: str, as_json: bool) -> None:
    import getpass

    moved = _backbone().move(decision_id, state, by=getpass.getuser(), note=note)
    if as_json:
        _print_json(vars(moved))
    else:
        typer.echo(
            f"{decision_id}: {moved.state}{', not sent: no writer is configured' if state == 'approved' else ''}"
        )


Note = Annotated[str, typer.Option("--note", help="Why; kept with the decision.")]


@decisions_app.command("approve")
def decisions_approve(decision_id: str, note: Note, as_json: Json = False) -> None:
    """Approve a decision."""
    _move(decision_id, "approved", note, as_json)


@decisions_app.command("dismiss")
def decisions_dismiss(decision_id: str, note: Note, as_json: Json = False) -> None:
    """Dismiss a decision."""
    _move(decision_id, "dismissed", note, as_json)


@decisions_app.command("revert")
def decisions_revert(decision_id: str, note: Note, as_json: Json = False) -> None:
    """Take an approved decision back."""
    _move(decision_id, "reverted", note, as_json)


@decisions_app.command("show")
def decisions_show(decision_id: str, as_json: Json = False) -> None:
    """One decision with its revisions and its history."""
    found = _backbone().decision(decision_id)
    if as_json:
        _print_json(found)
        return
    for key in (
        "subject",
        "action",
        "reason",
        "value",
        "low",
        "high",
        "worth_eur",
        "sure",
        "model",
        "risk",
        "sent",
    ):
        typer.echo(f"{key:10} {found[key]}")
    for step in found["history"]:
        typer.echo(f"  {step['at'][:16]}  {step['state']:10} {step['by']}  {step['note']}")


# ---- what there is


@app.command()
def tables(as_json: Json = False) -> None:
    """Every canonical table with its columns, units and meaning."""
    from unibody.tables import TABLES

    if as_json:
        _print_json({
            t.title(): {
                "about": (t.__doc__ or "").split("\n")[0], "key": t.key, "at": t.at, "usage_in": t.usage_in, "version": t.version,
                "columns": {
                    n: {"type": str(c.dtype), "unit": c.unit, "meaning": c.meaning, "sensitivity": c.sensitivity, "required": c.required, "allowed": c.allowed()}
                    for n, c in t.columns.items()
                },
            }
            for t in TABLES.values()
        })  # fmt: skip
        return
    for t in TABLES.values():
        rows = [[n, str(c.dtype).split("(")[0], c.unit or "", c.meaning] for n, c in t.columns.items()]
        _table(
            ["column", "type", "unit", "meaning"],
            rows,
            title=f"{t.title()}: {(t.__doc__ or '').splitlines()[0]}",
        )


@app.command()
def settings(as_json: Json = False) -> None:
    """Each setting, its value, and where that came from."""
    from dataclasses import asdict

    from unibody import settings as module

    found = module.sourced(module.current())
    if as_json:
        _print_json([asdict(s) for s in found])
    else:
        _table(
            ["setting", "value", "from", "meaning"], [[s.name, s.value, s.source, s.meaning] for s in found]
        )
