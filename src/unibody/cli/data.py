"""Commands about data: bring it in, make some up, look at the lake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from unibody.cli.terminal import Json, backbone_of_home, instant, print_json, print_table, progress_line

twin = typer.Typer(no_args_is_help=True, help="A whole car maker, made up, with known answers.")
lake = typer.Typer(no_args_is_help=True, help="The facts: status, rows, quarantine, lineage.")


def ingest(
    paths: list[Path],
    dialect: Annotated[str | None, typer.Option(help="Use this dialect, whatever the file's name.")] = None,
    as_json: Json = False,
) -> None:
    """Bring raw files, or all files below folders, into the lake."""
    with progress_line(as_json) as progress:
        tally = backbone_of_home().ingest(paths, only=dialect, progress=progress).plain()
    if as_json:
        print_json(tally)
        return
    print_table(["records", "landed", "quarantined", "already known", "set aside", "seconds"], [[
        f"{tally['records']:,}", f"{tally['landed']:,}", f"{tally['quarantined']:,}", f"{tally['already_known']:,}",
        ", ".join(f"{r}: {n:,}" for r, n in tally["set_aside"].items()) or "0", tally["seconds"],
    ]])  # fmt: skip
    print_table(["table", "rows"], [[t, f"{n:,}"] for t, n in tally["rows"].items()])
    for problem in tally["problems"]:
        typer.secho(f"quarantined: {problem}", fg="yellow", err=True)
    if tally["unmatched"]:
        typer.echo(f"{len(tally['unmatched'])} files match no dialect, e.g. {tally['unmatched'][0]}")


@twin.command("make")
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

    with progress_line(as_json) as progress:
        summary = twin.make(folder, vehicles, days, seed, progress)
    if as_json:
        print_json(asdict(summary))
    else:
        typer.echo(
            f"{folder}: {summary.files} files, {summary.bytes / 1e6:.1f} MB, {summary.vehicles} vehicles"
        )


# ---- lake


@lake.command("status")
def lake_status(as_json: Json = False) -> None:
    """Tables and sources in numbers."""
    status = backbone_of_home().status()
    if as_json:
        print_json(status)
        return
    print_table(
        ["table", "rows", "MB", "files"],
        [[t, f"{s['rows']:,}", f"{s['bytes'] / 1e6:.2f}", s["files"]] for t, s in status["tables"].items()],
    )
    print_table(["system", "files", "records", "landed", "quarantined", "last seen"], [
        [n, s["files"], f"{s['records']:,}", f"{s['landed']:,}", s["quarantined"], s["seen_at"][:16]] for n, s in status["sources"].items()
    ])  # fmt: skip


@lake.command("show")
def lake_show(
    table: str,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 20,
    as_of: Annotated[str | None, typer.Option(help="As known then of what happened before.")] = None,
    as_json: Json = False,
) -> None:
    """The first rows of a table, with where each came from."""
    frame = backbone_of_home().show(table, limit, instant(as_of))
    if as_json:
        print_json(frame.to_dicts())
    else:
        print_table(frame.columns, [list(r) for r in frame.rows()])


@lake.command("quarantine")
def lake_quarantine(
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 50, as_json: Json = False
) -> None:
    """Records that could not land: where, what is wrong, what would have been right."""
    entries, count = backbone_of_home().quarantine(limit)
    if as_json:
        print_json({"waiting": count, "entries": entries})
        return
    print_table(
        ["file", "record", "what is wrong"],
        [[Path(e["path"]).name, e["from_record"], e["rule"]] for e in entries],
    )
    typer.echo(f"{count} waiting; mend the dialect, then `unibody lake replay`")


@lake.command("replay")
def lake_replay(as_json: Json = False) -> None:
    """Map quarantined records again with the dialects as they are now."""
    tally = backbone_of_home().replay().plain()
    if as_json:
        print_json(tally)
    else:
        typer.echo(
            f"{tally['landed']} of {tally['records']} landed, {tally['quarantined']} stay in quarantine"
        )


@lake.command("lineage")
def lake_lineage(
    source: str,
    record: Annotated[int | None, typer.Option(help="One record's rows.")] = None,
    as_json: Json = False,
) -> None:
    """What a source, or one of its records, became."""
    found = backbone_of_home().lineage(source, record)
    if as_json:
        print_json(found)
        return
    typer.echo(
        f"{found['source']['path']} ({found['source']['dialect']} {found['source']['dialect_version']})"
    )
    for title, rows in found["rows"].items():
        typer.echo(f"  {title}: {rows if isinstance(rows, int) else json.dumps(rows, default=str)}")


@lake.command("compact")
def lake_compact(table: Annotated[str | None, typer.Argument()] = None, as_json: Json = False) -> None:
    """Rewrite many small files of a table (or of all) into few."""
    from unibody.lake import OWN, named
    from unibody.tables import TABLES

    lake = backbone_of_home().lake
    tables = [named(table)] if table else [*TABLES.values(), *OWN.values()]
    done = {lake.path(t).name: lake.compact(t) for t in tables if lake.version(t) >= 0}
    if as_json:
        print_json(done)
    else:
        print_table(
            ["table", "files before", "files after"],
            [[n, d.get("numFilesRemoved", 0), d.get("numFilesAdded", 0)] for n, d in done.items()],
        )
