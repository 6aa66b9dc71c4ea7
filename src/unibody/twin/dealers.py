"""Cars in customers' hands: what breaks, what the customer says, what the workshop reads and claims."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from unibody.twin.builds import Vehicle
from unibody.twin.causes import Cause, planted
from unibody.twin.files import Files, by_month
from unibody.twin.genealogy import part_number
from unibody.twin.shapes import Record
from unibody.twin.words import misspelt
from unibody.twin.world import Brand, Table, World


@dataclass(frozen=True)
class Fault:
    """One thing that went wrong with one car, or seems to its driver to (or, with no symptom, a routine visit)."""

    vin: str
    market: str
    symptom: int  # place in the parameters, -1 for none
    cause: str  # the planted cause, "background", or the decoy
    at: datetime
    visited_at: datetime
    kilometres: float
    real: bool = True  # False: nothing is wrong with the car, a decoy has made its driver write
    visited: bool = True


@dataclass
class Dealers:
    """The dealers of one brand; cars are handed over as they are built, files written at the end."""

    world: World
    brand: Brand
    faults: list[Fault] = field(default_factory=list)
    causes: tuple[Cause, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.causes = tuple(cause for cause in planted(self.world) if cause.brand == self.brand.name)

    def hand_over(self, car: Vehicle) -> list[Fault]:
        """Let one car live until the last day; returns the faults that brought it back."""
        rules, world = self.world.parameters["field"], self.world
        begins, chances = _begins(world, car)
        a_day = float(chances.uniform(*rules["km_a_day"]))
        market = str(car.build["market"])
        eager = rules["market_report"].get(market, 1.0)
        mine = [cause for cause in self.causes if cause.met_by(car)]
        found: list[Fault] = []
        for place, symptom in enumerate([*rules["symptoms"], None]):
            hazard = (symptom["hazard"] if symptom else rules["routine_rate"]) * eager
            waits = [("background", float(chances.exponential(1 / hazard)))]
            for cause in mine:
                if symptom and cause.symptom == symptom["symptom"]:
                    waits.append(
                        (cause.name, float(chances.exponential(1 / (hazard * (cause.strength - 1)))))
                    )
            cause_name, days = min(waits, key=lambda wait: wait[1])
            to_visit = timedelta(days=float(chances.uniform(*rules["visit_delay_days"])))
            if days > world.days:  # keeps the date within the calendar
                continue
            at = begins + timedelta(days=days)
            if at + to_visit < world.end:
                number = place if symptom else -1
                km = round((days + to_visit.total_seconds() / 86400) * a_day + 12, 1)
                found.append(
                    Fault(car.vin, market, number, cause_name, _whole(at), _whole(at + to_visit), km)
                )
        found += self._unfounded(car, begins, a_day)
        self.faults += found
        return found

    def _unfounded(self, car: Vehicle, begins: datetime, a_day: float) -> list[Fault]:
        """What drivers write, and some come for, because everybody speaks of it: their cars are sound."""
        world, market = self.world, str(car.build["market"])
        names = [symptom["symptom"] for symptom in world.parameters["field"]["symptoms"]]
        found = []
        for wave in world.parameters["decoys"]:
            if (wave["brand"], wave["market"]) != (car.brand, market):
                continue
            chances = world.chances("decoy", wave["decoy"], car.vin)
            since = max(begins, world.start + timedelta(days=wave["begins"] * world.days))
            until = min(world.start + timedelta(days=wave["begins"] * world.days + wave["days"]), world.end)
            at = since + timedelta(days=float(chances.exponential(1 / wave["complaint_rate"])))
            visited = at + timedelta(days=float(chances.uniform(0.5, 6.0)))
            comes = bool(chances.random() < wave["visit_rate"] and visited < world.end)
            if at < until:
                place, km = names.index(wave["symptom"]), (visited - begins).total_seconds() / 86400 * a_day
                who = (car.vin, market, place, wave["decoy"])
                found.append(Fault(*who, _whole(at), _whole(visited), round(km + 12, 1), False, comes))
        return found

    def write(self, files: Files) -> None:
        """Write visits, trouble codes, claims and complaints, month by month."""
        records: dict[str, list[Record]] = {"visits": [], "dtcs": [], "claims": [], "complaints": []}
        self.faults.sort(key=lambda fault: (fault.visited_at, fault.vin, fault.symptom))
        for number, fault in enumerate(self.faults, 1):
            self._visit(number, fault, records)
        complaints = sorted(records["complaints"], key=lambda record: (record["received_at"], record["vin"]))
        prefix = self.brand.name[:2].upper()
        records["complaints"] = [
            {**r, "complaint_id": f"{prefix}C{n:07d}"} for n, r in enumerate(complaints, 1)
        ]
        times = {"visits": "opened_at", "dtcs": "read_at", "claims": "filed_at", "complaints": "received_at"}
        for kind, at in times.items():
            months = by_month(records[kind], at)
            stream = f"dealers/{self.brand.name}/{kind}"
            for stamp, ours in months.items():
                files.table(stream, stamp, self.brand.shape, kind, ours, stamp == max(months))

    def _visit(self, number: int, fault: Fault, records: dict[str, list[Record]]) -> None:
        rules, brand = self.world.parameters["field"], self.brand
        chances = self.world.chances(
            "visit", fault.vin, fault.symptom, *(() if fault.real else (fault.cause,))
        )
        visit = {"visit_id": f"{brand.name[:2].upper()}R{number:07d}", "vin": fault.vin}
        stay = timedelta(minutes=round(60 * float(chances.uniform(*rules["visit_hours"]))))
        symptom = rules["symptoms"][fault.symptom] if fault.symptom >= 0 else None
        texts = symptom["texts"][brand.language] if symptom else rules["routine"][brand.language]
        part = self._part_number(symptom) if symptom else ""
        market = fault.market
        work = rules["work"] if fault.real else rules["work_nothing_found"]
        if not fault.real:
            self._complain(fault.vin, fault.at, texts, chances, records)
        if not fault.visited:
            return
        records["visits"].append(
            {
                **visit,
                "dealer": f"{brand.name[:3].upper()}-{market}-{int(chances.integers(1, rules['dealers_per_market'] + 1)):02d}",
                "market": market,
                "opened_at": fault.visited_at,
                "closed_at": fault.visited_at + stay,
                "odometer_km": fault.kilometres,
                "text": self._said(texts, chances),
                "work": work[brand.language].format(part=part) if symptom else "",
            }
        )
        if not symptom or not fault.real:
            return
        codes = [symptom]
        if chances.random() < rules["second_code_rate"]:
            codes.append(rules["symptoms"][int(chances.integers(len(rules["symptoms"])))])
        read_at = fault.visited_at + timedelta(minutes=int(chances.integers(10, 50)))
        for code in {code["code"]: code for code in codes}.values():
            status = str(chances.choice(rules["statuses"]))
            found = {"ecu": code["ecu"], "code": code["code"], "status": status, "read_at": read_at}
            records["dtcs"].append({**visit, **found})
        if chances.random() < rules["claim_rate"]:
            filed = fault.visited_at + stay + timedelta(days=float(chances.uniform(*rules["claim_days"])))
            if filed < self.world.end:
                records["claims"].append(
                    {**visit, **self._claim(symptom, part, number, _whole(filed), chances)}
                )
        if chances.random() < rules["complaint_rate"]:
            received = fault.at + timedelta(days=float(chances.uniform(*rules["complaint_days"])))
            self._complain(fault.vin, _whole(received), texts, chances, records)

    def _complain(
        self,
        vin: str,
        received: datetime,
        texts: list[str],
        chances: np.random.Generator,
        records: dict[str, list[Record]],
    ) -> None:
        if received < self.world.end:
            channel = str(chances.choice(self.world.parameters["field"]["channels"]))
            said = {"channel": channel, "text": self._said(texts, chances)}
            records["complaints"].append({"vin": vin, "received_at": received, **said})

    def _claim(
        self, symptom: Table, part: str, number: int, filed: datetime, chances: np.random.Generator
    ) -> Record:
        cost = self._part(symptom)["cost"] * float(chances.uniform(1.3, 1.9)) + 60.0
        return {
            "claim_id": f"{self.brand.name[:2].upper()}W{number:07d}",
            "part_number": part,
            "labour_hours": round(float(chances.uniform(0.4, 3.5)), 1),
            "cost": round(cost, 2),
            "currency": self.brand.currency,
            "filed_at": filed,
        }

    def _said(self, texts: list[str], chances: np.random.Generator) -> str:
        """What a customer says, in a hurry; now and then a text carries something hostile."""
        rules = self.world.parameters["field"]
        text = misspelt(str(chances.choice(texts)), rules["misspelt_rate"], chances)
        if chances.random() >= rules["hostile_rate"]:
            return text
        hostile = str(chances.choice(rules["hostile"]))
        return f"{hostile} {text}" if chances.random() < 0.5 else f"{text} {hostile}"

    def _part(self, symptom: Table) -> Table:
        parts: list[Table] = self.world.parameters["builds"]["parts"]
        return next(part for part in parts if part["part"] == symptom["part"])

    def _part_number(self, symptom: Table) -> str:
        return part_number(self.brand, self._part(symptom))


def handover(world: World, car: Vehicle) -> datetime:
    """When a car came to its first customer, which may lie after the last day."""
    return _begins(world, car)[0]


def _begins(world: World, car: Vehicle) -> tuple[datetime, np.random.Generator]:
    """The handover, and the chances of all that follows."""
    chances = world.chances("field", car.vin)
    days = float(chances.uniform(*world.parameters["field"]["handover_days"]))
    return car.built_at + timedelta(days=days), chances


def _whole(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)
