#!/usr/bin/env python3
"""Measures what slim costs a compiler, and checks it against budgets.

    compile_time.py [--compiler g++ clang++-19] [--units NAME|FILE ...] [--repetitions 3]
                    [--include DIR ...] [--check] [--out FILE.md]

For each unit: seconds (user and system together, and wall), the peak memory of the largest process
of the compiler, and the sizes of the object and of its code; medians of the repetitions.  A unit
whose budget has `stripped_kib` is a whole program: it is linked, too, and its size stripped counts.  Seconds
are also given as a ratio to those of bench/compile/calibration.cpp, compiled by the same compiler
in the same repetition, so that a budget means the same on a slow or a busy machine.  The budgets
are in bench/compile/budgets.json; by default its units are measured with g++ and clang++ as far as
found.  With --check there is one line a unit,

    name seconds ratio/budget MiB/budget KiB/budget [stripped KiB/budget] ok|OVER

and the exit status is 1 if a unit is over its budget.  It is also 1, with or without --check, if a
unit is missing or does not compile.
"""
import argparse
import datetime
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CALIBRATION = HERE / "compile" / "calibration.cpp"
BUDGETS = HERE / "compile" / "budgets.json"
FLAGS = ["-std=c++20", "-O2", "-march=native"]


def include_flags(folders):
    """-I for slim and for Eigen, as pkg-config knows it."""
    flags = [f"-I{folder}" for folder in folders]
    if shutil.which("pkg-config"):
        done = subprocess.run(["pkg-config", "--cflags", "eigen3"], capture_output=True, text=True)
        flags += shlex.split(done.stdout) if done.returncode == 0 else []
    return flags


def found_compilers():
    """g++, and clang++ in its newest version that slim is tested with."""
    clang = next((c for c in ("clang++-19", "clang++") if shutil.which(c)), None)
    return [c for c in ("g++", clang) if c and shutil.which(c)]


def version(compiler):
    """The first line of the compiler's version."""
    done = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]


def code_kib(target):
    """The size of all code sections of an object."""
    done = subprocess.run(["size", "-A", str(target)], capture_output=True, text=True, check=True)
    rows = (line.split() for line in done.stdout.splitlines())
    return sum(int(r[1]) for r in rows if len(r) == 3 and r[0].startswith(".text")) / 1024


def stripped_kib(compiler, target):
    """The size of the program that an object is, linked and stripped; None if it does not link."""
    program = target.with_suffix("")
    if subprocess.run([compiler, str(target), "-pthread", "-s", "-o", str(program)]).returncode:
        return None
    return program.stat().st_size / 1024


def compile_once(compiler, unit, flags, link):
    """One compilation: its numbers, or None if it fails."""
    with tempfile.TemporaryDirectory() as work:
        target = Path(work, "unit.o")
        start = time.monotonic()
        process = subprocess.Popen([compiler, *FLAGS, *flags, "-c", str(unit), "-o", str(target)])
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            return None
        numbers = {"wall": time.monotonic() - start, "seconds": usage.ru_utime + usage.ru_stime,
                   "memory_mib": usage.ru_maxrss / 1024,
                   "object_kib": target.stat().st_size / 1024, "text_kib": code_kib(target)}
        if link:
            numbers["stripped_kib"] = stripped_kib(compiler, target)
        return None if link and numbers["stripped_kib"] is None else numbers


def repeat(compiler, units, flags, repetitions, programs):
    """{name: [numbers]} of all repetitions; in each, first the calibration, then every unit."""
    runs = {name: [] for name in ["calibration", *units]}
    for _ in range(repetitions):
        for name, unit in [("calibration", CALIBRATION), *units.items()]:
            if runs[name] is None:
                continue
            numbers = (compile_once(compiler, unit, flags, name in programs) if unit.exists()
                       else None)
            runs[name] = None if numbers is None else [*runs[name], numbers]
        if runs["calibration"] is None:
            sys.exit(f"{compiler} does not compile the calibration")
    return runs


def summary(runs):
    """{name: medians} with the ratio to the calibration; None for a unit that failed."""
    answer = {}
    for name, numbers in runs.items():
        if numbers is None:
            answer[name] = None
            continue
        answer[name] = {key: statistics.median(n[key] for n in numbers) for key in numbers[0]}
        answer[name]["seconds_ratio"] = statistics.median(
            n["seconds"] / c["seconds"] for n, c in zip(numbers, runs["calibration"]))
    return answer


def over(numbers, budget):
    """The keys of the budget that a unit exceeds."""
    return [key for key, limit in budget.items() if numbers[key] > limit]


def pair(numbers, budget, key, form):
    """A number and its budget."""
    return f"{numbers[key]:{form}}/{budget.get(key, '-')}"


def check_line(name, numbers, budget):
    """The line of --check for one unit."""
    if numbers is None:
        return f"{name} missing or does not compile OVER"
    return " ".join((name, f"{numbers['seconds']:.2f}",
                     pair(numbers, budget, "seconds_ratio", ".2f"),
                     pair(numbers, budget, "memory_mib", ".0f"),
                     pair(numbers, budget, "text_kib", ".0f"),
                     *([pair(numbers, budget, "stripped_kib", ".0f")]
                       if "stripped_kib" in budget else []),
                     "OVER" if over(numbers, budget) else "ok"))


def table(title, results, budgets):
    """The table of one compiler in Markdown; a budget stands behind its number."""
    lines = [f"## {title}", "",
             "| unit | seconds | ratio | wall s | memory MiB | object KiB | code KiB | stripped KiB | |",
             "|:--|--:|--:|--:|--:|--:|--:|--:|:--|"]
    for name, row in results.items():
        budget = budgets.get(name, {})
        if row is None:
            lines.append(f"| {name} | missing or does not compile " + "| " * 7 + "|")
            continue
        lines.append("| " + " | ".join((
            name, f"{row['seconds']:.2f}", pair(row, budget, "seconds_ratio", ".2f"),
            f"{row['wall']:.2f}", pair(row, budget, "memory_mib", ".0f"),
            f"{row['object_kib']:.0f}", pair(row, budget, "text_kib", ".0f"),
            "OVER" if over(row, budget) else "ok" if budget else "")) + " |")
    return lines + [""]


def markdown(reports, budgets, repetitions):
    """All tables in Markdown."""
    lines = [f"# What slim costs a compiler, {datetime.date.today().isoformat()}", "",
             f"Flags {' '.join(FLAGS)}; medians of {repetitions}. Seconds are user and system",
             "time. The ratio is to the calibration's seconds. Budgets stand behind numbers.", ""]
    for title, results in reports.items():
        lines += table(title, results, budgets)
    return "\n".join(lines)


def unit_paths(names):
    """{name: file} for names of bench/compile or files."""
    paths = [Path(n) if n.endswith(".cpp") else HERE / "compile" / f"{n}.cpp" for n in names]
    return {path.stem: path for path in paths}


def parse(budgets):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compiler", nargs="+", default=found_compilers())
    parser.add_argument("--units", nargs="+", default=list(budgets))
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--include", nargs="+", default=[str(ROOT / "include")])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    for compiler in options.compiler:
        if not shutil.which(compiler):
            parser.error(f"no {compiler}")
    if not options.compiler or options.repetitions < 1:
        parser.error("there is nothing to measure")
    return options


def main():
    """Compiles, reports, checks."""
    budgets = json.loads(BUDGETS.read_text())
    options = parse(budgets)
    units, flags = unit_paths(options.units), include_flags(options.include)
    programs = {name for name, budget in budgets.items() if "stripped_kib" in budget}
    reports, bad = {}, False
    for compiler in options.compiler:
        results = summary(repeat(compiler, units, flags, options.repetitions, programs))
        reports[version(compiler)] = results
        bad |= any(results[name] is None for name in units)
        if options.check:
            print(f"# {version(compiler)}, calibration {results['calibration']['seconds']:.2f} s")
        for name in units if options.check else ():
            numbers, budget = results[name], budgets.get(name, {})
            bad |= numbers is not None and bool(over(numbers, budget))
            print(check_line(name, numbers, budget), flush=True)
    text = markdown(reports, budgets, options.repetitions)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text)
    elif not options.check:
        print(text)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
