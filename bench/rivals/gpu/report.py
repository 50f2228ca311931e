"""The report in Markdown."""
import subprocess

from cases import RIVALS
from results import fastest

LEGEND = """
A time is the median of a call, over repetitions of at least 50 ms from an idle device to an idle
device; images and labels are on the device. A ratio is a contestant's time divided by slim's: above
1 slim is faster; `ratio` is that of the fastest rival. `by round` is the median of the ratios
within each round. Peak is the best repetition of a product of random bfloat16 matrices 8192 wide,
whatever the precision of the case; shares and TFLOP/s count multiplications and additions of
convolutions and fully connected layers, done directly. Step is forward, loss, the gradients of all
variables and SGD with momentum.
"""
ALL = "all contestants together on the GPU"


def graphics():
    """The GPU and its driver, as nvidia-smi has them."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm",
               "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return "no nvidia-smi"
    return "; ".join(done.stdout.splitlines()) if done.returncode == 0 else "no nvidia-smi"


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
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def verdict(case):
    """Fastest rival, ratio, target and whether it is reached."""
    best, target = fastest(case), case["target"]
    if best is None or best[1] is None:
        return best[0] if best else "-", "-", number(target, "g"), "-"
    reached = "-" if target is None else "yes" if best[1] >= target else "**no**"
    return best[0], f"{best[1]:.2f}", number(target, "g"), reached


def summary(cases):
    """One row a case."""
    lines = [row_of("case", "slim", "fastest rival", "ratio", "target", "reached", "of peak",
                    *RIVALS),
             "|:--|--:|:--|--:|--:|:--|--:" + "|--:" * len(RIVALS) + "|"]
    for case in cases:
        results = case["results"]
        lines.append(row_of(
            case["name"], time_text(results.get("slim", {}).get("median")), *verdict(case),
            number(results.get("slim", {}).get("share_of_peak"), ".1%"),
            *(time_text(results.get(name, {}).get("median")) for name in RIVALS)))
    return lines + [""]


def case_table(case):
    """All numbers of one case."""
    lines = [f"## {case['name']} ({case['gflop']:.4g} GFLOP, {case['rounds']} rounds, "
             f"{case['company']}, started {case['start']})", "",
             "| | median | min | images/s | TFLOP/s | of peak | time to slim's | by round |",
             "|:--|--:|--:|--:|--:|--:|--:|--:|"]
    for name, row in case["results"].items():
        lines.append(row_of(
            name, time_text(row["median"]), time_text(row["min"]),
            f"{case['batch'] / row['median'] * 1e3:.0f}", f"{row['tflops']:.3g}",
            number(row.get("share_of_peak"), ".1%"),
            number(row.get("to_slim", 1 if name == "slim" else None), ".2f"),
            number(row.get("to_slim_by_round"), ".2f")))
    lines += [row_of(name, f"missing: {why}", *"-" * 6) for name, why in case["missing"].items()]
    return lines + [""]


def contestants(cases):
    """What each said of itself, without what differs from case to case."""
    said = dict.fromkeys(f"- {name}: {text.partition(';')[0]}"
                         for case in cases for name, text in case["ready"].items())
    return sorted(said)


def losses(cases):
    """The losses after the first step, which should be of one size: the weights are random."""
    lines = []
    for case in cases:
        said = [f"{name} {text.partition('loss ')[2].split(',')[0]}"
                for name, text in case["ready"].items() if "loss " in text]
        lines += [f"- {case['name']}: {', '.join(said)}"] if said else []
    return ["First losses, from random weights of the same size:", "", *lines, ""] if lines else []


def markdown(report):
    """The report."""
    peak, copy = report["peak"].get("tflops"), report["peak"].get("copy_gbs")
    lines = [f"# slim and its rivals on a GPU, {report['date']}", "", f"- {report['gpu']}",
             f"- peak {number(peak, '.0f')} TFLOP/s in bfloat16, copy {number(copy, '.0f')} GB/s",
             *(f"- {name}: missing: {why}" for name, why in report["peak"]["missing"].items()),
             *contestants(report["cases"]), LEGEND, *summary(report["cases"])]
    if report["skipped"]:
        lines += ["Skipped, as the time was over: " + ", ".join(report["skipped"]) + ".", ""]
    lines += losses(report["cases"])
    for case in report["cases"]:
        lines += case_table(case)
    return "\n".join(lines)
