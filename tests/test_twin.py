"""The twin: the same seed makes the same car maker, and its answer key tells the truth about its files."""

import csv
import hashlib
import json
import re
from collections import Counter, defaultdict
from datetime import datetime
from importlib import resources
from pathlib import Path

import cantools
import pytest

from unibody.errors import SetupError
from unibody.twin import make, networks
from unibody.twin.builds import check_digit
from unibody.twin.world import load

VEHICLES, DAYS, SEED = 60, 20, 7
BRANDS = {  # encoding, delimiter, heading of the VIN, of the part: written down here, not read from the twin
    "jeep": ("utf-8", ",", "VIN", "Component"),
    "alfa_romeo": ("cp1252", ";", "Telaio", "Componente"),
    "opel": ("cp1252", "|", "FIN", "Bauteil"),
}
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


def peugeots(made: Path) -> list[dict]:
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
    assert told == {"suppliers/jeep/bom/jeep_bom_2026-06.csv"}  # the one thing that chance has no part in


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
    assert len(table(tmp_path / "made/answer_key/vehicle_causes.csv")) == 1


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
    assert sorted(row["vin"] for row in table(made / "answer_key/vehicle_causes.csv")) == known


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


def test_cars_of_the_bad_lot_come_back_far_more_often(tmp_path: Path) -> None:
    """The planted cause can be found: in a larger world the hazard of the bad lot is about what was planted."""
    world = load(4000, 60, SEED)
    from unibody.twin.builds import bad_lots, schedule, vehicles
    from unibody.twin.dealers import Dealers

    brand, lot = world.brands["jeep"], bad_lots(world)["brake_hose_bad_lot"]
    days, failed = Counter[bool](), Counter[bool]()
    dealers = Dealers(world, brand)
    for _, cars in vehicles(world, brand, schedule(world, brand)):
        for car in cars:
            bad = car.lot("brake_hose_front") == lot
            days[bad] += (world.end - car.built_at).days
            failed[bad] += any(fault.symptom == 0 for fault in dealers.hand_over(car))
    rate = {bad: failed[bad] / days[bad] for bad in (True, False)}
    assert 5 < rate[True] / rate[False] < 14


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
