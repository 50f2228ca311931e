"""The report in Markdown."""
import os
from pathlib import Path

from cases import RIVALS
from contestants import QUIET
from results import fastest

LEGEND = f"""
A time is the median of a call. A ratio is a contestant's time divided by slim's: above 1 slim is
faster; `ratio` is that of the fastest rival. Peak is the best round of fused multiply-adds; shares
and GFLOP/s count multiplications and additions of convolutions and fully connected layers, done
directly, so that Winograd's may exceed 100 %. `by round` is the median of the ratios within each
round. `quiet` counts the rounds in which other processes kept at most {QUIET} cores busy; only
these count, but for `min`, where a contestant has any. Backward is forward, loss and the gradients of all
variables; step adds the update. Start is a whole process, from its start to LeNet's first result.
ONNX Runtime and OpenVINO do not train.
"""


def machine():
    """The processor, its cores and caches."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in info if line.startswith("model name")),
                 os.uname().machine)
    caches = []
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((index / f).read_text().strip() for f in ("level", "type", "size"))
        caches.append(f"L{level} {kind.lower()} {size}")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {"processor": model, "cores": os.cpu_count(), "caches": caches,
            "memory_gib": round(memory, 1), "kernel": ".".join(os.uname().release.split(".")[:2])}


def number(value, form):
    """A number that may be missing."""
    return "-" if value is None else format(value, form)


def time_text(milliseconds):
    """Three digits and a unit."""
    if milliseconds is None:
        return "-"
    value, unit = (milliseconds * 1e3, "us") if milliseconds < 1 else (milliseconds, "ms")
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f} {unit}"


def row_of(*cells):
    """A row of a table."""
    return "| " + " | ".join(map(str, cells)) + " |"


def verdict(case):
    """Fastest rival, ratio, target and whether it is reached."""
    best, target = fastest(case), case["target"]
    if best is None:
        return "-", "-", number(target, "g"), "-"
    reached = "-" if target is None else "yes" if best[1] >= target else "**no**"
    return best[0], f"{best[1]:.2f}", number(target, "g"), reached


def summary(cases):
    """One row a case."""
    lines = [row_of("case", "threads", "slim", "fastest rival", "ratio", "target", "reached",
                    "of peak", *RIVALS),
             "|:--|--:|--:|:--|--:|--:|:--|--:" + "|--:" * len(RIVALS) + "|"]
    for case in cases:
        if case["what"] == "memory":
            continue
        results = case["results"]
        lines.append(row_of(
            case["name"], case["threads"] if case["gflop"] else "-",
            time_text(results.get("slim", {}).get("median")), *verdict(case),
            number(results.get("slim", {}).get("share_of_peak"), ".0%"),
            *(time_text(results.get(name, {}).get("median")) for name in RIVALS)))
    return lines + [""]


def memory_table(case):
    """Peak resident memory."""
    lines = [f"## {case['name']}", "",
             "Peak resident memory (VmHWM) of a fresh process that makes the net, runs it once and "
             "measures itself.", "", "| | MiB | to slim's |", "|:--|--:|--:|"]
    for name, row in case["results"].items():
        lines.append(row_of(name, f"{row['mib']:.0f}", number(row.get("to_slim"), ".2f")))
    lines += [row_of(name, f"missing: {why}", "-") for name, why in case["missing"].items()]
    if "slim" in case["results"]:
        slim = case["results"]["slim"]
        lines += ["", f"slim takes {slim['to_plan']:.2f} times the {slim['planned_mib']:.0f} MiB "
                      "that the compiler planned: variables, prepared weights and the arena."]
    return lines + [""]


def case_table(case):
    """All numbers of one case."""
    if case["what"] == "memory":
        return memory_table(case)
    work = f" ({case['gflop']:.4g} GFLOP, {case['threads']} threads)" if case["gflop"] else ""
    lines = [f"## {case['name']}{work}", "",
             "| | median | min | per second | GFLOP/s | of peak | time to slim's | by round "
             "| quiet |",
             "|:--|--:|--:|--:|--:|--:|--:|--:|--:|"]
    for name, row in case["results"].items():
        images = None if name == "peak" else case["batch"] / row["median"] * 1e3
        lines.append(row_of(
            name, time_text(row["median"]), time_text(row["min"]),
            number(images, ".2f" if images and images < 100 else ".0f"),
            number(row.get("gflops"), ".1f"), number(row.get("share_of_peak"), ".1%"),
            number(row.get("to_slim"), ".2f"), number(row.get("to_slim_by_round"), ".2f"),
            f"{row['quiet']}/{len(row['others'])}"))
    lines += [row_of(name, f"missing: {why}", *"-" * 7) for name, why in case["missing"].items()]
    return lines + [""]


def contestants(cases):
    """What each said of itself, without what differs from case to case."""
    ready = {}
    for case in cases:
        if case["what"] == "start":
            continue
        for name, text in case["ready"].items():
            ready.setdefault(name, text.partition(";")[0])
    return [f"- {name}: {text}" for name, text in ready.items()]


def markdown(report, plot):
    """The report; `plot` is the name of the picture beside it."""
    m, cases = report["machine"], report["cases"]
    lines = [f"# slim and its rivals, {report['date']}", "",
             f"- {m['processor']}, {m['cores']} cores, {m['memory_gib']} GiB, Linux {m['kernel']}",
             f"- caches: {', '.join(m['caches'])}", f"- {report['rounds']} rounds",
             *contestants(cases), LEGEND, f"![ratios]({plot})", "", *summary(cases)]
    for case in cases:
        lines += case_table(case)
    return "\n".join(lines)
