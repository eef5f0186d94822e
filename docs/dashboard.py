"""Draw a dashboard as a picture: its panels where Grafana puts them, with what a Prometheus answers to their queries.

`python -m docs.dashboard service --prometheus http://127.0.0.1:9090` writes docs/images/dashboard-service.svg.
Colours, legends and axes are Grafana's own affair: this shows the layout and that the numbers are there.
"""

import argparse
import json
import math
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[1]
DASHBOARDS = ROOT / "monitoring" / "grafana" / "dashboards"
COLUMN, ROW, GAP = 56, 34, 6
"""Pixels of one cell of Grafana's grid of 24 columns, and between panels."""
COLOURS = ("#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff", "#96d98d")
SCALES = {"s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")), "bytes": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))}
SCALES["Bps"] = tuple((scale, f"{name}/s") for scale, name in SCALES["bytes"])
SUFFIXES = {"reqps": "/s", "cps": "/s", "ops": "/s", "watt": " W"}

GREY = "#8e8e8e"
NAMED = {"green": "#73bf69", "orange": "#ff9830", "red": "#f2495c", "purple": "#b877d9", "text": "#d8d9da"}
LEGEND = 5
"""Series that are named."""
STYLE = """text { font-family: sans-serif }
.title { font-size: 12px; font-weight: bold } .legend { font-size: 11px }
.axis { font-size: 10px; text-anchor: end } .stat { font-size: 24px; text-anchor: middle }"""

Series = list[tuple[float, float]]
Found = list[tuple[str, Series]]
"""Series with their names."""


def readable(value: float, unit: str) -> str:
    """A number with its unit, in three digits."""
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    for scale, name in SCALES.get(unit, ()):
        if abs(value) >= scale:
            return f"{value / scale:.3g} {name}"
    return f"{value:.3g}{SUFFIXES.get(unit, '')}"


def answered(url: str, expression: str, start: int, end: int) -> Iterator[tuple[dict[str, str], Series]]:
    """The series of a range query, as Grafana asks it with `All` chosen."""
    asked = re.sub(r"\$(instance|model|version)\b", ".*", expression.replace("$__rate_interval", "20s"))
    query = {"query": asked, "start": str(start), "end": str(end), "step": "5"}
    result = httpx.get(f"{url}/api/v1/query_range", params=query, timeout=30).json()["data"]["result"]
    for series in result:
        points = [(float(at), float(value)) for at, value in series["values"]]
        yield series["metric"], [(at, value) for at, value in points if math.isfinite(value)]


@dataclass(frozen=True)
class Box:
    """Where a panel is, in pixels."""

    x: int
    y: int
    width: int
    height: int

    @classmethod
    def of(cls, grid: dict[str, int]) -> "Box":
        """From Grafana's grid."""
        return cls(grid["x"] * COLUMN, grid["y"] * ROW, grid["w"] * COLUMN - GAP, grid["h"] * ROW - GAP)

    def text(self, across: float, down: float, kind: str, words: str, colour: str = "#d8d9da") -> str:
        """Words at a place counted from the upper left corner."""
        place = f'x="{self.x + across:.0f}" y="{self.y + down:.0f}"'
        return f'<text {place} class="{kind}" style="fill:{colour}">{escape(words)}</text>'


def drawn(panel: dict[str, Any], url: str, start: int, end: int) -> str:
    """One panel: its box, its title, and its content."""
    box = Box.of(panel["gridPos"])
    if panel["type"] == "row":
        return box.text(4, 22, "title", panel["title"])
    size = f'width="{box.width}" height="{box.height}"'
    frame = f'<rect x="{box.x}" y="{box.y}" {size} rx="3" fill="#181b1f" stroke="#2c3235"/>'
    found = [
        (named(target["legendFormat"], labels), points)
        for target in panel["targets"]
        for labels, points in answered(url, target["expr"], start, end)
        if points
    ]
    content = {"stat": stat, "table": table}.get(panel["type"], lines)
    return frame + box.text(10, 20, "title", panel["title"]) + content(panel, found, box)


def named(template: str, labels: dict[str, str]) -> str:
    """A series' name in the legend; in a table, all that it says."""
    if template == "__auto":
        return ", ".join(f"{label}: {value}" for label, value in labels.items() if not label.startswith("__"))
    for label, value in labels.items():
        template = template.replace(f"{{{{{label}}}}}", value)
    return template


def stat(panel: dict[str, Any], found: Found, box: Box) -> str:
    """The last value, large."""
    defaults = panel["fieldConfig"]["defaults"]
    words, colour = defaults["noValue"], GREY
    if found:
        value = found[0][1][-1][1]
        mapped = defaults.get("mappings", [{}])[0].get("options", {}).get(f"{value:g}")
        words = mapped["text"] if mapped else readable(value, defaults["unit"])
        steps = defaults["thresholds"]["steps"]
        colour = [step["color"] for step in steps if step["value"] is None or value >= step["value"]][-1]
    return box.text(box.width / 2, box.height / 2 + 20, "stat", words, NAMED.get(colour, colour))


def table(panel: dict[str, Any], found: Found, box: Box) -> str:  # noqa: ARG001 (as the others)
    """A line for each row."""
    return "".join(box.text(10, 44 + 18 * row, "legend", words, GREY) for row, (words, _) in enumerate(found[:LEGEND]))


def lines(panel: dict[str, Any], found: Found, box: Box) -> str:
    """Each series as a line, or as an area on those before it; with a legend."""
    if not found:
        return box.text(10, 44, "legend", "no data", GREY)
    defaults = panel["fieldConfig"]["defaults"]
    bands = stacked(found) if defaults["custom"]["stacking"]["mode"] == "normal" else [({}, dict(p)) for _, p in found]
    times = sorted({at for _, top in bands for at in top})
    most = max(value for _, top in bands for value in top.values()) or 1.0
    left, right, upper, lower = 56, box.width - 10, 32, box.height - 18 * min(LEGEND, len(found)) - 8

    def place(at: float, value: float) -> str:
        across = left + (right - left) * (at - times[0]) / max(1.0, times[-1] - times[0])
        return f"{box.x + across:.1f},{box.y + lower - (lower - upper) * value / most:.1f}"

    parts = [
        box.text(left - 6, upper + 4, "axis", readable(most, defaults["unit"])),
        box.text(left - 6, lower + 4, "axis", "0"),
    ]
    fixed = {
        override["matcher"]["options"]: NAMED[override["properties"][0]["value"]["fixedColor"]]
        for override in panel["fieldConfig"]["overrides"]
    }
    for number, ((name, points), (bottom, top)) in enumerate(zip(found, bands, strict=True)):
        colour = fixed.get(name, COLOURS[number % len(COLOURS)])
        line = " ".join(place(at, value) for at, value in top.items())
        if bottom:
            back = " ".join(place(at, bottom[at]) for at in reversed(top))
            parts.append(f'<polygon points="{line} {back}" fill="{colour}" fill-opacity="0.4"/>')
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}"/>')
        if number < LEGEND:
            mean = readable(sum(value for _, value in points) / len(points), defaults["unit"])
            parts.append(box.text(10, lower + 18 * (number + 1) + 2, "legend", f"{name}: mean {mean}", colour))
    return "".join(parts)


def stacked(found: Found) -> list[tuple[dict[float, float], dict[float, float]]]:
    """The lower and the upper edge of each series, on top of those before it."""
    edge = dict.fromkeys((at for _, points in found for at, _ in points), 0.0)
    bands = []
    for _, points in found:
        top = {at: value + edge[at] for at, value in points}
        bands.append((dict(edge), top))
        edge |= top
    return bands


def picture(board: dict[str, Any], url: str, seconds: int) -> str:
    """The dashboard as SVG."""
    end = int(time.time())
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"])
    panels = "\n".join(drawn(panel, url, end - seconds, end) for panel in board["panels"])
    size = f'width="{24 * COLUMN}" height="{bottom * ROW}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{STYLE}</style><rect {size} fill="#111217"/>'
    return f"{head}\n{panels}\n</svg>\n"


def main() -> int:
    """Draw one."""
    parser = argparse.ArgumentParser(prog="python -m docs.dashboard", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", choices=sorted(file.stem for file in DASHBOARDS.glob("*.json")))
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", help="default: %(default)s")
    parser.add_argument("--seconds", type=int, default=300, help="how far back; default: %(default)s")
    options = parser.parse_args()
    board = json.loads((DASHBOARDS / f"{options.name}.json").read_text())
    target = ROOT / "docs" / "images" / f"dashboard-{options.name}.svg"
    target.write_text(picture(board, options.prometheus.rstrip("/"), options.seconds))
    print(f"wrote {target.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
