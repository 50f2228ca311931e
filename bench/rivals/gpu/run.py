#!/usr/bin/env python3
"""Measures slim and its rivals on a GPU side by side, in one run on one machine.

    run.py --ours PROGRAM                       every case, 10 rounds, into gpu-rivals.*
    run.py --ours PROGRAM --cases 'vgg_16/*/forward/*',lenet/float/step/64
    run.py --rivals torch-graph,jax             the rivals alone, and only some of them

A case is a network, a precision, forward or step and a batch size.  Every contestant of a case is a
process of its own (worker.py tells the protocol; slim's is started as PROGRAM NET BATCH
forward|step PRECISION) that is warmed up and then waits.  In every round each of them does one
repetition while the others are idle; the order rotates from round to round.  So whatever changes
the GPU's clock meets all alike.  A repetition of each before the first round does not count.

The contestants of a case get ready at the same time.  Those that look for their fastest kernels by
trying them (all rivals do) then try them on a GPU that is not theirs alone, and may choose worse:
--serial-start lets one after the other get ready, for results that are to be kept.

The contestants of a large case do not fit into the memory of one GPU.  Their rivals get ready and
are measured one at a time, each beside slim, and compared with slim in the same rounds;
--one-at-a-time does so with every case, --all-at-once with none, --alone leaves even slim out.

A contestant that dies, or is not ready within --limit seconds, is left out and named in the report.
After --budget seconds no case is begun and no round beyond the third; the report names what was
left out, and is written anew after each case: Markdown with all numbers beside it in JSON.
"""
import argparse
import datetime
import fnmatch
import json
import signal
import sys
import time
from pathlib import Path

import report as reports
import results
from cases import CASES, RIVALS  # which lets the folder above be found
import plot
from contestants import HERE, Missing, say, started, worker_command

FEWEST = 3  # rounds, even where the time is over


# ---------------------------------------------------------------------------- measuring

def measure(contestant, times, missing, where):
    """Adds one repetition of a contestant to its times, or the contestant to `missing`."""
    if contestant.name in missing:
        return
    try:
        times.append(contestant.run())
    except Missing as reason:
        missing[contestant.name] = f"{where}: {reason}"
        say(f"missing: {contestant.name}: {reason}")


def rounds_of(contestants, options, missing):
    """{name: [milliseconds]} of all rounds; the order rotates."""
    times = {contestant.name: [] for contestant in contestants}
    for contestant in contestants:
        measure(contestant, [], missing, "before the first round")
    for number in range(options.rounds):
        if number >= FEWEST and time.monotonic() > options.deadline:
            break
        turn = number % max(1, len(contestants))
        for contestant in contestants[turn:] + contestants[:turn]:
            measure(contestant, times[contestant.name], missing, f"round {number + 1}")
    return {name: values for name, values in times.items() if name not in missing}


def groups_of(case, names, options):
    """The contestants that are measured together, and in words who that is."""
    if options.company == "alone":
        return [[name] for name in names], "each contestant alone on the GPU"
    rivals = [name for name in names if name != "slim"]
    if len(rivals) < 2 or options.company == "all" or (
            options.company == "fitting" and not case.large):
        return [names], reports.ALL
    if "slim" not in names:
        return [[rival] for rival in rivals], "one rival at a time on the GPU"
    return [["slim", rival] for rival in rivals], "slim and one rival at a time on the GPU"


def run_case(case, options, peak):
    """Measures one case; answers its part of the report."""
    say(case.name)
    names = ["slim"] * bool(options.ours) + options.rivals
    ready, missing, times = {}, {}, []
    groups, company = groups_of(case, names, options)
    for group in groups:
        failed = {}  # slim may fail beside one rival, and not beside another
        commands = {name: worker_command(name, case, options) for name in group}
        with started(commands, options, failed) as contestants:
            ready.update((c.name, c.ready) for c in contestants)
            times.append(rounds_of(contestants, options, failed))
        missing.update(failed)
    rounds = max((len(values) for group in times for values in group.values()), default=0)
    return {"name": case.name, "net": case.net, "precision": case.precision, "mode": case.mode,
            "batch": case.batch, "target": case.target, "gflop": case.gflop, "rounds": rounds,
            "company": company, "start": "one by one" if options.serial_start else "at once",
            "ready": ready, "missing": missing, "results": results.timed(case, times, peak)}


def measure_peak(options):
    """The best of a product of matrices and of a copy."""
    say("peak")
    command = [options.python, str(HERE / "peak_worker.py"), "--device", options.device,
               "--size", str(options.peak_size), "--what"]
    answer, missing = {"missing": {}}, {}
    commands = {"matmul": [*command, "matmul"], "copy": [*command, "copy"]}
    with started(commands, options, missing) as contestants:
        ready = {c.name: float(c.ready.split()[0]) for c in contestants}
        times = rounds_of(contestants, options, missing)
    for name, key, unit in (("matmul", "tflops", 1), ("copy", "copy_gbs", 1e3)):
        if times.get(name):
            answer[key] = unit * ready[name] / min(times[name])  # GFLOP in a ms is TFLOP in a s
            answer[f"{name}_milliseconds"] = times[name]
    return {**answer, "missing": missing}


# ---------------------------------------------------------------------------- the program

def write(report, out):
    """Writes the report and the numbers."""
    out.parent.mkdir(parents=True, exist_ok=True)
    order = [case.name for case in CASES]
    report["cases"].sort(key=lambda case: order.index(case["name"]))
    out.write_text(reports.markdown(report))
    out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    out.with_suffix(".svg").write_text(plot.svg(report["cases"]))


def add_company(parser):
    """The options that say who is on the GPU at the same time."""
    company = parser.add_mutually_exclusive_group()
    for name, value, text in (
            ("--one-at-a-time", "pairs", "one rival at a time beside slim, in every case"),
            ("--all-at-once", "all", "all contestants together, in large cases, too"),
            ("--alone", "alone", "every contestant alone")):
        company.add_argument(name, dest="company", action="store_const", const=value, help=text)
    parser.set_defaults(company="fitting")


def parser_of():
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", type=Path, help="slim's program; without it only rivals run")
    parser.add_argument("--ours-options", default="", metavar="WORDS",
                        help="what its command has behind the precision")
    parser.add_argument("--cases", default="*", metavar="PATTERN,...",
                        help="of " + ", ".join(case.name for case in CASES))
    parser.add_argument("--rivals", default=",".join(RIVALS), metavar="NAME,...",
                        help="of " + ", ".join(RIVALS))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--limit", type=float, default=300, metavar="SECONDS",
                        help="in which a contestant is to get ready (300)")
    parser.add_argument("--budget", type=float, default=float("inf"), metavar="SECONDS",
                        help="after which no case is begun (none)")
    add_company(parser)
    parser.add_argument("--serial-start", action="store_true",
                        help="one after the other gets ready, on a GPU of its own")
    parser.add_argument("--keep", action="store_true",
                        help="keep the other cases of the report that is there")
    parser.add_argument("--python", default=sys.executable, help="a Python with PyTorch")
    parser.add_argument("--jax-python", default=sys.executable, help="a Python with JAX")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"),
                        help="cpu only to try the program")
    parser.add_argument("--peak-size", type=int, default=8192, help="the width of the matrices")
    parser.add_argument("--out", type=Path, default=Path("gpu-rivals.md"),
                        help="the report; all numbers and a picture lie beside it")
    return parser


def chosen(words, names, parser):
    """The names that the comma-separated patterns match, in their own order."""
    patterns = [word for word in words.split(",") if word]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            parser.error(f"{pattern} is none of {', '.join(names)}")
    return [name for name in names if any(fnmatch.fnmatch(name, p) for p in patterns)]


def parse():
    """The command line."""
    parser = parser_of()
    options = parser.parse_args()
    names = chosen(options.cases, [case.name for case in CASES], parser)
    options.cases = [case for case in CASES if case.name in names]
    options.rivals = chosen(options.rivals, list(RIVALS), parser)
    options.ours = options.ours and options.ours.resolve()
    if options.rounds < 1 or not options.cases or not (options.ours or options.rivals):
        parser.error("at least one round, one case and one contestant")
    options.logs = options.out.with_suffix(".logs")
    options.logs.mkdir(parents=True, exist_ok=True)
    options.deadline = time.monotonic() + options.budget
    return options


def report_of(options):
    """A report without cases, or with those that are to be kept."""
    report = {"date": datetime.date.today().isoformat(), "gpu": reports.graphics(), "cases": []}
    numbers = options.out.with_suffix(".json")
    if options.keep and numbers.exists():
        report["cases"] = json.loads(numbers.read_text())["cases"]
    return {**report, "skipped": [case.name for case in options.cases]}


def main():
    """Measures and reports; fails if a contestant or a case is missing."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the workers on its way
    options = parse()
    report = report_of(options)
    report["peak"] = measure_peak(options)
    for case in options.cases:
        if time.monotonic() > options.deadline:
            say("the time is over; skipped:", ", ".join(report["skipped"]))
            break
        report["skipped"].remove(case.name)
        done = run_case(case, options, report["peak"].get("tflops"))
        report["cases"] = [c for c in report["cases"] if c["name"] != case.name] + [done]
        write(report, options.out)
    write(report, options.out)
    print(options.out.read_text())
    return 1 if report["skipped"] or any(c["missing"] for c in report["cases"]) else 0


if __name__ == "__main__":
    sys.exit(main())
