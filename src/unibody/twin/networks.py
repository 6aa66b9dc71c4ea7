"""CAN logs of drives that never happened, encoded by cantools with the makes' own DBC files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import cantools
import numpy as np
from numpy.typing import NDArray

from unibody.twin.world import Brand, Table, World

Floats = NDArray[np.float64]
RATE_HZ = 50  # of the drive that messages are taken from


@dataclass(frozen=True)
class Frame:
    """One frame as sent: what was meant and what went onto the wire."""

    at: float  # seconds since 1970, UTC
    identifier: int
    extended: bool
    message: str  # "" for a frame that no DBC knows
    meant: dict[str, float]  # physical values, within what the signal can say
    data: bytes

    def line(self, channel: str) -> str:
        """The frame as `candump -L` prints it."""
        name = f"{self.identifier:08X}" if self.extended else f"{self.identifier:03X}"
        return f"({self.at:.6f}) {channel} {name}#{self.data.hex().upper()}\n"


@cache
def database(name: str, messages: tuple[str, ...]) -> Any:
    """The named messages of one of opendbc's files, as a cantools database.

    cantools refuses some of these files as a whole (29-bit ids without bit 31, overlapping signals, names
    that start with a digit); the blocks of the messages asked for are taken as they stand, bit for bit.
    """
    text = resources.files("opendbc").joinpath("dbc", name).read_bytes().decode("utf-8", "replace")
    blocks = re.findall(r"^BO_ \d+ (\w+) *:.*\n(?:[ \t]+SG_ .*\n)*", text, re.MULTILINE)
    found = dict(
        zip(blocks, re.finditer(r"^BO_ \d+ \w+ *:.*\n(?:[ \t]+SG_ .*\n)*", text, re.MULTILINE), strict=True)
    )
    chosen = "\n".join(found[message].group() for message in messages)
    return cantools.database.load_string(
        f'VERSION ""\n\nBU_:\n\n{chosen}', database_format="dbc", strict=False
    )


def of_brand(world: World, brand: Brand) -> tuple[Any, Table]:
    """The brand's database and what its cars send."""
    rules: Table = world.parameters["networks"]["brands"][brand.name]
    return database(rules["dbc"], tuple(rules["messages"])), rules


def sampled(world: World, brand: Brand) -> set[int]:
    """The numbers of the brand's cars that carry a logger: some of those built in the first half."""
    numbers, total = world.parameters["networks"], world.vehicles_of(brand)
    wanted = round(numbers["vehicles_per_thousand"] * world.vehicles / 1000)
    wanted = min(max(numbers["vehicles_min"], wanted), numbers["vehicles_max"], total)
    return {int(place) for place in np.linspace(0, max(total // 2 - 1, 0), wanted).round()}


def frames(world: World, brand: Brand, vin: str, begins_at: float) -> Iterator[Frame]:
    """All frames of one trip, by time."""
    numbers = world.parameters["networks"]
    db, rules = of_brand(world, brand)
    chances = world.chances("trip", vin)
    drive = _drive(numbers, chances)
    sent: list[tuple[float, str, int]] = []
    for name, rule in rules["messages"].items():
        period = rule["period"]
        times = np.arange(float(chances.uniform(0, period)), numbers["trip_seconds"], period)
        times = times + chances.normal(0, numbers["period_jitter"] * period, len(times)).clip(
            -period / 3, period / 3
        )
        sent += [(max(at, 0.0), name, counter) for counter, at in enumerate(times.tolist())]
    strangers = world.parameters["dirt"]["kinds"]["can"]["unknown_code"]["rate"]
    count = int(len(sent) * strangers + chances.random())
    sent += [(at, "", 0) for at in chances.uniform(0, numbers["trip_seconds"], count).tolist()]
    sent.sort()
    for at, name, counter in sent:
        stamp = round(begins_at + at, 6)
        if not name:
            yield Frame(
                stamp,
                numbers["unknown_id"],
                False,
                "",
                {},
                bytes(chances.integers(0, 256, 8, dtype=np.uint8)),
            )
            continue
        message, step = db.get_message_by_name(name), int(at * RATE_HZ)
        meant = _meant(message, rules["messages"][name]["signals"], drive, step, counter)
        data = message.encode(meant, scaling=True, strict=False)
        if rules["checksum"] == "crc8_j1850" and "CHECKSUM" in meant:
            data = data[:-1] + bytes([_crc8(data[:-1])])
            meant["CHECKSUM"] = float(data[-1])
        yield Frame(stamp, message.frame_id, message.is_extended_frame, name, meant, data)


def _meant(
    message: Any, sources: Table, drive: dict[str, Floats], step: int, counter: int
) -> dict[str, float]:
    """Physical values of all signals of a message, held within what their bits can say."""
    meant: dict[str, float] = {}
    for signal in message.signals:
        low, high = _limits(signal.length, signal.is_signed, signal.scale, signal.offset)
        if signal.name in sources:
            source, factor, offset = sources[signal.name]
            value = float(drive[source][step]) * factor + offset
        elif signal.name == "COUNTER":
            value = float(counter % 2**signal.length)
        else:
            value = float(signal.offset)
        meant[signal.name] = min(max(value, low), high)
    return meant


@cache
def _limits(length: int, signed: bool, scale: float, offset: float) -> tuple[float, float]:
    lowest, highest = (-(2 ** (length - 1)), 2 ** (length - 1) - 1) if signed else (0, 2**length - 1)
    ends = sorted((lowest * scale + offset, highest * scale + offset))
    return ends[0], ends[1]


def _drive(numbers: Table, chances: np.random.Generator) -> dict[str, Floats]:
    """A drive through town and out of it: speed follows a wish, all else follows from speed."""
    count = int(numbers["trip_seconds"] * RATE_HZ) + RATE_HZ
    step = 1.0 / RATE_HZ
    time = np.arange(count) * step
    wishes = chances.choice([0.0, 30.0, 50.0, 50.0, 80.0, 110.0], size=int(time[-1] // 12) + 2)
    speed = np.zeros(count)  # m/s
    wish = wishes[(time // 12).astype(int)] / 3.6
    for place in range(1, count):
        push = np.clip((wish[place] - speed[place - 1]) * 0.4, -3.5, 2.4)
        speed[place] = max(0.0, speed[place - 1] + push * step)
    accel = np.gradient(speed, step)
    ratios = np.array(numbers["ratios"])
    gear = np.searchsorted(np.array(numbers["shift_kmh"]), speed * 3.6) + 1
    rpm = np.maximum(numbers["idle_rpm"], speed / numbers["wheel_m"] * 60.0 * ratios[gear - 1])
    rpm = rpm + chances.normal(0, 6.0, count)
    turn = np.convolve(chances.normal(0, 60.0, count + 199), np.hanning(200) / np.hanning(200).sum(), "valid")
    steering = turn * 6.0 / (1 + speed / 4.0)
    braking = accel < -0.4
    wheel = 1 + chances.normal(0, numbers["wheelbase_spread"], 2)
    warm = float(chances.uniform(20.0, 88.0))
    coolant = 90.0 - (90.0 - warm) * np.exp(-time / 240.0)
    return {
        "one": np.ones(count),
        "speed_ms": speed,
        "speed_kmh": speed * 3.6,
        "distance_m": np.cumsum(speed) * step,
        "accel_ms2": accel,
        "lateral_ms2": speed * np.radians(steering / 16.0) * 0.8,
        "yaw_rad_s": speed * np.radians(steering / 16.0) / 2.8,
        "wheel_fl_ms": speed * wheel[0],
        "wheel_fr_ms": speed * wheel[1],
        "rpm": rpm,
        "gear": gear.astype(float),
        "gear_of_4": np.minimum(gear, 4).astype(float),
        "pedal_pct": np.clip(8.0 + 30.0 * accel + 0.35 * speed, 0.0, 100.0) * ~braking,
        "brake_on": braking.astype(float),
        "brake_bar": np.where(braking, -accel * 9.0, 0.0),
        "moving": (speed > 0.1).astype(float),
        "steering_deg": steering,
        "steering_deg_s": np.gradient(steering, step),
        "coolant_c": coolant,
        "oil_c": coolant + 4.0,
        "air_c": np.full(count, float(chances.uniform(12.0, 31.0))),
    }


@cache
def _crc8_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = ((byte << 1) ^ 0x1D if byte & 0x80 else byte << 1) & 0xFF
        table.append(byte)
    return tuple(table)


def _crc8(data: bytes) -> int:
    """CRC-8 SAE J1850: polynomial 0x1D, start and final inversion 0xFF."""
    crc, table = 0xFF, _crc8_table()
    for byte in data:
        crc = table[crc ^ byte]
    return crc ^ 0xFF
