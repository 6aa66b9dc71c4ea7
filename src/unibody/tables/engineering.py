"""What engineers design and simulate."""

from __future__ import annotations

from datetime import datetime

from unibody.tables.table import Table, column


class Design(Table):
    """One parameter of one design variant."""

    key, at = ("design", "parameter"), "made_at"
    design: str = column("variant", required=True)
    parameter: str = column("parameter, with its unit in the name", required=True)
    made_at: datetime = column("when the variant was made", required=True)
    value: float = column("its value where it is a number")
    text: str = column("its value where it is a word")
    product: str = column("what is designed")


class Simulation(Table):
    """One result of one simulation run of one design."""

    key, at = ("run_id", "result"), "ran_at"
    run_id: str = column("the run", required=True)
    result: str = column("result, with its unit in the name", required=True)
    ran_at: datetime = column("when it ran", required=True)
    design: str = column("variant simulated", required=True)
    simulator: str = column("program and version")
    value: float = column("the result", required=True)
    seconds: float = column("time it took", unit="s", low=0)
