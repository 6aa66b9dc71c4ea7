"""What suppliers send and owe: parts, stock, demand, deliveries (names follow the Catena-X aspects)."""

from __future__ import annotations

from datetime import datetime

from unibody.tables.table import Table, column


class Part(Table):
    """One part number (Catena-X PartAsPlanned)."""

    key, at = ("part_number",), "valid_from"
    part_number: str = column("part number of its owner", required=True)
    valid_from: datetime = column("from when the entry holds", required=True)
    name: str = column("the part's name")
    unit_of_measure: str = column("unit it is counted in")
    price_eur: float = column("price a unit", unit="EUR", low=0, high=1e9)
    mass_kg: float = column("mass a unit", unit="kg", low=0, high=1e5)


class Supplier(Table):
    """One supplier."""

    key, at = ("supplier",), "valid_from"
    supplier: str = column("supplier, by BPNL where it has one", required=True)
    valid_from: datetime = column("from when the entry holds", required=True)
    name: str = column("name")
    country: str = column("country, ISO 3166-1 alpha-2")
    tier: int = column("1 delivers to us, 2 to a tier 1, ...", low=1, high=20)


class Stock(Table):
    """How much of a part lies at a site (Catena-X ItemStock)."""

    key, at = ("site", "part_number", "counted_at"), "counted_at"
    site: str = column("where, by BPNS where it has one", required=True)
    part_number: str = column("part", required=True)
    counted_at: datetime = column("when counted", required=True)
    quantity: float = column("pieces", required=True, low=-1e9, high=1e9)
    blocked: float = column("pieces blocked", low=0, high=1e9)
    partner: str = column("supplier or customer it is for")


class Demand(Table):
    """How much of a part is needed on a day (Catena-X ShortTermMaterialDemand)."""

    key, at = ("site", "part_number", "needed_at"), "needed_at"
    foresees = True
    site: str = column("where, by BPNS where it has one", required=True)
    part_number: str = column("part", required=True)
    needed_at: datetime = column("when needed", required=True)
    quantity: float = column("pieces", required=True, low=0, high=1e9)
    supplier: str = column("who shall deliver")


class Delivery(Table):
    """One delivery of one part, announced or arrived (Catena-X DeliveryInformation)."""

    key, at = ("delivery_id", "part_number"), "due_at"
    foresees = True
    delivery_id: str = column("number of the delivery", required=True)
    part_number: str = column("part", required=True)
    due_at: datetime = column("when promised", required=True)
    sent_at: datetime = column("when it left")
    arrived_at: datetime = column("when it came")
    supplier: str = column("from whom")
    site: str = column("to where")
    lot: str = column("lot delivered")
    quantity: float = column("pieces", low=0, high=1e9)
    mode: str = column("road, rail, sea, air")


class BillOfMaterials(Table):
    """How many of a part go into another (Catena-X SingleLevelBomAsPlanned)."""

    key, at = ("parent", "part_number"), "valid_from"
    parent: str = column("model or part it goes into", required=True)
    part_number: str = column("part", required=True)
    valid_from: datetime = column("from when", required=True)
    quantity: float = column("pieces a parent", required=True, low=0, high=1e6)
