"""A picture of the ratios as SVG: a row a case, a dot a rival, on a logarithmic axis."""
import math
from xml.sax.saxutils import escape

from cases import RIVALS

LEFT, WIDTH, TOP, ROW, BOTTOM = 190, 640, 60, 30, 40
TICKS = (0.5, 1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
COLOURS = dict(zip(RIVALS, ("#c44e52", "#dd8452", "#8172b3", "#4c72b0", "#937860", "#55a868")))


def ratios(case):
    """{rival: time or memory to slim's}."""
    return {name: row["to_slim"] for name, row in case["results"].items()
            if name in RIVALS and "to_slim" in row}


def text(x, y, words, anchor="middle", extra=""):
    """Words at a place."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {extra}>{escape(words)}</text>'


def legend():
    """The rivals' colours, and the target's mark."""
    parts, x = [], LEFT
    for name, colour in COLOURS.items():
        parts += [f'<circle cx="{x}" cy="18" r="5" fill="{colour}"/>',
                  text(x + 9, 22, name, "start")]
        x += 30 + 7 * len(name)
    return parts + [f'<path d="M{x} 11v14" stroke="#222" stroke-width="3"/>',
                    text(x + 9, 22, "target", "start")]


def svg(cases):
    """The picture."""
    cases = [case for case in cases if ratios(case)]
    everything = [r for case in cases for r in (*ratios(case).values(), case["target"] or 1)]
    low, high = min([0.8, *everything]) / 1.1, max([2, *everything]) * 1.1
    height = TOP + ROW * len(cases)

    def place(ratio):
        return LEFT + WIDTH * math.log(ratio / low) / math.log(high / low)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 30}" '
             f'height="{height + BOTTOM}" font-family="sans-serif" font-size="12">',
             '<rect width="100%" height="100%" fill="white"/>', *legend()]
    for tick in (t for t in TICKS if low < t < high):
        colour = "#222" if tick == 1 else "#ddd"
        parts += [f'<path d="M{place(tick):.1f} {TOP - 16}V{height}" stroke="{colour}"/>',
                  text(place(tick), height + 15, f"{tick:g}")]
    parts.append(text(LEFT + WIDTH / 2, height + 32, "time (memory) of a rival to slim's"))
    for number, case in enumerate(cases):
        y = TOP + ROW * number
        parts.append(text(LEFT - 8, y + 4, case["name"], "end"))
        for name, ratio in ratios(case).items():
            parts.append(f'<circle cx="{place(ratio):.1f}" cy="{y}" r="5" fill="{COLOURS[name]}"/>')
        if case["target"]:
            parts.append(f'<path d="M{place(case["target"]):.1f} {y - 9}v18" stroke="#222" '
                         'stroke-width="3"/>')
    return "\n".join([*parts, "</svg>", ""])
