"""The field's frames of a chunk of cars: trouble codes, dealer visits and complaints, as known by the end of observation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from unibody.twin.field.cars import Cars, Coded
from unibody.twin.field.chances import Bools, Floats, Ints
from unibody.twin.field.columns import frame, numbers
from unibody.twin.field.decoys import dealer_name
from unibody.twin.field.life import Failures, Symptom, dealer, km_at, sold
from unibody.twin.field.maker import DAY, Maker


def reported(cars: Cars, life: Sequence[tuple[Symptom, Failures]]) -> dict[str, pl.DataFrame]:
    """Trouble codes, visits and complaints of some cars, known by the end of observation."""
    visits, codes, complaints = [_services(cars)], [_stray(cars)], [frame("complaint", 0, {})]
    for number, (symptom, fails) in enumerate(life):
        seen = (fails.known >= 0) & (fails.known <= cars.maker.as_of)
        row, at, known, source = fails.row[seen], fails.at[seen], fails.known[seen], fails.source[seen]
        if not len(row):
            continue
        # one number a report, so that every record of it draws chances of its own
        report = cars.index[row] * 64 + number * 4 + source
        visits += _visits(cars, symptom, row, at, known, source, report)
        codes.append(_codes(cars, symptom, row, at, known, source, report))
        complaints.append(_complaints(cars, symptom, row, at, known, source, report))
    return {"visit": pl.concat(visits), "trouble_code": pl.concat(codes), "complaint": pl.concat(complaints)}


def _comes(cars: Cars, source: Ints, report: Ints) -> Bools:
    made = cars.maker.chances.uniform("visit made", report) < cars.maker.numbers["reports"]["visit_made"]
    return np.asarray((made & (source == 0)) | (source == 1))


def _has_code(cars: Cars, symptom: Symptom, source: Ints, report: Ints) -> Bools:
    stored = cars.maker.chances.uniform("code set", report) < symptom.coded
    return np.asarray(stored & (source != 2) & bool(symptom.code))


def _visits(
    cars: Cars, symptom: Symptom, row: Ints, at: Ints, known: Ints, source: Ints, report: Ints
) -> list[pl.DataFrame]:
    rules, chances, maker = cars.maker.numbers["reports"], cars.maker.chances, cars.maker
    late = rules["entry_share"][1] * chances.uniform("entry", report)
    first = at + ((known - at) * (1 - late)).astype(np.int64)
    again = known + (-np.log(chances.uniform("back in", report)) * 40 * DAY).astype(np.int64)
    comes = _comes(cars, source, report)
    back = comes & (source == 0) & (chances.uniform("back", report) < rules["second_visit"])
    back &= again + 2 * DAY <= maker.as_of
    found = []
    for turn, keep, when, entered in ((0, comes, first, known), (1, back, again, again + 2 * DAY)):
        rows, who = row[keep], report[keep] * 2 + turn
        if not len(rows):
            continue
        low, high = rules["wrong_component"]
        careless = low + (high - low) * chances.uniform("careless", dealer(cars)[rows])
        component = _component(maker, symptom, who, careless)
        language, text = _words(cars, rows, component, who)
        code = np.where(_has_code(cars, symptom, source, report)[keep], 0, -1)
        cost = rules["cost_eur"][0] * (rules["cost_eur"][1] / rules["cost_eur"][0]) ** chances.uniform(
            "cost", who
        )
        found.append(
            frame(
                "visit",
                len(rows),
                {
                    **_dealers(cars, rows),
                    "visit_id": numbers(who, 10, "W"),
                    "visited_at": when[keep],
                    "vin": cars.vin.gather(rows),
                    "odometer_km": np.round(km_at(cars, rows, when[keep]), 0),
                    "code": Coded(code, (symptom.code,)).text(),
                    "component": component,
                    "work": "repair",
                    "cost_eur": np.round(cost, 2),
                    "warranty": when[keep] - sold(cars)[rows] < rules["warranty_days"] * DAY,
                    "language": language,
                    "text": text,
                    "known_at": entered[keep],
                },
            )
        )
    return found


def _codes(
    cars: Cars, symptom: Symptom, row: Ints, at: Ints, known: Ints, source: Ints, report: Ints
) -> pl.DataFrame:
    keep = _has_code(cars, symptom, source, report) & (source == 0)
    return frame(
        "trouble_code",
        int(keep.sum()),
        {
            "vin": cars.vin.gather(row[keep]),
            "code": symptom.code,
            "set_at": at[keep],
            "odometer_km": np.round(km_at(cars, row[keep], at[keep]), 0),
            "ecu": symptom.ecu,
            "status": "confirmed",
            "text": symptom.name.replace("_", " "),
            "known_at": known[keep],
        },
    )


def _complaints(
    cars: Cars, symptom: Symptom, row: Ints, at: Ints, known: Ints, source: Ints, report: Ints
) -> pl.DataFrame:
    rules, chances, maker = cars.maker.numbers["reports"], cars.maker.chances, cars.maker
    alone = ~_comes(cars, source, report)  # a report without a visit is a complaint
    later = known + (-np.log(chances.uniform("complains in", report)) * 20 * DAY).astype(np.int64)
    entered = np.where(alone, known, later)
    also = (chances.uniform("complains", report) < symptom.complaints) & (source == 0)
    keep = (alone | also) & (entered <= maker.as_of)
    rows, who, entered = row[keep], report[keep], entered[keep]
    component = _component(maker, symptom, who, np.full(len(rows), rules["wrong_in_complaints"]))
    language, text = _words(cars, rows, component, who)
    year = (cars.built[rows] // DAY).astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970
    return frame(
        "complaint",
        len(rows),
        {
            "complaint_id": numbers(who, 10, "K"),
            "made_at": np.maximum(entered - 3600, at[keep]),
            "failed_at": at[keep],
            "vin": cars.vin.gather(rows),
            "brand": cars.nominal("brand").text(rows),
            "model": cars.nominal("model").text(rows),
            "model_year": year,
            "component": component,
            "odometer_km": np.round(km_at(cars, rows, at[keep]), 0),
            "crash": chances.uniform("crash", who) < rules["crash"],
            "fire": chances.uniform("fire", who) < rules["fire"],
            "injured": (chances.uniform("crash", who) < rules["crash"] / 4).astype(np.int64),
            "language": language,
            "text": text,
            "known_at": entered,
        },
    )


def _services(cars: Cars) -> pl.DataFrame:
    """Routine visits: no fault, but a distance."""
    rules, chances, frames = cars.maker.numbers["reports"], cars.maker.chances, []
    habit = rules["service_days"] * (0.75 + 0.5 * chances.uniform("habit", cars.index))
    goes = chances.uniform("goes", cars.index) < rules["service_share"]
    frames = [frame("visit", 0, {})]
    for turn in range(1, 4):
        at = sold(cars) + (habit * turn * DAY).astype(np.int64)
        rows = np.flatnonzero(goes & (at + DAY <= cars.maker.as_of))
        frames.append(
            frame(
                "visit",
                len(rows),
                {
                    **_dealers(cars, rows),
                    "visit_id": numbers(cars.index[rows] * 4 + turn, 10, "S"),
                    "visited_at": at[rows],
                    "vin": cars.vin.gather(rows),
                    "odometer_km": np.round(km_at(cars, rows, at[rows]), 0),
                    "work": "service",
                    "warranty": False,
                    "known_at": at[rows] + DAY,
                },
            )
        )
    return pl.concat(frames)


def _stray(cars: Cars) -> pl.DataFrame:
    """Trouble codes that mean nothing here."""
    rules, chances = cars.maker.numbers["reports"], cars.maker.chances
    years = np.maximum(cars.maker.as_of - sold(cars), 0) / (365 * DAY)
    rows = np.flatnonzero(chances.uniform("stray", cars.index) < rules["stray_codes"] * years)
    share = chances.uniform("stray when", cars.index[rows])
    at = sold(cars)[rows] + (share * (cars.maker.as_of - sold(cars)[rows])).astype(np.int64)
    names = tuple(rules["stray"])
    which = chances.choose("stray code", cars.index[rows], np.ones(len(names)))
    columns: dict[str, Any] = {"vin": cars.vin.gather(rows), "code": Coded(which, names).text(), "set_at": at}
    columns |= {"odometer_km": np.round(km_at(cars, rows, at), 0), "status": "pending"}
    return frame("trouble_code", len(rows), columns | {"known_at": np.minimum(at + DAY, cars.maker.as_of)})


def _component(maker: Maker, symptom: Symptom, who: Ints, wrong: Floats) -> pl.Series:
    """The component named: the symptom's own, or another one by mistake."""
    others = tuple(row[1] for row in maker.numbers["symptoms"]["rows"] if row[0] != symptom.name)
    names = (symptom.component, *others)
    other = 1 + maker.chances.choose("wrong one", who, np.ones(len(others)))
    return Coded(np.where(maker.chances.uniform("wrong", who) < wrong, other, 0), names).text()


def _words(cars: Cars, rows: Ints, component: pl.Series, who: Ints) -> tuple[pl.Series, pl.Series]:
    """Language and text of a report."""
    maker, rules, chances = cars.maker, cars.maker.numbers["reports"], cars.maker.chances
    languages = tuple(maker.numbers["words"])
    native = np.array([languages.index(m["language"]) for m in maker.numbers["markets"].values()])
    any_one = chances.choose("language", who, np.ones(len(languages)))
    strange = chances.uniform("strange", who) < rules["unexpected_language"]
    language = np.where(strange, any_one, native[cars.market[rows]])
    phrases = [text.split("{c}") for name in languages for text in maker.numbers["words"][name]]
    per = len(maker.numbers["words"][languages[0]])
    which = language * per + chances.choose("phrase", who, np.ones(per))
    off = chances.uniform("off topic", who) < rules["text_off_topic"]
    middle = Coded(np.where(off, 0, -1), ("radio",)).text().fill_null(component)
    text = (
        Coded(which, tuple(p[0] for p in phrases)).text()
        + middle
        + Coded(which, tuple(p[1] for p in phrases)).text()
    )
    slip = pl.Series(chances.uniform("misspelt", who) < rules["misspelt"])
    spoilt = text.str.slice(0, 4) + text.str.slice(5)
    return Coded(language, languages).text(), spoilt.zip_with(slip, text)


def _dealers(cars: Cars, rows: Ints) -> dict[str, pl.Series]:
    mine, place = np.unique(dealer(cars)[rows], return_inverse=True)
    return {"dealer": Coded(place, tuple(dealer_name(cars.maker, int(n)) for n in mine)).text()}
