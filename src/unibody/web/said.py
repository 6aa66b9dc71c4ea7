"""Says what the pages of the loop say: a case's name, its cause in words, its five steps, its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unibody.backbone.tracing import APPROVED
from unibody.loop.investigate import times
from unibody.loop.pictures import Group, Picture, said
from unibody.web.shell import el, num, plural, sentence, when

#: Effects above this are "far more".
FAR = 1000.0


def heading(found: Mapping[str, Any]) -> str:
    """What fails where: "Jeep: brake hose front"."""
    return sentence(f"{found.get('brand') or 'all brands'}: {str(found.get('symptom')).replace('_', ' ')}")


def one_line(found: Mapping[str, Any]) -> str:
    """The cause with its effect and interval."""
    if not found["causes"]:
        return "No cause found yet: not enough evidence."
    cause = found["causes"][0]
    more = "".join(f"; and {words(c['conditions'])}" for c in found["causes"][1:])
    return f"{sentence(words(cause['conditions']))}: fails {often(cause)} the others ({interval(cause)}, 95 %){more}"


def verdict(found: Mapping[str, Any]) -> str:
    """What was found, in two sentences."""
    if not found["causes"]:
        return str(found["verdict"] or "Not enough evidence for a cause.")
    cause = found["causes"][0]
    more = "".join(f"; and, apart from it, of {such_cars(c['conditions'])}" for c in found["causes"][1:])
    return (
        f"{cause['failed']:,} of the {found['failed']:,} failures are of {such_cars(cause['conditions'])}, where {few(cause['expected'])} "
        f"were to be expected: {often(cause)} the others ({interval(cause)}, 95 %){more}. "
        f"{percent(cause['sure'])} sure that it is this and not what looks alike."
    )


def often(cause: Mapping[str, Any]) -> str:
    """How often, for "... the others": above `FAR` a figure says no more than that it is far."""
    effect = cause.get("effect")
    return "far more often than" if effect is None or effect > FAR else f"{times(effect)} as often as"


def interval(cause: Mapping[str, Any]) -> str:
    """The interval of an effect in words; it may have no upper end.

    >>> interval({"low": 3.26, "high": 17.08}), interval({"low": 4.0, "high": None}), interval({"low": 3e8, "high": 1e10})
    ('3.3 to 17', 'at least 4', 'over 1,000')
    """
    low, high = cause.get("low"), cause.get("high")
    if low is None:
        return "interval not known"
    if low > FAR:
        return f"over {FAR:,.0f}"
    return (
        f"at least {num(low, 2)}" if high is None or high > 10 * FAR else f"{num(low, 2)} to {num(high, 2)}"
    )


def few(expected: float | None) -> str:
    """How many were to be expected.

    >>> few(5.315), few(4e-9), few(0.0)
    ('5.3', 'under 0.01', '0')
    """
    return "under 0.01" if expected is not None and 0 < expected < 0.01 else num(expected, 2)


def such_cars(conditions: Mapping[str, Any]) -> str:
    """The cars that meet them.

    >>> such_cars({"part.brake_hose_front.lot": "L7"}), such_cars({"option.PANO": False, "climate": "hot"})
    ('cars with lot L7 of brake hose front', 'cars without option PANO and climate hot')
    """
    says = words(conditions)
    return f"cars {says}" if says.startswith(("with ", "without ", "built ")) else f"cars with {says}"


def words(conditions: Mapping[str, Any]) -> str:
    """Conditions as a person would say them.

    >>> words({"part.brake_hose_front.lot": "L7741"}), words({"torque.seat_belt_front": [None, 38.2]})
    ('lot L7741 of brake hose front', 'torque of seat belt front up to 38.2 N·m')
    >>> words({"software.ABS": "7.0.5", "option.TOW_BAR": False})
    'software 7.0.5 of ABS and without option TOW_BAR'
    """
    return " and ".join(_word(n, w) for n, w in conditions.items())


def _word(name: str, wanted: Any) -> str:
    first, _, rest = name.partition(".")
    place, _, kind = rest.rpartition(".") if first == "part" else (rest, "", first)
    place, kind = place.replace("_", " "), kind.replace("sub_supplier", "sub-supplier")
    if first == "option" and isinstance(wanted, bool):
        return f"{'with' if wanted else 'without'} option {rest}"
    if name == "built_at":
        return said({"built": wanted})
    if name == "odometer_km":
        return said({"distance in km": wanted})
    if not place or wanted is None or isinstance(wanted, bool):
        return said({name.replace("_", " "): wanted})
    if isinstance(wanted, list | tuple):
        unit = {"torque": " N·m", "angle": " deg"}.get(first, "")
        return said({f"{kind} of {place}": wanted}) + unit
    return f"{kind} {wanted} of {place}"


def attribute(name: str) -> str:
    """An attribute as a person would say it.

    >>> attribute("part.brake_hose_front.lot"), attribute("option.PANO"), attribute("built_at")
    ('lot of brake hose front', 'option PANO', 'date of build')
    """
    first, _, rest = name.partition(".")
    if name in ("built_at", "odometer_km"):
        return {"built_at": "date of build", "odometer_km": "distance in km"}[name]
    if first == "option":
        return f"option {rest}"
    place, _, kind = rest.rpartition(".") if first == "part" else (rest, "", first)
    words_ = f"{kind} of {place}" if place else first
    return words_.replace("sub_supplier", "sub-supplier").replace("_", " ")


def among(shown: Picture, found: Mapping[str, Any]) -> str:
    """Of a pair of conditions: among which cars this picture looks at the one."""
    if not shown.among:
        return ""
    pairs = (c["conditions"] for c in found["causes"] if shown.attribute in c["conditions"])
    rest = next(({k: w for k, w in c.items() if k != shown.attribute} for c in pairs), {})
    return f", among {such_cars(rest) if rest else shown.among}"


def percent(share: float | None) -> str:
    """A share, the nearer to all the finer.

    >>> percent(0.63), percent(0.9866), percent(1.0)
    ('63\xa0%', '98.7\xa0%', '100\xa0%')
    """
    if share is None:
        return "–"
    return f"{100 * share:.1f}\u00a0%" if 0.95 <= share < 0.9995 else f"{100 * share:.0f}\u00a0%"


def strip(found: Mapping[str, Any]) -> None:
    """From first signal to effect: five steps, and where the case stands."""
    decisions = [d for d in found["decisions"] if d["state"] != "dismissed"]
    approved = sum(d["state"] in APPROVED for d in decisions)
    cause = found["causes"][0] if found["causes"] else None
    proof = found.get("proof")
    steps = (
        ("Noticed", when(found["since"]), True),
        ("Cause", f"{percent(cause['sure'])} sure" if cause else "not found yet", cause is not None),
        ("Scope", plural(found["vehicles"], "car") if found["scopes"] else "–", bool(found["scopes"])),
        ("Actions", f"{approved} of {len(decisions)}" if decisions else "–", bool(decisions) and approved == len(decisions)),
        ("Effect", str(proof["label"]) if proof else "not acted yet" if not approved else "not proven yet", bool(proof)),
    )  # fmt: skip
    here = next((i for i, (_, _, done) in enumerate(steps) if not done), len(steps))
    with el("ol", "steps"):
        for i, (name, says, done) in enumerate(steps):
            state = "done" if done else "here" if i == here else ""
            with el("li", state, aria_current="step" if i == here else None):
                el("span", "name", f"{i + 1} {name}")
                el("span", "says", says)


def picture(made: Mapping[str, Any]) -> Picture:
    """A picture out of a case's JSON; a figure that JSON could not hold is nought, or absent where a rate may be."""
    known = {k: v for k, v in made.items() if k in Picture.__dataclass_fields__}
    groups = tuple(_group(g) for g in made["groups"])
    return Picture(**{**known, "rate": made.get("rate") or 0.0, "groups": groups})


def _group(g: Mapping[str, Any]) -> Group:
    known = {k: v for k, v in g.items() if k in Group.__dataclass_fields__}
    plain = {n: g.get(n) or 0.0 for n in ("expected", "low", "high")}
    return Group(**{**known, **plain, "band": tuple(b or 0.0 for b in g.get("band", (0.0, 0.0)))})


def table(
    head: Sequence[tuple[str, str]], rows: Sequence[Sequence[Any]], marked: Sequence[bool] = ()
) -> None:
    """A plain table: names of its columns with their style, then the cells as text; `marked` rows stand out."""
    with el("div", "scroll"), el("table"):
        with el("thead"), el("tr"):
            for name, classes in head:
                el("th", "number" if classes == "number" else "", name)
        with el("tbody"):
            for i, row in enumerate(rows):
                with el("tr", "cause" if i < len(marked) and marked[i] else ""):
                    for (_, classes), cell in zip(head, row, strict=True):
                        el("td", classes, cell)
