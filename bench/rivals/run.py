#!/usr/bin/env python3
"""Measures slim and its rivals side by side, in one run on one machine.

    run.py                              every case, 10 rounds, into bench/results/DATE-rivals.*
    run.py --quick                      2 rounds, to see that all works
    run.py --cases 'vgg_16/*' mlp/forward/1     some cases, by pattern
    run.py --cases 'mlp/*' --keep       these anew, the others as they stand in the report
    run.py --check                      whether all compute the same, instead of how fast

A case is a network, what is done and a batch size.  Every contestant of a case is a process of its
own (worker.py tells the protocol) that is warmed up and then waits.  In every round each of them
does one repetition while the others are blocked; the order rotates from round to round.  So
whatever disturbs the machine disturbs all alike, and the ratios are taken within a round.  The peak
of the machine in fused multiply-adds (peak.c) is measured in the same rounds.

Before a repetition the driver waits a while for other processes to leave the machine (--wait).  It
counts the processor time that they take during the repetition; a repetition with more than QUIET
cores of it is disturbed and does not count, unless a contestant has no other.

The rivals are installed with pip into environments of their own, and slim is built; what cannot be
had or fails is named in the report with the reason.  The report is Markdown with all numbers beside
it in JSON and a picture in SVG.
"""
import argparse
import contextlib
import datetime
import fnmatch
import json
import sys
from pathlib import Path

import check
import plot
import report as reports
import results
from cases import CASES, RIVALS
from contestants import contestants_of, measure
from install import ROOT, Missing, say


def rounds_of(contestants, options, missing):
    """{name: [(milliseconds, others)]} of all rounds; the order rotates."""
    times = {c.name: [] for c in contestants}
    for number in range(options.rounds):
        turn = number % max(1, len(contestants))
        for contestant in contestants[turn:] + contestants[:turn]:
            if contestant.name in missing:
                continue
            try:
                times[contestant.name].append(measure(contestant, options.wait))
            except (Missing, ValueError, OSError) as reason:
                missing[contestant.name] = f"failed in round {number + 1}"
                say(f"missing: {contestant.name}: {reason}")
    return {name: values for name, values in times.items() if name not in missing}


def time_case(case, names, options, missing):
    """The numbers of a case that is timed, and what the contestants say of themselves."""
    contestants = []
    with contextlib.ExitStack() as running:
        for contestant in contestants_of(case, names, options, missing):
            running.callback(contestant.stop)
            contestants.append(contestant)
        ready = {c.name: c.ready for c in contestants}
        return results.timed(case, rounds_of(contestants, options, missing), ready), ready


def measure_memory(case, names, options, missing):
    """The same of the case of memory: each contestant alone."""
    sizes, ready = {}, {}
    for contestant in contestants_of(case, names, options, missing):
        contestant.run()
        sizes[contestant.name] = contestant.peak_memory()
        ready[contestant.name] = contestant.ready
        contestant.stop()
    return results.memory(sizes, ready), ready


def run_case(case, options):
    """Measures one case; answers its part of the report."""
    say(case.name)
    missing, names = {}, contestants_named(case, options)
    if case.gflop:
        names.insert(0, "peak")
    function = measure_memory if case.what == "memory" else time_case
    numbers, ready = function(case, names, options, missing)
    return {"name": case.name, "net": case.net, "what": case.what, "batch": case.batch,
            "threads": case.threads, "target": case.target, "gflop": case.gflop, "ready": ready,
            "missing": missing, "results": numbers, "faults": faults_of(case, ready)}


def contestants_named(case, options):
    """slim and the rivals that take part and are asked for."""
    return ["slim", *(name for name in case.rivals() if name in options.rivals)]


def faults_of(case, ready):
    """What speaks against a case: other nets, or starts with other results."""
    if case.what != "start":
        faults = check.counts(case, ready)
    else:
        logits = {name: [float(y) for y in text.split()[1:]] for name, text in ready.items()}
        faults = [f"{case.name}: {name} computes something else than slim"
                  for name, values in logits.items() if "slim" in logits
                  and not check.difference(case, logits["slim"], values) <= 1]
    for fault in faults:
        say(fault)
    return faults


def write(report, out):
    """Writes the report, the picture and the numbers."""
    out.parent.mkdir(parents=True, exist_ok=True)
    order = [case.name for case in CASES]
    report["cases"].sort(key=lambda case: order.index(case["name"]))
    picture = out.with_suffix(".svg")
    picture.write_text(plot.svg(report["cases"]))
    out.write_text(reports.markdown(report, picture.name))
    out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")


def parse():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=["*"], metavar="PATTERN",
                        help="of " + ", ".join(case.name for case in CASES))
    parser.add_argument("--rivals", nargs="*", default=list(RIVALS), choices=RIVALS)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="2 rounds, without waiting")
    parser.add_argument("--check", action="store_true",
                        help="check that all compute the same, instead of measuring")
    parser.add_argument("--keep", action="store_true",
                        help="keep the other cases of the report that is there")
    parser.add_argument("--wait", type=float, default=20,
                        help="seconds to wait at most for a quiet machine before a repetition")
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "release",
                        help="Meson's folder for slim")
    parser.add_argument("--venv", type=Path, default=ROOT / "build" / "rivals",
                        help="where the rivals are installed")
    parser.add_argument("--out", type=Path, help="default bench/results/DATE-rivals.md")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.wait = 2, 0
    options.cases = [case for case in CASES
                     if any(fnmatch.fnmatch(case.name, p) for p in options.cases)]
    if options.rounds < 1 or not options.cases:
        parser.error("at least one round, and one case")
    return options


def check_all(options):
    """Checks every case whose workers can be asked; answers whether all is well."""
    faults = []
    for case in options.cases:
        if case.gflop:
            faults += check.check_case(case, contestants_named(case, options), options)
    print(*(faults or ["all contestants agree"]), sep="\n")
    return not faults


def main():
    """Installs, measures and reports; fails if a contestant is missing or computes otherwise."""
    options = parse()
    date = datetime.date.today().isoformat()
    options.venv, options.build = options.venv.resolve(), options.build.resolve()
    options.venv.mkdir(parents=True, exist_ok=True)
    if options.check:
        return 0 if check_all(options) else 1
    out = options.out or ROOT / "bench" / "results" / f"{date}-rivals.md"
    report = {"date": date, "rounds": options.rounds, "machine": reports.machine(), "cases": []}
    if options.keep and out.with_suffix(".json").exists():
        report["cases"] = json.loads(out.with_suffix(".json").read_text())["cases"]
    for case in options.cases:
        done = run_case(case, options)
        report["cases"] = [c for c in report["cases"] if c["name"] != case.name] + [done]
        write(report, out)
    print(out.read_text())
    return 1 if any(case["missing"] or case["faults"] for case in report["cases"]) else 0


if __name__ == "__main__":
    sys.exit(main())
