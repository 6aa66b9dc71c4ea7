"""What suppliers send: lots, deliveries, stock and demand, as CSV for one make and as Catena-X for another."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import numpy as np

from unibody.twin import catenax, key
from unibody.twin.files import Files, by_month, month
from unibody.twin.genealogy import lot_code, lot_index, part_number
from unibody.twin.shapes import Record
from unibody.twin.world import Brand, Table, World


def write(world: World, files: Files, counts: dict[str, list[int]]) -> None:
    """Write the supply side of the two makes that have one, from their cars built per day."""
    rules = world.parameters["supply"]
    for name in (rules["csv_brand"], rules["catenax_brand"]):
        brand = world.brands[name]
        need = _need(world, counts[name])
        deliveries: list[Record] = []
        stock: list[Record] = []
        demand: list[Record] = []
        for place, part in enumerate(world.parameters["builds"]["parts"]):
            chances = world.chances("supply", name, part["part"])
            ours = list(_deliveries(world, brand, place, part, need, chances))
            stock += _stock(world, brand, part, need, ours, chances)
            deliveries += ours
            demand += _demand(world, brand, part, need, chances)
        deliveries = [record for record in deliveries if world.start <= record["promised_at"] < world.end]
        deliveries.sort(key=lambda record: (record["promised_at"], record["part_number"], record["lot"]))
        deliveries = [{**record, "delivery_id": f"ASN{n:07d}"} for n, record in enumerate(deliveries, 1)]
        express = [record for record in deliveries if record["kind"] == "express"]
        rows = [
            (name, record["part_number"], record["received_at"], record["quantity"]) for record in express
        ]
        key.table(files, "supply_shortages", key.SHORTAGES, rows)
        if name == rules["csv_brand"]:
            _csv(world, brand, files, deliveries, stock, demand)
        else:
            catenax.write(world, brand, files, deliveries, stock, demand)


def _csv(
    world: World,
    brand: Brand,
    files: Files,
    deliveries: list[Record],
    stock: list[Record],
    demand: list[Record],
) -> None:
    lots = [{**record, "produced_at": record["promised_at"] - timedelta(days=6)} for record in deliveries]
    for kind, at, records in (
        ("lots", "produced_at", [record for record in lots if record["kind"] == "order"]),
        ("deliveries", "promised_at", deliveries),
        ("stock", "counted_at", stock),
        ("demand", "issued_at", demand),
    ):
        months = by_month(records, at)
        for stamp, ours in months.items():
            files.table(
                f"suppliers/{brand.name}/{kind}", stamp, brand.shape, kind, ours, stamp == max(months)
            )
    stamp, parts = month(world.start), world.parameters["builds"]["parts"]
    chances = world.chances("masters", brand.name)
    shortest, longest = world.parameters["supply"]["lead_time_days"]
    masters: list[Record] = [
        {
            "part_number": part_number(brand, part),
            "part": part["part"],
            "supplier": part["supplier"],
            "lead_time_days": int(chances.integers(shortest, longest + 1)),
            "safety_stock": _safety(world, brand, part),
            "unit_cost": round(part["cost"] * float(chances.uniform(0.97, 1.06)), 2),
        }
        for part in parts
    ]
    files.table(f"suppliers/{brand.name}/parts", stamp, brand.shape, "supplier_parts", masters)
    bom: list[Record] = [
        {"model": model["name"], "part_number": part_number(brand, part), "quantity": part["quantity"]}
        for model in brand.models
        for part in parts
    ]
    files.table(f"suppliers/{brand.name}/bom", stamp, brand.shape, "bom", bom)


def _need(world: World, counts: list[int]) -> dict[int, float]:
    """Cars a day by ordinal of the day, going on at the mean beyond the days simulated."""
    days = world.build_days()
    mean = float(np.mean(counts))
    weekdays = world.parameters["calendar"]["build_weekdays"]
    first, last = world.start.toordinal() - 60, world.end.toordinal() + 60
    need = {n: mean if (n - 1) % 7 < weekdays else 0.0 for n in range(first, last)}  # day 1 was a Monday
    return need | {day.toordinal(): float(count) for day, count in zip(days, counts, strict=True)}


def _deliveries(
    world: World, brand: Brand, place: int, part: Table, need: dict[int, float], chances: np.random.Generator
) -> Iterator[Record]:
    """A delivery a lot, promised well before the lot's first use; late ones still come in time for it."""
    rules = world.parameters["supply"]
    first = world.start - timedelta(days=part["lot_days"])
    last = world.end + timedelta(days=rules["cover_days"])
    for index in range(lot_index(place, part, first), lot_index(place, part, last) + 1):
        day = datetime.fromordinal(index * part["lot_days"] - 3 * place).replace(tzinfo=world.start.tzinfo)
        wanted = sum(need[day.toordinal() + n] for n in range(part["lot_days"])) * part["quantity"]
        quantity = int(np.ceil(wanted * (1 + rules["order_slack"] + float(chances.normal(0, 0.02)))))
        if chances.random() < rules["short_rate"]:
            quantity = int(quantity * (1 - float(chances.uniform(*rules["short_share"]))))
        promised = day - timedelta(days=rules["cover_days"]) + timedelta(hours=int(chances.integers(5, 15)))
        late = chances.random() < rules["late_rate"]
        received = promised + timedelta(
            days=float(chances.uniform(0.5, rules["late_days_max"])) if late else -0.1
        )
        received = received.replace(microsecond=0)
        shipped = received - timedelta(days=rules["transit_days"])
        yield {
            "part_number": part_number(brand, part),
            "lot": lot_code(brand, place, part, day),
            "supplier": part["supplier"],
            "quantity": float(max(quantity, part["quantity"])),
            "promised_at": promised,
            "shipped_at": shipped if shipped < world.end else None,
            "received_at": received if received < world.end else None,
            "kind": "order",
            "_first_use": day.toordinal(),
            "_received": received,
        }


def _stock(
    world: World,
    brand: Brand,
    part: Table,
    need: dict[int, float],
    deliveries: list[Record],
    chances: np.random.Generator,
) -> Iterator[Record]:
    """Stock at the end of each day; where it would run out, an express delivery is added to `deliveries`."""
    rules, number = world.parameters["supply"], part_number(brand, part)
    begun = [record for record in deliveries if record["_received"] < world.start]
    hand = (
        sum(
            need[record["_first_use"] + n]
            for record in begun
            for n in range(part["lot_days"])
            if record["_first_use"] + n >= world.start.toordinal()
        )
        * part["quantity"]
    )
    for day in (world.start + timedelta(days=n) for n in range(world.days)):
        tomorrow = day + timedelta(days=1)
        hand += sum(record["quantity"] for record in deliveries if day <= record["_received"] < tomorrow)
        hand -= need[day.toordinal()] * part["quantity"]
        if hand < 0:
            ahead = sum(need[day.toordinal() + n] for n in range(1, rules["express_days"] + 1))
            short = float(np.ceil(-hand + ahead * part["quantity"]))
            lot = max(
                (record for record in deliveries if record["_received"] < tomorrow),
                key=lambda r: r["_received"],
            )
            at = day + timedelta(hours=4)
            times = {"promised_at": at, "shipped_at": day, "received_at": at, "_received": at}
            deliveries.append({**lot, "quantity": short, "kind": "express", **times})
            hand += short
        blocked = int(chances.integers(1, 9)) if chances.random() < rules["blocked_rate"] else 0
        quantity = float(np.floor(hand))
        yield {
            "part_number": number,
            "supplier": part["supplier"],
            "plant": brand.plant,
            "counted_at": tomorrow - timedelta(minutes=30),
            "quantity": quantity,
            "blocked": min(blocked, int(quantity)),
        }


def _demand(
    world: World, brand: Brand, part: Table, need: dict[int, float], chances: np.random.Generator
) -> Iterator[Record]:
    """Every few days a forecast of the next days' needs, right on average."""
    rules = world.parameters["supply"]
    for issued in (
        world.start + timedelta(days=n, hours=3) for n in range(0, world.days, rules["issue_days"])
    ):
        for ahead in range(rules["horizon_days"]):
            day = (issued + timedelta(days=ahead)).replace(hour=0)
            wanted = (
                need[day.toordinal()]
                * part["quantity"]
                * (1 + float(chances.normal(0, rules["forecast_noise"])))
            )
            yield {
                "part_number": part_number(brand, part),
                "supplier": part["supplier"],
                "plant": brand.plant,
                "issued_at": issued,
                "needed_on": day,
                "quantity": float(max(round(wanted), 0)),
            }


def _safety(world: World, brand: Brand, part: Table) -> int:
    a_day = world.vehicles_of(brand) / len(world.build_days()) * part["quantity"]
    return int(np.ceil(a_day * world.parameters["supply"]["safety_days"]))
