"""What customers own, allow, and complain of."""

from __future__ import annotations

from datetime import datetime

from unibody.tables.table import Table, column
from unibody.tables.vehicle import VIN


class Customer(Table):
    """One customer of one brand."""

    key, at = ("customer",), "since"
    customer: str = column("customer number", sensitivity="personal", required=True)
    since: datetime = column("customer since", required=True)
    name: str = column("name", sensitivity="personal")
    email: str = column("mail address", sensitivity="personal")
    country: str = column("country, ISO 3166-1 alpha-2")
    language: str = column("language, BCP 47")


class VehicleHeld(Table):
    """Who holds which vehicle since when."""

    key, at = ("vin", "held_from"), "held_from"
    vin: str = column("vehicle", sensitivity="personal", required=True, pattern=VIN)
    held_from: datetime = column("since", required=True)
    held_until: datetime = column("until")
    customer: str = column("customer", sensitivity="personal", required=True)
    role: str = column("owner, lessee, driver, fleet")


class Consent(Table):
    """What a customer allows or forbids."""

    key, at = ("customer", "purpose", "given_at"), "given_at"
    customer: str = column("customer", sensitivity="personal", required=True)
    purpose: str = column("for what", required=True)
    given_at: datetime = column("when said", required=True)
    allowed: bool = column("yes or no", required=True)


class Visit(Table):
    """One visit of one vehicle at one dealer, with what was found and done."""

    key, at, usage_in = ("dealer", "visit_id"), "visited_at", "odometer_km"
    dealer: str = column("dealer", required=True)
    visit_id: str = column("number of the visit or claim at that dealer", required=True)
    visited_at: datetime = column("when", required=True)
    vin: str = column("vehicle", sensitivity="personal", pattern=VIN)
    odometer_km: float = column("distance driven then", unit="km", low=0, high=5e6)
    code: str = column("trouble code read")
    component: str = column("component the dealer names")
    work: str = column("work done")
    cost_eur: float = column("cost", unit="EUR", low=0, high=1e6)
    warranty: bool = column("paid by the maker")
    language: str = column("language of the text, BCP 47")
    text: str = column("what customer and dealer wrote", sensitivity="personal")


class Complaint(Table):
    """One complaint, to the maker or to an authority."""

    key, at = ("complaint_id",), "made_at"
    complaint_id: str = column("number", required=True)
    made_at: datetime = column("when received", required=True)
    failed_at: datetime = column("when it happened")
    vin: str = column("vehicle", sensitivity="personal")
    brand: str = column("brand")
    model: str = column("model")
    model_year: int = column("model year", low=1886, high=2100)
    component: str = column("component named")
    odometer_km: float = column("distance driven then", unit="km", low=0, high=5e6)
    crash: bool = column("a crash happened")
    fire: bool = column("a fire happened")
    injured: int = column("people injured", low=0, high=1000)
    language: str = column("language of the text, BCP 47")
    text: str = column("the customer's words", sensitivity="personal")
