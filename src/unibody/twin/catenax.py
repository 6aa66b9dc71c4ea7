"""Catena-X aspects as one make's suppliers and plant exchange them: one JSON document a line.

The shapes are those of the published aspect models ItemStock 2.0.0, DeliveryInformation 2.0.0,
ShortTermMaterialDemand 1.0.0, SerialPart 4.0.0 and SingleLevelBomAsBuilt 4.0.0.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from itertools import groupby
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from unibody.twin.builds import Vehicle
from unibody.twin.files import Files, month
from unibody.twin.genealogy import part_number
from unibody.twin.shapes import Record
from unibody.twin.world import Brand, Table, World

COUNTRIES = {"melfi": "ITA", "cassino": "ITA", "sochaux": "FRA", "ruesselsheim": "DEU"}


def asset(*names: str) -> str:
    """The global asset id of a material or a built thing: the same names always give the same id."""
    return f"urn:uuid:{uuid5(NAMESPACE_URL, '/'.join(names))}"


def write(
    world: World,
    brand: Brand,
    files: Files,
    deliveries: list[Record],
    stock: list[Record],
    demand: list[Record],
) -> None:
    """Write stock, deliveries and demand of one make as aspects."""
    stream = f"suppliers/{brand.name}"
    stock = sorted(stock, key=lambda record: (record["counted_at"], record["part_number"]))
    _lines(files, f"{stream}/item_stock", "counted_at", ((r, _item_stock(world, brand, r)) for r in stock))
    ours = ((record, _delivery(world, brand, record)) for record in deliveries)
    _lines(files, f"{stream}/delivery_information", "promised_at", ours)
    demand = sorted(
        demand, key=lambda record: (record["issued_at"], record["part_number"], record["needed_on"])
    )
    series = [list(group) for _, group in groupby(demand, lambda r: (r["issued_at"], r["part_number"]))]
    _lines(
        files,
        f"{stream}/short_term_material_demand",
        "issued_at",
        ((group[0], _demand(world, brand, group)) for group in series),
    )


def as_built(world: World, brand: Brand, files: Files, day: datetime, cars: list[Vehicle]) -> None:
    """Append one day's cars: each car and each serialised part as SerialPart, each car's list of parts."""
    parts = {part_number(brand, part): part for part in world.parameters["builds"]["parts"]}
    serials = [line for car in cars for line in _serial_parts(world, brand, car, parts)]
    boms = [_bom(brand, car, parts) for car in cars]
    for kind, documents in (("serial_part", serials), ("single_level_bom_as_built", boms)):
        _append(files, f"suppliers/{brand.name}/{kind}", month(day), documents)


def _lines(files: Files, stream: str, at: str, pairs: Iterable[tuple[Record, Any]]) -> None:
    for stamp, group in groupby(pairs, lambda pair: month(pair[0][at])):
        _append(files, stream, stamp, [document for _, document in group])


def _append(files: Files, stream: str, stamp: str, documents: list[Any]) -> None:
    text = "".join(json.dumps(document, ensure_ascii=False) + "\n" for document in documents)
    files.append(f"{stream}/{'_'.join(stream.split('/')[1:])}_{stamp}.jsonl", text.encode())


def _item_stock(world: World, brand: Brand, record: Record) -> Any:
    _, site, address = world.parameters["supply"]["bpn_customer"]
    stocks = [(False, record["quantity"] - record["blocked"])]
    stocks += [(True, float(record["blocked"]))] if record["blocked"] else []
    allocated = [
        {
            "isBlocked": blocked,
            "stockLocationBPNA": address,
            "lastUpdatedOnDateTime": _iso(record["counted_at"]),
            "quantityOnAllocatedStock": {"value": quantity, "unit": "unit:piece"},
            "stockLocationBPNS": site,
        }
        for blocked, quantity in stocks
    ]
    position = {"orderPositionReference": _order(record), "allocatedStocks": allocated}
    material = asset(brand.name, record["part_number"])
    return {"materialGlobalAssetId": material, "positions": [position], "direction": "INBOUND"}


def _delivery(world: World, brand: Brand, record: Record) -> Any:
    _, site, address = world.parameters["supply"]["bpn_customer"]
    events = [
        {"dateTimeOfEvent": _iso(record[at]), "eventType": event}
        for event, at in (("actual-departure", "shipped_at"), ("actual-arrival", "received_at"))
        if record[at]
    ]
    if not record["received_at"]:
        events.append({"dateTimeOfEvent": _iso(record["promised_at"]), "eventType": "estimated-arrival"})
    delivery = {
        "lastUpdatedOnDateTime": _iso(record["received_at"] or record["shipped_at"] or world.end),
        "deliveryQuantity": {"value": record["quantity"], "unit": "unit:piece"},
        "transitEvents": events,
        "trackingNumber": f"{record['delivery_id']}/{record['lot']}",
        "incoterm": "EXW",
        "transitLocations": {
            "destination": {"bpnsProperty": site, "bpnaProperty": address},
            "origin": {
                "bpnsProperty": _bpn("BPNS", record["supplier"]),
                "bpnaProperty": _bpn("BPNA", record["supplier"]),
            },
        },
    }
    position = {"orderPositionReference": _order(record), "deliveries": [delivery]}
    return {"materialGlobalAssetId": asset(brand.name, record["part_number"]), "positions": [position]}


def _demand(world: World, brand: Brand, group: list[Record]) -> Any:
    first = group[0]
    series = {
        "lastUpdatedOnDateTime": _iso(first["issued_at"]),
        "customerLocationBpns": world.parameters["supply"]["bpn_customer"][1],
        "expectedSupplierLocationBpns": _bpn("BPNS", first["supplier"]),
        "demands": [
            {
                "demand": {"value": record["quantity"], "unit": "unit:piece"},
                "day": f"{record['needed_on']:%Y-%m-%d}",
            }
            for record in group
        ],
        "demandCategory": {"demandCategoryCode": "0001"},
    }
    return {"materialGlobalAssetId": asset(brand.name, first["part_number"]), "demandSeries": [series]}


def _serial_parts(world: World, brand: Brand, car: Vehicle, parts: dict[str, Table]) -> Iterable[Any]:
    customer, site, _ = world.parameters["supply"]["bpn_customer"]
    ids = {"manufacturerId": customer, "van": car.vin, "partInstanceId": car.vin}
    model = str(car.build["model"])
    yield _serial_part(
        ids, COUNTRIES[brand.plant], site, car.built_at, asset(brand.name, car.vin), model, model
    )
    for record in car.parts:
        if record["serial"]:
            supplier = record["supplier"]
            ids = {
                "manufacturerId": _bpn("BPNL", supplier),
                "partInstanceId": record["serial"],
                "batchId": record["lot"],
            }
            made, number = record["installed_at"], record["part_number"]
            own = asset(brand.name, record["serial"])
            name = parts[number]["part"]
            yield _serial_part(ids, "DEU", _bpn("BPNS", supplier), made, own, number, name)


def _serial_part(
    ids: dict[str, str], country: str, site: str, made: datetime, own: str, number: str, name: str
) -> Any:
    return {
        "localIdentifiers": [{"value": value, "key": key} for key, value in ids.items()],
        "manufacturingInformation": {
            "country": country,
            "sites": [{"siteId": site, "function": "production"}],
            "productionDate": f"{made:%Y-%m-%d}",
        },
        "globalAssetId": own,
        "partTypeInformation": {
            "partClassification": [
                {
                    "standard": "GIN 20510-21513",
                    "description": "Generic standard for classification of parts in the automotive industry.",
                    "id": "1004712",
                }
            ],
            "customerPartId": number,
            "manufacturerPartId": number,
            "nameAtManufacturer": name,
            "nameAtCustomer": name,
        },
    }


def _bom(brand: Brand, car: Vehicle, parts: dict[str, Table]) -> Any:
    """Parts without a serial stand for their lot: the id is that of the batch."""
    children = [
        {
            "quantity": {"value": float(parts[record["part_number"]]["quantity"]), "unit": "unit:piece"},
            "hasAlternatives": False,
            "globalAssetId": asset(brand.name, record["serial"] or record["lot"]),
            "createdOn": _iso(record["installed_at"]),
            "businessPartner": _bpn("BPNL", record["supplier"]),
            "lastModifiedOn": _iso(record["installed_at"]),
        }
        for record in car.parts
    ]
    return {"childItems": children, "globalAssetId": asset(brand.name, car.vin)}


def _order(record: Record) -> dict[str, str]:
    number = record["part_number"]
    return {
        "supplierOrderId": f"M-{record['supplier']}-{number}",
        "customerOrderId": f"C-{number}",
        "customerOrderPositionId": "PositionId-01",
    }


def _bpn(kind: str, supplier: str) -> str:
    return f"{kind}{supplier:0>12}"


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
