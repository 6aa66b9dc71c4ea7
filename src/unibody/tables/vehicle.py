"""What a car is and says: signals, frames, build, parts, software, trouble codes (names follow COVESA VSS)."""

from __future__ import annotations

from datetime import datetime

from unibody.tables.table import Table, column

VIN = "^[A-HJ-NPR-Z0-9]{17}$"  # ISO 3779: no I, O, Q


class SignalReading(Table):
    """One value of one signal of one vehicle; exactly one of value, text, integer is filled."""

    key, at, usage_in = ("vin", "path", "read_at"), "read_at", "odometer_km"
    packs = ("vin", "path")
    vin: str = column("vehicle", sensitivity="personal", required=True, pattern=VIN)
    path: str = column("VSS path, e.g. Vehicle.Speed; else brand.Message.Signal", required=True)
    read_at: datetime = column("when the value was on the bus", required=True)
    odometer_km: float = column("distance driven then", unit="km", low=0, high=5e6)
    value: float = column("the value, in the unit of the path", sensitivity="personal")
    text: str = column("the value where it is a word", sensitivity="personal")
    integer: int = column(
        "the value where it is a whole number that a float would round", sensitivity="personal"
    )


class NetworkFrame(Table):
    """One frame on a vehicle's network."""

    key, at = ("vin", "channel", "seen_at", "can_id", "sequence"), "seen_at"
    vin: str = column("vehicle", sensitivity="personal", required=True, pattern=VIN)
    channel: str = column("bus, as the logger names it", required=True)
    seen_at: datetime = column("when the frame was on the bus", required=True)
    sequence: int = column("place among frames of the same instant", required=True, low=0)
    can_id: int = column("arbitration id", required=True, low=0, high=0x1FFFFFFF)
    extended: bool = column("29-bit id", required=True)
    data: bytes = column("payload, 0..64 bytes", required=True)
    is_remote: bool = column("remote frame")
    is_error: bool = column("error frame")


class BuildRecord(Table):
    """One vehicle as built."""

    key, at = ("vin",), "built_at"
    vin: str = column("vehicle", sensitivity="personal", required=True, pattern=VIN)
    built_at: datetime = column("when it left the line", required=True)
    brand: str = column("brand", required=True)
    platform: str = column("platform family")
    model: str = column("model")
    plant: str = column("plant (ISA-95 site)")
    line: str = column("line (ISA-95 area)")
    shift: str = column("shift")
    market: str = column("country sold to, ISO 3166-1 alpha-2")
    engine: str = column("engine or motor code")
    colour: str = column("colour code")
    options: str = column("option codes, sorted, separated by a blank")


class PartInstalled(Table):
    """One part built into one vehicle, or into another part (Catena-X SingleLevelBomAsBuilt)."""

    key, at = ("installed_in", "part_number", "position"), "installed_at"
    installed_in: str = column("VIN or serial of the parent part", sensitivity="personal", required=True)
    part_number: str = column("what part", required=True)
    position: str = column("where on the parent", required=True)
    installed_at: datetime = column("when", required=True)
    serial: str = column("serial of the part, where it has one")
    lot: str = column("lot of the part, where it has one")
    supplier: str = column("supplier")
    sub_supplier: str = column("supplier of the supplier")
    station: str = column("station (ISA-95 work unit)")
    tool: str = column("tool")


class SoftwareInstalled(Table):
    """One software version on one control unit from then on."""

    key, at = ("vin", "ecu", "installed_at"), "installed_at"
    vin: str = column("vehicle", sensitivity="personal", required=True, pattern=VIN)
    ecu: str = column("control unit", required=True)
    installed_at: datetime = column("when", required=True)
    hardware: str = column("hardware part number and revision")
    software: str = column("software part number", required=True)
    software_version: str = column("software version", required=True)
    rxswin: str = column("RXSWIN of UN R156")


class TroubleCode(Table):
    """One diagnostic trouble code set in one vehicle."""

    key, at, usage_in = ("vin", "code", "set_at"), "set_at", "odometer_km"
    vin: str = column("vehicle", sensitivity="personal", required=True, pattern=VIN)
    code: str = column("code, e.g. P0420 (ISO 15031-6)", required=True)
    set_at: datetime = column("when it was set", required=True)
    odometer_km: float = column("distance driven then", unit="km", low=0, high=5e6)
    ecu: str = column("control unit that set it")
    status: str = column("pending, confirmed, permanent or cleared")
    text: str = column("the brand's own words for the code")
