"""The twin: the same seed makes the same car maker, and its answer key tells the truth about its files."""

import csv
import hashlib
import json
import re
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import cantools
import pytest

from unibody.errors import SetupError
from unibody.twin import builds, causes, customers, key, make, networks
from unibody.twin.builds import check_digit
from unibody.twin.dealers import Dealers, handover
from unibody.twin.files import Files
from unibody.twin.world import load

VEHICLES, DAYS, SEED = 60, 20, 7
BRANDS = {  # encoding, delimiter, heading of the VIN, of the part: written down here, not read from the twin
    "jeep": ("utf-8", ",", "VIN", "Component"),
    "alfa_romeo": ("cp1252", ";", "Telaio", "Componente"),
    "opel": ("cp1252", "|", "FIN", "Bauteil"),
}
PLANTED = {"jeep": "brake_hose", "alfa_romeo": "battery", "peugeot": "steering", "opel": "camera"}
CAUSES = {
    "jeep": "brake_hose_bad_lot",
    "alfa_romeo": "battery_second_supplier",
    "peugeot": "steering_rack_torque_low",
    "opel": "camera_software",
}
ROME = ZoneInfo("Europe/Rome")
READINGS = {  # heading of the component in the plants' readings
    "melfi": ("utf-8", ";", "Matricola_componente"),
    "cassino": ("utf-8", ",", "bearing_serial"),
    "ruesselsheim": ("latin-1", ";", "Lager_Seriennr"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("twin") / "made"
    make(folder, VEHICLES, DAYS, SEED)
    return folder


def tree(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def table(path: Path, encoding: str = "utf-8", delimiter: str = ",") -> list[dict[str, str]]:
    with path.open(encoding=encoding, newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def tables(folder: Path, pattern: str, encoding: str, delimiter: str) -> list[dict[str, str]]:
    return [row for path in sorted(folder.glob(pattern)) for row in table(path, encoding, delimiter)]


def peugeots(made: Path) -> list[dict[str, Any]]:
    documents = sorted((made / "brands/peugeot/builds").glob("*.json"))
    return [car for path in documents for car in json.loads(path.read_text())["vehicules"]]


def vins(made: Path) -> list[str]:
    """Every car once: a record written twice is dirt, not a second car."""
    found = [car["vin"] for car in peugeots(made)]
    for brand, (encoding, sign, vin, _) in BRANDS.items():
        found += [row[vin] for row in tables(made, f"brands/{brand}/builds/*.csv", encoding, sign)]
    return sorted(set(found))


def test_same_seed_same_bytes_other_seed_other_bytes(made: Path, tmp_path: Path) -> None:
    make(tmp_path / "again", VEHICLES, DAYS, SEED)
    assert tree(tmp_path / "again") == tree(made)
    make(tmp_path / "other", VEHICLES, DAYS, SEED + 1)
    same = {name for name, _ in tree(tmp_path / "other").items() & tree(made).items()}
    told = {
        name for name in same if (made / name).read_bytes().count(b"\n") > 1
    }  # a day without cars is a header
    # what chance has no part in: a bill of materials, and lots that are named by the calendar
    assert told == {"suppliers/jeep/bom/jeep_bom_2026-06.csv", "answer_key/field_causes.csv"}


def test_a_folder_that_holds_something_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(SetupError, match="is not empty; name a new or an empty folder"):
        make(tmp_path, VEHICLES, DAYS, SEED)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


@pytest.mark.parametrize(("vehicles", "days", "seed"), [(0, 1, 1), (1, 0, 1), (1, 1, -1)])
def test_numbers_out_of_range_are_refused(tmp_path: Path, vehicles: int, days: int, seed: int) -> None:
    with pytest.raises(SetupError, match="must lie between"):
        make(tmp_path / "made", vehicles, days, seed)


def test_one_car_and_one_day_is_a_car_maker_too(tmp_path: Path) -> None:
    assert make(tmp_path / "made", 1, 1, SEED).vehicles == 1
    assert {row["vin"] for row in table(tmp_path / "made/answer_key/vehicle_causes.csv")} == set(
        vins(tmp_path / "made")
    )


def test_a_run_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def stop(stage: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "made", VEHICLES, DAYS, SEED, stop)
    assert list(tmp_path.iterdir()) == []


def test_vins_are_valid_and_all_cars_are_in_the_key(made: Path) -> None:
    known = vins(made)
    assert len(known) == VEHICLES
    for vin in known:
        assert re.fullmatch(r"(ZAC|ZAR|VF3|W0V)[A-HJ-NPR-Z0-9]{5}[0-9XZ]T[A-HJ-NPR-Z0-9]\d{6}", vin), vin
        if vin.startswith("ZAC"):
            assert vin[8] == check_digit(vin)
    assert check_digit("1M8GDM9AXKP042788") == "X"  # the regulation's own example
    causes = table(made / "answer_key/vehicle_causes.csv")
    for symptom in PLANTED.values():
        assert sorted(row["vin"] for row in causes if row["symptom"] == symptom) == known


def test_every_car_has_its_whole_genealogy(made: Path) -> None:
    parts: dict[str, set[str]] = defaultdict(set)
    screws: Counter[str] = Counter()
    for brand, (encoding, sign, vin, part) in BRANDS.items():
        for row in tables(made, f"brands/{brand}/parts/*.csv", encoding, sign):
            parts[row[vin]].add(row[part])
        screws.update(row[vin] for row in tables(made, f"brands/{brand}/tightenings/*.csv", encoding, sign))
    for car in peugeots(made):
        parts[car["vin"]] = {part["organe"] for part in car["organes"]}
        screws[car["vin"]] = len(car["serrages"])
    assert sorted(parts) == vins(made)
    assert {len(names) for names in parts.values()} == {20}
    assert {screws[vin] for vin in vins(made)} == {3}


def test_every_failure_in_the_key_has_readings_before_it_and_none_after(made: Path) -> None:
    seen: dict[str, list[float]] = defaultdict(list)
    for path in sorted((made / "plants/sochaux/readings").glob("*.jsonl")):
        for line in path.read_text().splitlines():
            if line.endswith("}"):
                row = json.loads(line)
                seen[row["sn"]].append(row["ts"] / 1000)
    components = {
        row[name]
        for plant, (encoding, sign, name) in READINGS.items()
        for row in tables(made, f"plants/{plant}/readings/*.csv", encoding, sign)
    }
    failures = table(made / "answer_key/machine_failures.csv")
    running = {row["subject"] for row in table(made / "answer_key/machine_running.csv")}
    assert len(failures) > 20
    assert not running & {row["subject"] for row in failures}
    assert components | set(seen) == running | {row["subject"] for row in failures}
    ours = [row for row in failures if row["plant"] == "sochaux"]
    assert ours
    for row in ours:
        assert max(seen[row["subject"]]) < datetime.fromisoformat(row["failed_at"]).timestamp()


def test_can_frames_decode_to_what_was_meant(made: Path) -> None:
    """Half a step of the signal's scale is all that may be lost."""
    world = load(VEHICLES, DAYS, SEED)
    truth = table(made / "answer_key/can_signals.csv")
    lines = {row["file"]: (made / row["file"]).read_text().splitlines() for row in truth}
    assert {path.split("/")[1] for path in lines} == set(world.brands)
    moved: dict[str, set[float]] = defaultdict(set)
    for row in truth:
        brand = row["file"].split("/")[1]
        db, _ = networks.of_brand(world, world.brands[brand])
        shape = r"\(\d+\.\d{6}\) can0 ([0-9A-F]{3}|[0-9A-F]{8})#((?:[0-9A-F]{2})*)"
        found = re.fullmatch(shape, lines[row["file"]][int(row["line"]) - 1])
        assert found
        message = db.get_message_by_frame_id(int(found[1], 16))
        assert message.name == row["message"]
        value = message.decode(bytes.fromhex(found[2]), decode_choices=False)[row["signal"]]
        scale = abs(message.get_signal_by_name(row["signal"]).scale)
        assert abs(value - float(row["value"])) <= scale / 2 + 1e-9, row
        moved[f"{brand} {row['signal']}"].add(value)
    for signal in ("jeep VEHICLE_SPEED", "alfa_romeo ENGINE_RPM", "peugeot P000_Com_nEng", "opel RPM"):
        assert len(moved[signal]) > 20


def test_can_layout_is_that_of_the_published_file() -> None:
    """Opel's file is one that cantools reads whole: our cut of it must have the same bits."""
    world = load(VEHICLES, DAYS, SEED)
    ours, _ = networks.of_brand(world, world.brands["opel"])
    text = resources.files("opendbc").joinpath("dbc/opel_omega_2001.dbc").read_text()
    whole = cantools.database.load_string(text, "dbc")
    for message in ours.messages:
        for signal in message.signals:
            theirs = whole.get_message_by_name(message.name).get_signal_by_name(signal.name)
            for what in ("start", "length", "byte_order", "is_signed", "scale", "offset"):
                assert getattr(signal, what) == getattr(theirs, what)


def test_the_dirt_counted_is_the_dirt_found(made: Path) -> None:
    """Every impossible value, old clock, unknown code and copy stands where the key says, and nowhere else."""
    found: dict[str, set[tuple[str, str]]] = defaultdict(set)
    marks = {
        "impossible_value": re.compile(r"-?1000000000[.,]0"),
        "clock_1970": re.compile(r"1970-01-01T|01[./]01[./]1970|\"ts\": 0,"),
        "unknown_code": re.compile(r"ZZ99|X9Z99| 7A1#"),
    }
    for path in sorted(path for path in made.rglob("*") if path.suffix in (".csv", ".jsonl", ".log")):
        name = str(path.relative_to(made))
        if name.startswith("answer_key"):
            continue
        before = set()
        for number, line in enumerate(path.read_bytes().decode("latin-1").split("\n"), 1):
            for what, mark in marks.items():
                if mark.search(line):
                    found[what].add((name, str(number)))
            if line and line in before:
                found["duplicate"].add((name, str(number)))
            before.add(line)
    key = json.loads((made / "answer_key/dirt.json").read_text())
    said: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for name, kinds in key["files"].items():
        for what, entry in kinds.items():
            assert entry["count"] == len(entry["places"])
            if not name.endswith(".json"):
                said[what] |= {(name, str(place)) for place in entry["places"]}
    for what in (*marks, "duplicate"):
        assert found[what] == said[what], what
        assert said[what], what
    for name in (name for name in key["files"] if name.endswith(".json")):
        cars, kinds = json.loads((made / name).read_text())["vehicules"], key["files"][name]
        copies = {f"/vehicules/{place}" for place in range(1, len(cars)) if cars[place] == cars[place - 1]}
        noted = kinds.get("duplicate", {}).get("places", [])
        assert copies == {place for place in noted if place.count("/") == 2}
        wrong = {
            f"/vehicules/{place}/serrages/{spot}"
            for place, car in enumerate(cars)
            for spot, row in enumerate(car["serrages"])
            if row["couple_nm"] == 1e9
        }
        assert wrong == set(kinds.get("impossible_value", {}).get("places", []))
    assert said["late"]
    ((name, place),) = said["truncated"]
    text = (made / name).read_text()
    assert len(text.split("\n")) == int(place)
    with pytest.raises(json.JSONDecodeError):
        json.loads(text.split("\n")[-1])


@pytest.mark.parametrize(
    ("brand", "symptom", "low", "high"),
    [("jeep", 0, 6, 13), ("alfa_romeo", 1, 8, 17), ("peugeot", 8, 6, 14), ("opel", 6, 8, 17)],
)
def test_cars_that_have_the_cause_fail_far_more_often(
    brand: str, symptom: int, low: float, high: float
) -> None:
    """The planted cause can be found: in a larger world the rate ratio is about what was planted (9 to 12)."""
    world = load(6000, 60, SEED)
    dealers = Dealers(world, world.brands[brand])
    (cause,) = (cause for cause in causes.planted(world) if cause.brand == brand)
    days, failed = dict.fromkeys((True, False), 0.0), Counter[bool]()
    for _, cars in builds.vehicles(world, world.brands[brand], builds.schedule(world, world.brands[brand])):
        for car in cars:
            bad, begins = cause.met_by(car), handover(world, car)
            faults = [fault.at for fault in dealers.hand_over(car) if fault.symptom == symptom]
            days[bad] += max((min([*faults, world.end]) - begins).total_seconds() / 86400, 0)
            failed[bad] += bool(faults)
    assert low < (failed[True] / days[True]) / (failed[False] / days[False]) < high


def test_the_key_names_one_cause_a_brand_and_none_elsewhere(made: Path) -> None:
    rows = {row["subject"]: row["label"] for row in table(made / "answer_key/field_causes.csv")}
    assert len(rows) == 4 * 9
    lot = next(
        row["value"] for row in causes_of(made, "jeep") if row["affected"] == "1"
    )  # its name goes with the calendar
    assert {subject: label for subject, label in rows.items() if label != "none"} == {
        "jeep: brake_hose_front": f"part.brake_hose_front.lot = {lot}",
        "alfa_romeo: battery_12v": "part.battery_12v.supplier = S112",
        "peugeot: steering_rack": "torque.steering_rack low",
        "opel: front_camera": "software.ADAS = 1.9.0",
    }


def causes_of(made: Path, brand: str) -> list[dict[str, str]]:
    rows = table(made / "answer_key/vehicle_causes.csv")
    return [row for row in rows if (row["brand"], row["symptom"]) == (brand, PLANTED[brand])]


def test_affected_are_the_cars_whose_raw_records_meet_the_condition(made: Path) -> None:
    """Read from each brand's own files: a lot, a supplier, a version, a torque."""
    (lot,) = {row["value"] for row in causes_of(made, "jeep") if row["affected"] == "1"}
    found = {
        "jeep": {
            row["VIN"]
            for row in tables(made, "brands/jeep/parts/*.csv", "utf-8", ",")
            if row["Component"] == "brake_hose_front" and row["Lot"] == lot
        },
        "alfa_romeo": {
            row["Telaio"]
            for row in tables(made, "brands/alfa_romeo/parts/*.csv", "cp1252", ";")
            if row["Componente"] == "battery_12v" and row["Fornitore"] == "S112"
        },
        "opel": {
            row["FIN"]
            for row in tables(made, "brands/opel/software/*.csv", "cp1252", "|")
            if row["Steuergerät"] == "ADAS" and row["Version"] == "1.9.0"
        },
        "peugeot": {
            car["vin"]
            for car in peugeots(made)
            for row in car["serrages"]
            if row["operation"] == "steering_rack" and row["couple_nm"] <= 100.5
        },
    }
    for brand, known in found.items():
        ours = causes_of(made, brand)
        said = {row["vin"] for row in ours if row["affected"] == "1"}
        assert said == known, brand
        assert 0 < len(said) < len(ours), brand
        assert {row["vin"] for row in ours if row["cause"] == CAUSES[brand]} <= said


def test_planting_changes_who_fails_and_nothing_that_is_built() -> None:
    world = load(240, 60, SEED)
    clean = replace(world, parameters={**world.parameters, "planted": []})
    for brand in world.brands.values():
        counts = builds.schedule(world, brand)
        cars = [car for _, day in builds.vehicles(world, brand, counts) for car in day]
        assert cars == [car for _, day in builds.vehicles(clean, brand, counts) for car in day]
        dealers = Dealers(clean, brand)
        assert {f.cause for car in cars for f in dealers.hand_over(car) if f.real} == {"background"}


def test_a_cause_of_an_unknown_kind_is_named() -> None:
    world = load(1, 1, SEED)
    wrong = {**world.parameters["planted"][0], "kind": "gremlins"}
    with pytest.raises(SetupError, match="no kind 'gremlins'; there are bad_lot, torque_low"):
        causes.planted(replace(world, parameters={**world.parameters, "planted": [wrong]}))


def test_holders_follow_one_another_and_consent_can_be_taken_back(tmp_path: Path) -> None:
    world = load(2000, 60, SEED)
    brand = world.brands["alfa_romeo"]
    files, cars = Files(tmp_path, world), dict[str, builds.Vehicle]()
    customers.write_fleets(world, brand, files)
    for _, day in builds.vehicles(world, brand, builds.schedule(world, brand)):
        customers.write(world, brand, day, files)
        cars |= {car.vin: car for car in day}
    read = {
        kind: tables(tmp_path, f"dealers/alfa_romeo/{kind}/*.csv", "cp1252", ";") for kind in customers.TIMES
    }
    people = {row["Cod_cliente"]: row for row in read["customers"]}
    assert len(people) == len(read["customers"])
    assert any(re.search(r"^[=+<]|DROP|Null|; Ltd", row["Nominativo"]) for row in people.values())
    assert {row["Lingua"] for row in people.values()} == {"italiano", "tedesco", "francese", "inglese"}

    last: dict[tuple[str, str], dict[str, str]] = {}
    for row in sorted(read["holdings"], key=lambda row: when(row["Registrato_il"])):
        last[row["Telaio"], row["Dal"]] = row
    assert len(read["holdings"]) > len(last)  # a holding that ends is written again, with its end
    held: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in sorted(last.values(), key=lambda row: when(row["Dal"])):
        held[row["Telaio"]].append(row)
        assert row["Cod_cliente"] in people
    for vin, rows in held.items():
        assert when(rows[0]["Dal"]) > cars[vin].built_at.astimezone(ROME).replace(tzinfo=None)
        assert [row["Al"] for row in rows] == [*(row["Dal"] for row in rows[1:]), ""]
    end = world.end.astimezone(ROME).replace(tzinfo=None)
    assert {vin for vin, car in cars.items() if handover(world, car) < world.end} == set(held) < set(cars)
    assert all(when(row["Dal"]) < end for row in last.values())

    said: dict[tuple[str, str], list[tuple[datetime, str]]] = defaultdict(list)
    for row in read["consents"]:
        assert row["Cod_cliente"] in people
        said[row["Cod_cliente"], row["Finalità"]].append((when(row["Espresso_il"]), row["Consenso"]))
    answers = Counter("".join(word for _, word in sorted(words)) for words in said.values())
    assert set(answers) == {"S", "N", "SN"}
    assert answers["S"] > answers["N"] > answers["SN"] > 0


def when(text: str) -> datetime:
    return datetime.strptime(text, "%d/%m/%Y %H:%M:%S")


def test_a_media_wave_makes_complaints_and_workshops_find_nothing(tmp_path: Path) -> None:
    world = load(1000, 60, SEED)
    brand, files = world.brands["opel"], Files(tmp_path, world)
    dealers = Dealers(world, brand)
    for _, day in builds.vehicles(world, brand, builds.schedule(world, brand)):
        key.cars(world, files, [(car, dealers.hand_over(car)) for car in day])
    dealers.write(files)
    unfounded = [fault for fault in dealers.faults if not fault.real]
    assert {(fault.market, fault.symptom) for fault in unfounded} == {("DE", 5)}
    assert (max(f.at for f in unfounded) - min(f.at for f in unfounded)).days <= 14
    visits = {row["Auftrag"]: row for row in tables(tmp_path, "dealers/opel/visits/*.csv", "cp1252", "|")}
    nothing = {number for number, row in visits.items() if row["Arbeit"].startswith("kein Fehler")}
    assert len(nothing) == sum(fault.visited for fault in unfounded) > 2
    for kind in ("dtcs", "claims"):
        rows = tables(tmp_path, f"dealers/opel/{kind}/*.csv", "cp1252", "|")
        assert rows and not nothing & {row["Auftrag"] for row in rows}
    complaints = Counter(
        row["FIN"] for row in tables(tmp_path, "dealers/opel/complaints/*.csv", "cp1252", "|")
    )
    assert all(complaints[fault.vin] for fault in unfounded)
    failed = Counter(
        row["vin"] for row in table(tmp_path / "answer_key/vehicle_faults.csv") if row["symptom"] == "gearbox"
    )
    assert failed.total() < len(unfounded)  # more noise than failures: that is what makes it a decoy


def test_stock_that_would_run_out_is_an_express_delivery_and_a_row_of_the_key(made: Path) -> None:
    key = table(made / "answer_key/supply_shortages.csv")
    short = {(row["part_number"], row["short_at"]) for row in key if row["brand"] == "jeep"}
    deliveries = tables(made, "suppliers/jeep/deliveries/*.csv", "utf-8", ",")
    assert short == {(row["Part_No"], row["Received_UTC"]) for row in deliveries if row["Type"] == "express"}
    assert short
    assert all(float(row["On_Hand"]) >= 0 for row in tables(made, "suppliers/jeep/stock/*.csv", "utf-8", ","))


def test_a_visit_follows_each_fault_in_the_key(made: Path) -> None:
    said = {(row["vin"], row["visited_at"]) for row in table(made / "answer_key/vehicle_faults.csv")}
    jeeps = {pair for pair in said if pair[0].startswith("ZAC")}
    visits = tables(made, "dealers/jeep/visits/*.csv", "utf-8", ",")
    told = {(row["VIN"], row["Opened_UTC"]) for row in visits if row["Work_Done"]}
    clock = {vin for vin, at in told if at.startswith("1970")}
    assert jeeps
    assert {pair for pair in jeeps if pair[0] not in clock} == {pair for pair in told if pair[0] not in clock}


def test_the_twin_uses_none_of_our_readers() -> None:
    for path in resources.files("unibody.twin").iterdir():
        if path.name.endswith(".py"):
            for module in re.findall(r"^\s*(?:from|import) (unibody[\w.]*)", path.read_text(), re.MULTILINE):
                assert module == "unibody.errors" or module.startswith("unibody.twin"), (path.name, module)
