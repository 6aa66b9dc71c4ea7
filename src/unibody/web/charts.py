"""Pictures: readings over time as small multiples, and a value with its interval beside what it must beat.

Colours are the tokens of style.css, so light and dark follow by themselves; ECharts draws SVG for that. The expected
is grey, the actual the accent, an interval a band.
"""

from __future__ import annotations

from typing import Any

from nicegui import ui

from unibody.web.shell import el, num, one, span

#: The ends of signal names that say their unit (docs: the unit stands in the name).
UNITS = {
    "_mm_s": "mm/s", "_m_s": "m/s", "_km_h": "km/h", "_nm": "N·m", "_kwh": "kWh", "_celsius": "°C", "_c": "°C", "_pct": "%",
    "_bar": "bar", "_rpm": "1/min", "_deg": "°", "_ka": "kA", "_kw": "kW", "_mm": "mm", "_a": "A", "_v": "V", "_s": "s", "_k": "K", "_hz": "Hz",
}  # fmt: skip
FONT = "ui-sans-serif, system-ui, sans-serif"


def unit_of(signal: str) -> str:
    """The unit in a signal's name.

    >>> unit_of("bearing_temperature_c"), unit_of("s11")
    ('°C', '')
    """
    return next((u for end, u in UNITS.items() if signal.lower().endswith(end)), "")


def finding(signal: dict[str, Any]) -> str:
    """What a signal's picture shows, as its title."""
    name = str(signal["signal"])
    return {
        "above": f"{name} has risen above its early range",
        "below": f"{name} has fallen below its early range",
        "within": f"{name} is within its early range",
        "still": f"{name} does not change",
    }.get(signal["moved"], name)


def series(
    signal: dict[str, Any],
    usage_unit: str = "",
    left: tuple[float | None, float | None, float | None] | None = None,
) -> None:
    """One signal: its title says the finding. `left`: usage foreseen (value, low, high), drawn after the now-line."""
    by_usage = signal["clock"] == "usage"
    x, y, unit = signal["x"], signal["y"], unit_of(signal["signal"])
    with el("figure", "chart"):
        el("figcaption", "", finding(signal))
        quiet = {"color": "var(--muted)", "fontFamily": FONT, "fontSize": 11}
        line = {"lineStyle": {"color": "var(--line)"}}
        marks: list[dict[str, Any]] = [
            {
                "xAxis": x[-1],
                "label": {"formatter": "now", "position": "end", "rotate": 0, "distance": 2, **quiet},
            }
        ]
        areas: list[list[dict[str, Any]]] = []
        end = None
        if by_usage and left and left[0] is not None:
            value, low, high = left
            end = x[-1] + max(v for v in left if v is not None)
            if low is not None and high is not None:
                areas.append(
                    [
                        {"xAxis": x[-1] + low, "itemStyle": {"color": "var(--look)", "opacity": 0.22}},
                        {"xAxis": x[-1] + high},
                    ]
                )
            marks.append({
                "xAxis": x[-1] + value, "lineStyle": {"color": "var(--look)", "type": "solid", "width": 2},
                "label": {"show": False},
            })  # fmt: skip
        if signal["normal_low"] is not None:
            areas.append(
                [
                    {
                        "yAxis": signal["normal_low"],
                        "itemStyle": {"color": "var(--expected)", "opacity": 0.5},
                    },
                    {"yAxis": signal["normal_high"]},
                ]
            )
        values = [v for v in (*y, signal["normal_low"], signal["normal_high"]) if v is not None]
        reach = max(values) - min(values)
        pad = reach * 0.06 if signal["moved"] != "still" and reach > 0 else abs(max(values)) * 0.05 or 1.0
        options: dict[str, Any] = {
            "animation": False,
            "grid": {"left": 8, "right": 16, "top": 24, "bottom": 24, "containLabel": True},
            "tooltip": {
                "trigger": "axis", "renderMode": "richText", "backgroundColor": "var(--raised)", "borderColor": "var(--line)",
                "textStyle": {"color": "var(--ink)", "fontFamily": FONT, "fontSize": 12},
            },
            "xAxis": {
                "type": "value" if by_usage else "time", "name": (usage_unit or "usage") if by_usage else "", "nameLocation": "middle", "nameGap": 24,
                "min": "dataMin", **({"max": round(end, 1)} if end is not None else {"max": "dataMax"}),
                "splitLine": {"show": False}, "axisLine": line, "axisTick": {"show": False}, "axisLabel": {**quiet, "hideOverlap": True, "showMaxLabel": False},
                "nameTextStyle": quiet, "splitNumber": 4,
            },
            "yAxis": {
                "type": "value", "name": unit or "no unit stated", "nameTextStyle": {**quiet, "align": "left", "padding": [0, 0, 0, -16]}, "nameGap": 10,
                "min": _short(min(values) - pad), "max": _short(max(values) + pad), "splitNumber": 3,
                "splitLine": {"lineStyle": {"color": "var(--line)", "opacity": 0.6}}, "axisLabel": {**quiet, "showMinLabel": False, "showMaxLabel": False},
            },
            "series": [{
                "type": "line", "name": signal["signal"], "showSymbol": False, "data": list(zip(x, y, strict=True)), "silent": True,
                "lineStyle": {"color": "var(--accent)", "width": 1.5}, "itemStyle": {"color": "var(--accent)"}, "emphasis": {"disabled": True},
                "markLine": {"silent": True, "symbol": "none", "lineStyle": {"color": "var(--muted)", "type": "dashed", "width": 1}, "data": marks},
                "markArea": {"silent": True, "data": areas},
            }],
        }  # fmt: skip
        if signal["clock"] == "time":
            options["useUTC"] = True
        drawn = ui.echart(options, renderer="svg").classes("plot")
        drawn.props["role"] = "img"
        drawn.props["aria-label"] = (
            f"{finding(signal)}; last {num(signal['last'])} {unit}, {signal['count']} readings"
        )


def _short(x: float) -> float:
    return float(f"{x:.7g}")


def scale(
    value: float | None,
    low: float | None,
    high: float | None,
    against: float | None = None,
    *,
    ends: tuple[float, float] | None = None,
    label: str = "",
) -> None:
    """A dot with its interval on a line, and a mark at what it must beat."""
    known = [v for v in (value, low, high, against) if v is not None and v == v]
    if value is None or value != value or not known:
        return
    left, right = ends or (min(0.0, *known), max(known) * 1.08 if max(known) > 0 else 1.0)
    reach = (right - left) or 1.0

    def at(x: float) -> float:
        return round(min(100.0, max(0.0, (x - left) / reach * 100)), 2)

    words = label or f"{one(value)}" + (f", interval {span(low, high)}" if span(low, high) else "") + (
        f", baseline {one(against)}" if against is not None else ""
    )
    with el("div", "scale", role="img", aria_label=words):
        el("div", "axis")
        if low is not None and high is not None and low == low and high == high:
            el("div", "band").style(f"left:{at(low)}%;width:{max(0.5, at(high) - at(low))}%")
        if against is not None and against == against:
            el("div", "against").style(f"left:{at(against)}%")
        el("div", "dot").style(f"left:{at(value)}%")
