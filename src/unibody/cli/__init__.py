"""The command line: thin over the backbone. `--json` everywhere; heavy things are imported where they are used."""

from __future__ import annotations

import sys

import typer

from unibody.cli import data, decide, investigate, questions, there, trace

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="One structure for a car maker's data and decisions.",
)
app.command()(questions.up)
app.command()(data.ingest)
app.add_typer(data.twin, name="twin")
app.add_typer(data.lake, name="lake")
app.command()(questions.usecases)
app.command()(there.check)
app.command()(questions.run)
app.command()(questions.judge)
app.command()(trace.trace)
app.command()(trace.prove)
app.command()(investigate.investigate)
app.add_typer(decide.decisions, name="decisions")
app.command()(decide.act)
app.add_typer(decide.outbox, name="outbox")
app.command()(there.tables)
app.command()(there.settings)


def main() -> None:
    """Run the command line; an error of ours is a message and exit code 2, never a traceback."""
    from unibody.errors import UnibodyError

    try:
        app()
    except UnibodyError as e:
        typer.secho(f"unibody: {e}", fg="red", err=True)
        sys.exit(2)
