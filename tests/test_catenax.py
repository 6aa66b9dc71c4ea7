"""Catena-X aspects: bare, in envelopes, in older versions, and the public ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from reading import (
    DATA,
    get,
    needs,
)


def test_catenax_envelopes_and_older_versions(tmp_path: Path) -> None:
    urn = "urn:bamm:io.catenax.assembly_part_relationship:1.1.0#AssemblyPartRelationship"
    child = {"childCatenaXId": "urn:2", "quantity": {"quantityNumber": 4}}
    part = {"catenaXId": "urn:1", "bpnl": "BPNL1", urn: [{"catenaXId": "urn:1", "childParts": [child]}]}
    submodel = {"aspectType": "urn:samm:io.catenax.serial_part:3.0.0#SerialPart"}
    submodel["payload"] = {"localIdentifiers": [{"key": "van", "value": "V1"}]}  # type: ignore[assignment]
    (tmp_path / "f.json").write_text(json.dumps({"x": [part], "assets": [{"submodels": [submodel]}]}))
    bom = get("catenax", tmp_path / "f.json", {"aspect": "single_level_bom_as_built"})
    assert bom.bare() == [
        {
            "globalAssetId": "urn:2",
            "quantity.value": "4",
            "parent.globalAssetId": "urn:1",
            "asset.catenaXId": "urn:1",
            "asset.bpnl": "BPNL1",
        }
    ]
    assert get("catenax", tmp_path / "f.json", {"aspect": "serial_part"}).bare() == [
        {"localIdentifiers.van": "V1"}
    ]
    assert "holds no batch" in str(get("catenax", tmp_path / "f.json", {"aspect": "batch"}).fault)
    assert "did you mean item_stock?" in str(
        get("catenax", tmp_path / "f.json", {"aspect": "item_stok"}).fault
    )


@needs("supply", "catenax")
@pytest.mark.parametrize(
    ("file", "aspect", "count", "first"),
    [
        (
            "payload_examples/io.catenax.item_stock_2.0.0.json",
            "item_stock",
            1,
            {"quantityOnAllocatedStock.value": "20.0"},
        ),
        (
            "payload_examples/io.catenax.fleet.diagnostic_data_3.0.0.json",
            "diagnostic_data",
            1,
            {"fullName": "P0573-00"},
        ),
        ("irs/smallTestdata.json", "serial_part", 147, {"localIdentifiers.van": "OMBEJUUEZVKSJRHPM"}),
        (
            "traceability/import-test-data-0UKM_v0.0.14.json",
            "single_level_bom_as_built",
            5,
            {"quantity.value": "1"},
        ),
    ],
)
def test_real_catenax(file: str, aspect: str, count: int, first: dict[str, str]) -> None:
    got = get("catenax", DATA / "supply/catenax" / file, {"aspect": aspect})
    assert got.fault is None and not got.broken and len(got.rows) == count
    assert first.items() <= got.rows[0].items()
