"""What a plant's machines, tools and cameras say (names follow ISA-95)."""

from __future__ import annotations

from datetime import datetime

from unibody.tables.table import Table, column


class MachineReading(Table):
    """One value of one signal of one machine; exactly one of value, text, integer is filled."""

    key, at, usage_in = ("machine", "signal", "read_at"), "read_at", "usage"
    packs = ("machine", "signal")
    machine: str = column(
        "what is watched: a machine, or one life of a part of it (ISA-95 work unit)", required=True
    )
    signal: str = column("what is measured, with its unit in the name", required=True)
    read_at: datetime = column("when", required=True)
    usage: float = column("cycles, hours or pieces since new, as the machine counts them", low=0)
    value: float = column("the value")
    text: str = column("the value where it is a word")
    integer: int = column("the value where it is a whole number that a float would round")


class MachineEvent(Table):
    """Something that happened to a machine: a stop, an alarm, a change of state."""

    key, at, usage_in = ("machine", "event", "began_at"), "began_at", "usage"
    machine: str = column("machine (ISA-95 work unit)", required=True)
    event: str = column("what, as the machine names it", required=True)
    began_at: datetime = column("since when", required=True)
    ended_at: datetime = column("until when")
    kind: str = column("state, alarm, stop, micro-stop, produced")
    order: str = column("order, case or vehicle in work")
    step: str = column("activity or process step")
    worker: str = column("who, as the plant codes it", sensitivity="personal")
    good: float = column("good pieces", low=0)
    bad: float = column("bad pieces", low=0)
    usage: float = column("cycles, hours or pieces since new", low=0)
    text: str = column("the machine's own words")


class Maintenance(Table):
    """Work done on a machine."""

    key, at, usage_in = ("machine", "work_order"), "done_at", "usage"
    machine: str = column("machine (ISA-95 work unit)", required=True)
    work_order: str = column("number of the work order", required=True)
    done_at: datetime = column("when it was finished", required=True)
    kind: str = column("repair, replacement, inspection, lubrication, planned")
    component: str = column("part of the machine worked on")
    usage: float = column("cycles, hours or pieces since new", low=0)
    minutes: float = column("time taken", unit="min", low=0, high=100_000)
    text: str = column("the fitter's own words")


class Tightening(Table):
    """One bolt tightened at one station."""

    key, at = ("tightening_id",), "tightened_at"
    tightening_id: str = column("number the tool gave it", required=True)
    tightened_at: datetime = column("when", required=True)
    vin: str = column("vehicle", sensitivity="personal")
    station: str = column("station (ISA-95 work unit)")
    tool: str = column("tool")
    bolt: str = column("which bolt")
    torque_nm: float = column("final torque", unit="N·m", low=0, high=600)
    angle_deg: float = column("final angle", unit="deg", low=-3600, high=36_000)
    ok: bool = column("the tool's own verdict")


class CurvePoint(Table):
    """One point of a curve or waveform taken in one go: torque over angle, vibration over time."""

    key, at = ("curve", "signal", "taken_at", "step"), "taken_at"
    packs = ("curve", "signal")
    curve: str = column("the tightening, weld or snapshot it belongs to", required=True)
    signal: str = column("what is measured, with its unit in the name", required=True)
    taken_at: datetime = column("when this point was taken", required=True)
    step: int = column("place in the curve", required=True, low=0)
    value: float = column("the value")


class Inspection(Table):
    """One look at one part: by a camera (image by reference), by hand or by a gauge."""

    key, at = ("inspection_id",), "inspected_at"
    inspection_id: str = column("number of the inspection", required=True)
    inspected_at: datetime = column("when", required=True)
    subject: str = column("vehicle or part looked at", sensitivity="personal")
    station: str = column("station (ISA-95 work unit)")
    product: str = column("what kind of part")
    image: str = column("where the image lies, relative to its source")
    image_sha256: str = column("the image's own hash")
    verdict: str = column("good, defect or unsure")
    defect: str = column("kind of defect")
    measure: str = column("what was gauged, with its unit in the name")
    value: float = column("gauged value")


class EnergyReading(Table):
    """Energy taken by one meter over one interval."""

    key, at = ("meter", "began_at"), "began_at"
    meter: str = column("meter", required=True)
    began_at: datetime = column("start of the interval", required=True)
    seconds: float = column("length of the interval", unit="s", low=0, high=32_000_000)
    carrier: str = column("electricity, gas, compressed air, heat, water")
    energy_kwh: float = column("energy taken", unit="kWh", low=-1e9, high=1e9)
    reactive_kvarh: float = column("reactive energy, lagging", unit="kW·h", low=-1e9, high=1e9)
    power_factor: float = column("power factor in percent", low=-100, high=100)
    co2_t: float = column("carbon dioxide that came with it", unit="t", low=0, high=1e6)
    load: str = column("the meter's own word for the load regime")
