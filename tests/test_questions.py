"""What a use case split by time is asked about lives: several moments, the truth of each, nothing seen after it."""

from __future__ import annotations

import polars as pl
from test_backbone import Plant, hour, readings

from unibody.solution import Kind
from unibody.tables import MachineReading, Outcome

#: machine, first and last hour read, its truth; the span is 0 .. 100 h, so it is asked at 70, 76, 82, 88 and 94 h
LIVES = [
    ("early", 0, 40, {"usage": 40.0}),  # ended before: learned from
    ("runs", 0, 80, {"usage": 80.0}),
    ("late", 73, 90, {"usage": 17.0}),  # began after the first moment
    ("silent", 0, 50, {"usage": 99.0}),  # said nothing any more, ended at 99 h
    ("open", 0, 100, {"remaining": 30.0}),  # 30 h were left after its last reading
]
ASKED = {
    "runs": [(69, 11), (75, 5)],
    "late": [(2, 15), (8, 9), (14, 3)],
    "silent": [(50, 49)],
    "open": [(69, 61), (75, 55), (81, 49), (87, 43), (93, 37)],
}


def test_lives_are_asked_at_several_moments_of_the_test_part(tmp_path):
    plant = Plant(tmp_path, Kind.LIFE, "time")
    plant.add(MachineReading, [r for n, a, b, _ in LIVES for r in readings(n, range(a, b + 1))])
    ends = {"early": 40, "runs": 80, "late": 90, "silent": 99, "open": 1000}
    plant.add(
        Outcome, [{"truth": "worn", "subject": n, "happened_at": hour(ends[n]), **t} for n, _, _, t in LIVES]
    )
    [fold] = plant.folds()
    assert (fold.learn.before, fold.learn.subjects["subject"].to_list()) == (hour(70), ["early"])
    assert [p.cut.before for p in fold.passes] == [hour(h) for h in (70, 76, 82, 88, 94)]
    asked = pl.concat([p.questions for p in fold.passes])
    found = {n: sorted(q.select("usage", "truth").rows()) for (n,), q in asked.group_by("subject")}
    assert found == ASKED
    assert set(asked["unit"]) == set(
        ASKED
    )  # a machine counts once in the interval, however often it is asked
    for p in fold.passes:
        assert p.questions["at"].max() < p.cut.before
        assert set(p.questions["subject"]) == set(p.cut.subjects["subject"])
