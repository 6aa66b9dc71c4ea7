"""The command that investigates: any cohort, any outcome, from a table or from the lake."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unibody.cli.terminal import Json, backbone_of_home, print_json, print_table, progress_line, refuse

if TYPE_CHECKING:
    from unibody.backbone.investigate import Asked
    from unibody.loop.investigate import Investigation


def investigate(
    outcome: Annotated[
        str,
        typer.Option(
            help="What counts as failed: a column, or a condition; of the lake also \"symptom = 'x' within 12 months\"."
        ),
    ] = "",
    cohort: Annotated[
        str, typer.Option(help="Which units: \"plant = 'Mirafiori' and torque.belt < 40\"; empty: all.")
    ] = "",
    table: Annotated[
        Path | None, typer.Option(help="A CSV, TSV, Parquet or sheet; without it, the lake.")
    ] = None,
    exposure: Annotated[str, typer.Option(help="Column that says how much each row was at risk.")] = "",
    control: Annotated[
        list[str] | None, typer.Option(help="Column that counts other symptoms; may be repeated.")
    ] = None,
    attributes: Annotated[str, typer.Option(help="Only these columns, with commas between.")] = "",
    alpha: Annotated[float, typer.Option(help="Probability of naming a cause where there is none.")] = 0.05,
    as_of: Annotated[str, typer.Option(help="Of the lake: what was known then.")] = "",
    save: Annotated[str | None, typer.Option(help="Keep the question under this name.")] = None,
    open_: Annotated[
        str | None, typer.Option("--open", help="Ask again what was kept under this name.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="What was kept.")] = False,
    pdf: Annotated[Path | None, typer.Option(help="Write the report with its pictures to this file.")] = None,
    as_json: Json = False,
) -> None:
    """What do the failing units share that the others don't?"""
    if list_:
        _list(as_json)
        return
    from unibody.backbone import investigate as backbone_of

    backbone = backbone_of_home()
    if open_ is not None:
        asked = backbone_of.reopened(backbone, open_)
    else:
        if not outcome.strip():
            refuse(
                "say with --outcome what counts as failed: a column, or a condition such as \"code = 'C1246'\""
            )
        asked = backbone_of.Asked(
            outcome, cohort, str(table.absolute()) if table else "", exposure, tuple(control or ()),
            tuple(a.strip() for a in attributes.split(",") if a.strip()), alpha, as_of,
        )  # fmt: skip
    with progress_line(as_json) as progress:
        found = backbone_of.ask(backbone, asked, progress)
    if save is not None:
        import getpass

        backbone_of.save(backbone, save, asked, getpass.getuser())
    if pdf is not None:
        from unibody.web.report import report

        pdf.write_bytes(report(found, asked))
    if as_json:
        print_json(found.plain())
    else:
        _print(found, asked)


def _list(as_json: bool) -> None:
    from unibody.backbone.investigate import saved

    rows = saved(backbone_of_home())
    if as_json:
        print_json(rows)
    elif not rows:
        typer.echo("nothing was kept yet; `unibody investigate ... --save NAME` keeps one")
    else:
        print_table(
            ["name", "question", "by", "at"], [[r["name"], r["question"], r["owner"], r["at"]] for r in rows]
        )


def _print(found: Investigation, asked: Asked) -> None:
    from unibody.loop.investigate import span, times
    from unibody.loop.pictures import said

    plain, causes = found.plain(), found.found.causes
    typer.secho(found.verdict, bold=True)
    typer.echo()
    shown = causes or found.found.ranked[:5]
    rows: list[list[Any]] = [
        [
            said(c.conditions), f"{c.failed:,}", f"{c.expected:.1f}", f"{c.units:,}", times(c.effect, ""), span(c.low, c.high),
            f"{c.p_adjusted:.2g}", f"{c.since:%Y-%m-%d}" if c.since else "",
        ]
        for c in shown
    ]  # fmt: skip
    title = "causes" if causes else "what stands out most (chance gives as much)"
    if rows:
        print_table([title, "failed", "expected", "units", "times", "95 %", "p", "since"], rows)
    for cause in causes:
        for alike in cause.alike:
            typer.echo(f"cannot be told apart from {said(cause.conditions)}: {said(alike)}")
    if causes:
        share = found.covered_probability
        typer.echo(
            f"{found.covered:,} units meet it"
            + (
                f"; they hold {'over 99.9 %' if share > 0.999 else f'{share:.1%}'} of the affected, by this evidence"
                if share is not None
                else ""
            )
        )
    rest = plain["against_rest"]
    if rest and rest["ratio"] is not None:
        typer.echo(
            f"the cohort against the rest: {rest['cohort']['failed']:,} of {rest['cohort']['units']:,} units failed, "
            f"{rest['rest']['failed']:,} of {rest['rest']['units']:,} of the rest; {rest['ratio']:.2g} times as often "
            f"({span(rest['low'] or 0.0, rest['high'] if rest['high'] is not None else float('inf'))}, 95 %)"
        )
    chance = found.found.chance
    typer.echo(
        f"looked at {found.found.hypotheses:,} hypotheses; a search like this over failures by chance names a cause in "
        f"{found.alpha:.0%} of cases" + (f" (tried {chance.draws} times)" if chance.draws else "")
    )
    for note in found.table.notes:
        typer.echo(f"  {note}")
    left = {k: v for k, v in found.left_out.items() if v not in ("one value only", "not asked for")}
    for name, why in list(left.items())[:12]:
        typer.echo(f"  left out: {name} ({why})")
    constant = sum(v == "one value only" for v in found.left_out.values())
    if constant or len(left) > 12:
        typer.echo(
            f"  left out: {constant} columns with one value only"
            + (f", {len(left) - 12} more" if len(left) > 12 else "")
        )
