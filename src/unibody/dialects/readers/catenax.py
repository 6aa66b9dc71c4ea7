"""Catena-X aspects: payloads of one aspect model as flat records, bare or in the envelopes they travel in.

Options: aspect (one of `ASPECTS`; any other aspect's name too, if `records` says where its records are), records
(in place of the path that `ASPECTS` has), columns (dotted columns that are always there), member (of a .zip).

A file is one payload, a list of payloads, or an envelope with the submodels of many parts, of which those of `aspect`
are read: {"aspectType": urn, "payload": ...} at any depth, or urn -> list of payloads (Tractus-X test data). Columns
are those of the reader `json`; identifiers listed as pairs become columns (`localIdentifiers.partInstanceId`); what
older versions of an aspect name otherwise comes under its newest name; `asset.catenaXId` and `asset.bpnl` are the
envelope's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unibody.dialects.readers import Batch, Limits, json, only
from unibody.errors import FormatError, SetupError, nearest

#: aspect -> where its records are, in each version's way of saying it; the first that a payload has is taken
ASPECTS: dict[str, tuple[str, ...]] = {
    "batch": ("",),
    "claim_data": ("claims[*]",),
    "delivery_information": ("positions[*].deliveries[*]",),
    "demand_and_capacity_notification": ("",),
    "diagnostic_data": ("diagnosticSessions[*].ecus[*].dtcs[*]",),
    "early_warning_notification": ("",),
    "item_stock": ("positions[*].allocatedStocks[*]",),
    "just_in_sequence_part": ("",),
    "part_as_planned": ("",),
    "part_site_information_as_planned": ("sites[*]",),
    "planned_production_output": ("positions[*].allocatedPlannedProductionOutputs[*]",),
    "report_8d": ("",),
    "serial_part": ("",),
    "short_term_material_demand": ("demandSeries[*].demands[*]",),
    "single_level_bom_as_built": ("childItems[*]", "childParts[*]"),
    "single_level_bom_as_planned": ("childItems[*]", "childParts[*]"),
    "single_level_usage_as_built": ("parentItems[*]", "parentParts[*]"),
    "single_level_usage_as_planned": ("parentItems[*]", "parentParts[*]"),
    "software_information": ("softwareInformation[*]",),
    "traction_battery_code": ("",),
    "vehicles": ("vehicles[*]",),
    "warranty_claim_request_verification": ("",),
    "week_based_capacity_group": ("capacities[*]",),
    "week_based_material_demand": ("demandSeries[*].demands[*]",),
    "zero_km_failure": ("",),
}
#: what an aspect was called before
_BEFORE = {
    "serial_part_typization": "serial_part",
    "assembly_part_relationship": "single_level_bom_as_built",
}
#: a field's name in older versions -> in the newest
_RENAMED = {
    "catenaXId": "globalAssetId",
    "childCatenaXId": "globalAssetId",
    "parentCatenaXId": "globalAssetId",
    "catenaXSiteId": "catenaXsiteId",
    "manufacturingInformation.date": "manufacturingInformation.productionDate",
    "quantity.quantityNumber": "quantity.value",
    "quantity.measurementUnit": "quantity.unit",
    "quantity.measurementUnit.lexicalValue": "quantity.unit",
}
_URN = re.compile(r"urn:(?:samm|bamm):[\w.]*?(\w+):\d+\.\d+\.\d+#\w+")
_OPTIONS: dict[str, Any] = {"aspect": "", "records": "", "columns": [], "member": None}


def read(path: Path, options: Mapping[str, Any], start: int, limits: Limits) -> Iterator[Batch]:
    """Records of every payload of one aspect.

    Raises SetupError where the aspect is unknown, FormatError where a payload has nothing where its records should be.
    """
    o = only(options, _OPTIONS, str(path))
    if o["aspect"] not in ASPECTS and not o["records"]:
        raise SetupError(
            f"{path}: read.aspect = {o['aspect']!r}; {nearest(o['aspect'], ASPECTS)}; or say read.records"
        )
    stated = (o["records"],) if o["records"] else ASPECTS[o["aspect"]]
    paths = [json.parsed_path(p, str(path)) for p in stated]
    found = json.Records()
    missed: list[str] = []
    for payload, asset in _payloads(json.document(path, o["member"], limits), o["aspect"], str(path)):
        _add(found, payload, asset, paths, missed)
    if (
        missed and not found.number
    ):  # in some payloads a list may be left out; in all of them, the shape is another
        raise FormatError(f"{path}: {o['aspect']}: {missed[0]}")
    yield from json.batches(found, o["columns"], start, limits)


def _add(
    found: json.Records, payload: Any, asset: json.Fields, paths: list[list[str]], missed: list[str]
) -> None:
    steps = next((p for p in paths if not p or (isinstance(payload, dict) and p[0] in payload)), paths[0])
    for record in json.walked(_pivoted(payload, 0), steps, missed):
        if isinstance(record, dict):
            named = _newest(record)
            found.add(named if isinstance(named, json.Wrong) else {**named, **asset})
        else:
            found.add(record)


def _newest(record: json.Fields) -> json.Fields | json.Wrong:
    """The record under the names of the newest version."""
    named: json.Fields = {}
    for name, value in record.items():
        prefix = "parent." * name.count("parent.")
        new = prefix + _RENAMED.get(name.removeprefix(prefix), name.removeprefix(prefix))
        if named.get(new, value) != value:
            return json.Wrong(
                json.dumps(record), f"says {new!r} by its old name and by its new one, and differently"
            )
        named[new] = value
    return named


def _pivoted(value: Any, depth: int) -> Any:
    """Identifiers that are listed as pairs of key and value, as an object; a list with a key twice stays a list."""
    if isinstance(value, list):
        return [_pivoted(v, depth + 1) for v in value] if depth < 20 else value
    if not isinstance(value, dict) or depth >= 20:
        return value
    done = {k: _pivoted(v, depth + 1) for k, v in value.items()}
    pairs = value.get("localIdentifiers")
    if (
        isinstance(pairs, list)
        and pairs
        and all(isinstance(p, dict) and set(p) == {"key", "value"} for p in pairs)
    ):
        keys = [str(p["key"]) for p in pairs]
        if len(set(keys)) == len(keys):
            done["localIdentifiers"] = {k: p["value"] for k, p in zip(keys, pairs, strict=True)}
    return done


def _payloads(document: Any, aspect: str, where: str) -> Iterator[tuple[Any, json.Fields]]:
    """Every payload of the aspect, with what its envelope says of the part."""
    kinds: set[str] = set()
    enveloped = list(_enveloped(document, {}, kinds, 0))
    if not kinds:
        for payload in document if isinstance(document, list) else [document]:
            if not isinstance(payload, dict):
                raise FormatError(
                    f"{where}: should be a payload of {aspect}, a list of them, or an envelope of submodels"
                )
            yield payload, {}
        return
    if aspect not in kinds:
        raise FormatError(f"{where}: holds no {aspect}; {nearest(aspect, kinds)}")
    yield from ((payload, asset) for kind, payload, asset in enveloped if kind == aspect)


def _enveloped(
    value: Any, asset: json.Fields, kinds: set[str], depth: int
) -> Iterator[tuple[str, Any, json.Fields]]:
    if depth > 8:
        return
    if isinstance(value, list):
        for item in value:
            yield from _enveloped(item, asset, kinds, depth + 1)
    if not isinstance(value, dict):
        return
    if isinstance(value.get("aspectType"), str) and "payload" in value:
        kinds.add(kind := _kind(value["aspectType"]))
        payloads = value["payload"]
        yield from ((kind, p, asset) for p in (payloads if isinstance(payloads, list) else [payloads]))
        return
    about = value.get("assetMetaInfo", value)
    if isinstance(about, dict):
        asset = asset | {
            f"asset.{k}": str(about[k]) for k in ("catenaXId", "bpnl") if isinstance(about.get(k), str)
        }
    for key, inner in value.items():
        if _URN.fullmatch(key):
            kinds.add(kind := _kind(key))
            yield from ((kind, p, asset) for p in (inner if isinstance(inner, list) else [inner]))
        else:
            yield from _enveloped(inner, asset, kinds, depth + 1)


def _kind(urn: str) -> str:
    found = _URN.fullmatch(urn)
    name = found[1] if found else urn
    return _BEFORE.get(name, name)
