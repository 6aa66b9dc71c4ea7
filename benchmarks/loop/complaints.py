"""Public complaints without exposure: does disproportionality flag a model's component before its recall, beyond chance.

Protocol, fixed before the first run; nothing in it was tuned.

**Data.** The NHTSA complaint watch-list (month x make x model x model year x component x topic) holds *only cells that
passed its author's filter* (three complaints or more, and a score of growth, severity and topic): quiet cells are not
there, so no rate can be had from it, and everything here is "given that the author's list had it". It names no recall
dates: the month of a recall is the place of its campaign number among its year's vehicle campaigns, as told by
`recall_days` (right to a day in the median where dates were known). Recalls of 2020-2024 are used; the file of 2025 is
partial, so a place in it gives no date. What a recall is about is searched by words in all of its documents' summaries
(`WORDS`); a campaign whose texts name no component cannot be matched, and is counted.

**Asked.** At the end of each month a *stream* (make, model, component) is live if the list has it that month and no
matched recall lies in the `BEHIND` months before (complaints follow recalls too). Its reports of the last `WINDOW`
months are compared with those of all models and components: IC025 > 0 flags it. A flag is right when a recall of this
make and model that names this component comes in the next `AHEAD` months.

**Beside it.** *Chance*: as many flags each month given to live streams at random (permutation within the month, 2,000
times); lift = share right / chance. At an equal number of flags each month: most complaints, the author's own score, the
gamma-Poisson shrinker's EB05. Interval of the lift: bootstrap over make and model, whose months hang together. For each
recall that had a live stream in the months before: was one flagged, how long before, and the same by chance. A lead time
without that chance is no finding. (Flags at random jump from stream to stream each month and so touch more recalls than a
lasting flag: chance is the upper level here; the lift has no such tilt.) Without component match the shares are higher
for everyone and say less: told beside.

Added after the first run, which flagged two live streams of three and so could hardly tell anything apart: the same with
the surest tenth of each month's live streams.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.figures import Figure, told
from benchmarks.loop.answers import Floats
from unibody.methods.disproportion import disproportion, gamma_poisson

DATA = Path(os.environ.get("UNIBODY_DATA", Path(__file__).parents[3] / "shared/data")) / "customers"
WATCH = DATA / "nhtsa_watchlist_2020_2026/nlp_early_warning_watchlist.csv.gz"
RECALLS = DATA / "nhtsa_recall_documents/RCL_FROM_2020_2024.zip"
WINDOW, AHEAD, BEHIND = 12, 6, 12
FIRST, LAST = 2020 * 12 + 11, 2024 * 12 + 5  # months since year 0: 2020-12, with a full window, to 2024-06
DRAWS = 2000
#: Words in recall documents for each component group of the watch-list.
WORDS = {
    "ENGINE / COOLING": r"engine|coolant|radiator|piston|connecting rod|crankshaft|camshaft|oil leak|turbocharger|water pump",
    "POWER TRAIN": r"transmission|gear ?shift|shifter|drive ?shaft|half ?shaft|driveline|axle|differential|transfer case|rollaway|park pawl|clutch",
    "STEERING": r"steering",
    "ELECTRICAL SYSTEM": r"electrical|wiring|harness|battery|alternator|instrument (?:cluster|panel display)|short circuit|fuse|software",
    "SERVICE BRAKES": r"brak(?:e|es|ing)\b",
    "FUEL / PROPULSION": r"fuel|high.voltage|traction battery|propulsion|inverter|gasoline",
    "EXTERIOR LIGHTING": r"head ?lamp|head ?light|tail ?lamp|tail ?light|turn signal|exterior light|daytime running|brake light|stop lamp",
    "FORWARD COLLISION AVOIDANCE": r"forward collision|automatic emergency braking|collision (?:avoidance|mitigation|warning)|radar",
    "STRUCTURE": r"structur|frame rail|subframe|hood|liftgate|tailgate|roof|body panel|\bdoor\b|weld",
    "VISIBILITY / WIPER": r"windshield|windscreen|wiper|defrost|mirror|visibility|glass",
    "AIR BAGS": r"air ?bag|inflator|occupant classification|srs",
    "SUSPENSION": r"suspension|control arm|ball joint|strut|shock absorber|stabilizer|toe link|trailing arm",
    "VEHICLE SPEED CONTROL": r"accelerator|throttle|cruise control|speed control|unintended acceleration",
    "BACK OVER PREVENTION": r"rear ?view camera|back.?up camera|rear camera|backover|rear view image",
    "SEATS": r"\bseats?\b|seat ?back|head restraint",
    "LANE DEPARTURE": r"lane (?:departure|keep|assist)",
    "LATCHES/LOCKS/LINKAGES": r"latch|\block",
    "ELECTRONIC STABILITY CONTROL (ESC)": r"stability control|\besc\b",
    "SEAT BELTS": r"seatbelt|buckle|pretensioner|retractor",
    "WHEELS": r"\bwheels?\b|lug nut|wheel nut",
    "TIRES": r"\btires?\b",
}  # fmt: skip


def months() -> pl.DataFrame:
    """make, model, component, month (since year 0), complaints, score (the author's, the highest)."""
    frame = pl.read_csv(WATCH, infer_schema_length=None)
    month = (
        pl.col("month").str.slice(0, 4).cast(pl.Int64) * 12
        + pl.col("month").str.slice(5, 2).cast(pl.Int64)
        - 1
    )
    return (
        frame.group_by(
            month=month, make=pl.col("maketxt"), model=pl.col("modeltxt"), component=pl.col("component_group")
        )
        .agg(pl.col("complaints").sum(), score=pl.col("watchlist_score").max())
        .sort("month", "make", "model", "component")
    )


def recall_days(campaigns: pl.DataFrame) -> pl.DataFrame:
    """Adds `month` to campaigns (yyVnnn): their place among their year's vehicle campaigns, as a part of the year.

    >>> recall_days(pl.DataFrame({"campaign": ["20V001", "20V400", "20V800"]}))["month"].to_list()
    [24242, 24246, 24250]
    """
    year = 2000 + pl.col("campaign").str.slice(0, 2).cast(pl.Int64)
    place = (pl.col("campaign").rank("ordinal").over(year) - 0.5) / pl.len().over(year)
    return campaigns.with_columns(month=year * 12 + (12 * place).floor().cast(pl.Int64))


def recalls() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Recalls by (make, model, component, month), and by (make, model, month); the words are searched here."""
    with zipfile.ZipFile(RECALLS) as z:
        raw = pl.read_csv(z.read(z.namelist()[0]), infer_schema_length=0, truncate_ragged_lines=True)
    raw = raw.filter(pl.col("NHTSA ID").str.contains(r"^\d\dV\d{3}")).select(
        campaign=pl.col("NHTSA ID").str.slice(0, 6),
        make="MAKE",
        model="MODEL",
        text=pl.col("SUMMARY").str.to_lowercase(),
    )
    campaigns = raw.group_by("campaign").agg(pl.col("text").unique().drop_nulls().str.join(" "))
    # one word each, so that a belt is no seat and a drive no wheel
    one_word = (
        pl.col("text")
        .str.replace_all(r"seat[ -]belt", "seatbelt")
        .str.replace_all(r"wheel[ -]drive", "wheeldrive")
        .str.replace_all(r"steering wheel", "steering")
    )
    campaigns = campaigns.with_columns(one_word)
    dated = recall_days(campaigns)
    about = pl.concat([
        dated.filter(pl.col("text").str.contains(words)).select("campaign", "month", component=pl.lit(component))
        for component, words in WORDS.items()
    ])  # fmt: skip
    cars = raw.select("campaign", "make", "model").unique()
    return cars.join(about, on="campaign"), cars.join(dated.select("campaign", "month"), on="campaign")


def streams(cells: pl.DataFrame, recalled: pl.DataFrame, on: list[str]) -> pl.DataFrame:
    """Every live stream of every month with its measures, and `ahead`: months to the next recall, null if none in time."""
    found = []
    for month in range(FIRST, LAST + 1):
        window = cells.filter(pl.col("month").is_between(month - WINDOW + 1, month)).with_columns(
            car=pl.col("make") + " " + pl.col("model")
        )
        measured = disproportion(window, "car", "component", "complaints")
        prior = gamma_poisson(measured["observed"].to_numpy(), measured["expected"].to_numpy(), least=3)
        eb05 = prior.quantile(measured["observed"].to_numpy(), measured["expected"].to_numpy())
        now = window.filter(pl.col("month") == month).join(
            measured.with_columns(eb05=pl.Series(eb05)), on=["car", "component"]
        )
        known = recalled.filter(pl.col("month").is_between(month - BEHIND + 1, month))
        coming = recalled.filter(pl.col("month").is_between(month + 1, month + AHEAD))
        next_one = coming.group_by(on).agg(ahead=pl.col("month").min() - month)
        found.append(now.join(known, on=on, how="anti").join(next_one, on=on, how="left"))
    return pl.concat(found).sort("month", "make", "model", "component")


def chosen(live: pl.DataFrame, by: str, share: float | None = None) -> Floats:
    """1 where a stream is flagged: each month as many as IC025 > 0 flags (or a share of the live ones), the highest `by`."""
    flags = (pl.col("ic025") > 0).sum() if share is None else (pl.len() * share).ceil()
    count = flags.over("month")
    rank = pl.col(by).rank("ordinal", descending=True).over("month")
    return live.select((rank <= count).cast(pl.Float64)).to_series().to_numpy()


def at_random(live: pl.DataFrame, flags: Floats, random: np.random.Generator) -> Floats:
    """The same flags given to other live streams of their month."""
    month = live["month"].to_numpy()
    shuffled = np.lexsort((random.random(live.height), month))
    out = np.empty(live.height)
    out[shuffled] = flags[np.argsort(month, kind="stable")]
    return out


def captured(live: pl.DataFrame, flags: Floats, on: list[str]) -> tuple[float, float]:
    """Of the recalls that had a live stream in the months before: share flagged, and months before, of the first flag."""
    # a recall is (stream, month it comes): its last months before are the rows that see it ahead
    seen = live.with_columns(flag=pl.Series(flags), comes=pl.col("month") + pl.col("ahead")).drop_nulls(
        "ahead"
    )
    each = seen.group_by([*on, "comes"]).agg(
        hit=pl.col("flag").max(), lead=pl.col("ahead").filter(pl.col("flag") > 0).max()
    )
    lead = each["lead"].drop_nulls()
    return float(each.select(pl.col("hit").mean()).item() or 0.0), float(np.mean(lead.to_numpy())) if len(
        lead
    ) else float("nan")


def measure(live: pl.DataFrame, on: list[str], what: str, share: float | None = None) -> list[Figure]:
    """Lift, capture and lead of every measure, with chance beside."""
    random = np.random.default_rng(1)
    right = live["ahead"].is_not_null().cast(pl.Float64).to_numpy()
    ours = chosen(live, "ic025", share)
    drawn = [at_random(live, ours, random) for _ in range(DRAWS)]
    by_chance = np.array([right[d > 0].mean() for d in drawn])
    caught = np.array([captured(live, d, on) for d in drawn[:400]])
    cluster = (
        live.select((pl.col("make") + pl.col("model")).rank("dense") - 1).to_series().to_numpy().astype(int)
    )
    out = [
        Figure(f"{what}: live streams x months", live.height, "", note=f"{int(ours.sum()):,} flags, as many for each measure; cells of the author's list only"),
        Figure(f"{what}: right by chance", float(by_chance.mean()), "share", note=f"flags permuted within month, 95 % of draws {np.quantile(by_chance, 0.025):.3f} to {np.quantile(by_chance, 0.975):.3f}"),
    ]  # fmt: skip
    for name, by in (("IC025", "ic025"), ("EB05 (gamma-Poisson)", "eb05"), ("most complaints", "complaints"), ("the author's score", "score")):  # fmt: skip
        flags = chosen(live, by, share)
        so_many = right[flags > 0].mean()
        low, high = _lift_between(flags, right, live["month"].to_numpy(), cluster, random)
        p = (1 + (by_chance >= so_many).sum()) / (1 + len(by_chance))
        hit, lead = captured(live, flags, on)
        out += [
            Figure(f"{what}: lift of {name}", float(so_many / by_chance.mean()), "x", "> 1", bool(low > 1), "chance", f"{low:.2f} to {high:.2f}; right {so_many:.3f}; permutation p {p:.4f}"),
            Figure(f"{what}: recalls flagged before, {name}", hit, "share", "", None, "chance", f"chance {caught[:, 0].mean():.3f} ({np.quantile(caught[:, 0], 0.025):.3f} to {np.quantile(caught[:, 0], 0.975):.3f}); first flag {lead:.1f} months before, by chance {np.nanmean(caught[:, 1]):.1f}"),
        ]  # fmt: skip
    return out


def _lift_between(
    flags: Floats, right: Floats, month: np.ndarray, cluster: np.ndarray, random: np.random.Generator
) -> tuple[float, float]:
    """Bootstrap over cars: the interval of share right / what the same flags would get at random in their months."""
    months_at = month - month.min()
    lifts = []
    for _ in range(500):
        w = np.bincount(
            random.integers(0, cluster.max() + 1, cluster.max() + 1), minlength=cluster.max() + 1
        )[cluster]
        each = np.bincount(months_at, w), np.bincount(months_at, w * right), np.bincount(months_at, w * flags)
        with np.errstate(invalid="ignore", divide="ignore"):
            chance = np.nansum(each[2] * np.where(each[0] > 0, each[1] / each[0], 0.0))
        lifts.append((w * right * flags).sum() / chance if chance > 0 else np.nan)
    low, high = np.nanquantile(lifts, [0.025, 0.975])
    return float(low), float(high)


def figures() -> list[Figure]:
    """All figures, or one that says what data is not there."""
    if not (WATCH.is_file() and RECALLS.is_file()):
        return [Figure("public complaints", float("nan"), "", note=f"no data at {DATA.parent}: skipped")]
    cells = months()
    by_component, by_model = recalls()
    campaigns = by_model["campaign"].n_unique()
    each = by_component.group_by("campaign").agg(pl.col("component").n_unique())
    out = [
        Figure("vehicle recalls 2020-2024", campaigns, "", note="month by the campaign number's place in its year"),
        Figure("of them texts name a component", by_component["campaign"].n_unique() / campaigns, "share", note=f"{each['component'].sum() / each.height:.1f} components each; the others cannot be matched"),
    ]  # fmt: skip
    on = ["make", "model", "component"]
    live = streams(cells, by_component, on)
    out += measure(live, on, "component matched")
    out += measure(live, on, "component matched, surest tenth", 0.1)
    loose = measure(streams(cells, by_model, ["make", "model"]), ["make", "model"], "any recall of the model")
    return out + [f for f in loose if "flagged before" not in f.claim]


def main() -> None:
    """Measure and print."""
    told(figures())


if __name__ == "__main__":
    main()
