"""Commands about what there is: dialects and use cases that are right, tables, settings."""

from __future__ import annotations

import typer

from unibody.cli.terminal import Json, backbone_of_home, print_json, print_table


def check(as_json: Json = False) -> None:
    """Load every dialect, use case and solution, and say what is wrong."""
    from unibody import catalog

    backbone = backbone_of_home()
    found = {"dialects": len(backbone.dialects), "usecases": len(backbone.usecases)}
    for case in backbone.usecases.values():
        catalog.solution(case.solution, backbone.settings.solutions)
    if as_json:
        print_json(found | {"ok": True})
    else:
        typer.echo(f"{found['dialects']} dialects and {found['usecases']} use cases are right")


def tables(as_json: Json = False) -> None:
    """Every canonical table with its columns, units and meaning."""
    from unibody.tables import TABLES

    if as_json:
        print_json({
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
        print_table(
            ["column", "type", "unit", "meaning"],
            rows,
            title=f"{t.title()}: {(t.__doc__ or '').splitlines()[0]}",
        )


def settings(as_json: Json = False) -> None:
    """Each setting, its value, and where that came from."""
    from dataclasses import asdict

    from unibody import settings as module

    found = module.sourced(module.current())
    if as_json:
        print_json([asdict(s) for s in found])
    else:
        print_table(
            ["setting", "value", "from", "meaning"], [[s.name, s.value, s.source, s.meaning] for s in found]
        )
