"""What the business is made of: one class a canonical table.

Every table, by its name in lake, dialects and SQL, is in `TABLES`.
"""

from __future__ import annotations

from unibody.tables.customer import Complaint, Consent, Customer, VehicleHeld, Visit
from unibody.tables.decision import Decision
from unibody.tables.engineering import Design, Simulation
from unibody.tables.outcome import Outcome
from unibody.tables.plant import (
    CurvePoint,
    EnergyReading,
    Inspection,
    MachineEvent,
    MachineReading,
    Maintenance,
    Tightening,
)
from unibody.tables.supply import BillOfMaterials, Delivery, Demand, Part, Stock, Supplier
from unibody.tables.table import SYSTEM, Column, Instant, Table, column
from unibody.tables.vehicle import (
    BuildRecord,
    NetworkFrame,
    PartInstalled,
    SignalReading,
    SoftwareInstalled,
    TroubleCode,
)

TABLES: dict[str, type[Table]] = {
    t.title(): t
    for t in (
        *(SignalReading, NetworkFrame, BuildRecord, PartInstalled, SoftwareInstalled, TroubleCode),
        *(MachineReading, MachineEvent, Maintenance, Tightening, CurvePoint, Inspection, EnergyReading),
        *(Part, Supplier, Stock, Demand, Delivery, BillOfMaterials),
        *(Design, Simulation),
        *(Customer, VehicleHeld, Consent, Visit, Complaint),
        *(Outcome, Decision),
    )
}

__all__ = [
    "SYSTEM",
    "TABLES",
    "BillOfMaterials",
    "BuildRecord",
    "Column",
    "Complaint",
    "Consent",
    "CurvePoint",
    "Customer",
    "Decision",
    "Delivery",
    "Demand",
    "Design",
    "EnergyReading",
    "Inspection",
    "Instant",
    "MachineEvent",
    "MachineReading",
    "Maintenance",
    "NetworkFrame",
    "Outcome",
    "Part",
    "PartInstalled",
    "SignalReading",
    "Simulation",
    "SoftwareInstalled",
    "Stock",
    "Supplier",
    "Table",
    "Tightening",
    "TroubleCode",
    "VehicleHeld",
    "Visit",
    "column",
]
