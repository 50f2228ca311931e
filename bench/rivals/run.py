#!/usr/bin/env python3
"""Measures slim and its rivals side by side, in one run on one machine.

    run.py [--net vgg_16] [--batch 1 8] [--mode forward backward] [--threads 2] [--rounds 10]
           [--rivals pytorch tensorflow pytorch_compile] [--slim PATH] [--venv DIR] [--out FILE.md]

A case is a network, a batch size and a mode.  Every contestant of a case is a process of its own
(worker.py tells the protocol) that is warmed up and then waits.  In every round each of them does
one repetition while the others are blocked; the order rotates from round to round.  So whatever
disturbs the machine disturbs all alike, and the ratios are taken within a round.  The peak of the
machine in fused multiply-adds (peak.c) is measured in the same rounds.

Before a repetition the driver waits a while for other processes to leave the machine (--wait).  It
counts the processor time that they take during the repetition; a repetition with more than QUIET
cores of it is disturbed and does not count, unless a contestant has no other.

The rivals are installed with pip into environments of their own; what cannot be installed or fails
is named in the report with the reason.  The report is a table in Markdown with all numbers beside
it in JSON.
"""
import argparse
import contextlib
import datetime
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import cuda_stubs

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PATIENCE = 900  # seconds that a contestant may take to get ready, or for one repetition
PAUSE = 0.2  # seconds between two repetitions, in which the threads of the last one go to sleep
QUIET = 0.15  # cores that other processes may keep busy during a repetition that counts
LEGEND = f"""
A ratio is a contestant's time divided by slim's: above 1 slim is faster. `by round` is the median
of the ratios within each round. Peak is the best round of fused multiply-adds; shares and GFLOP/s
count multiplications and additions of convolutions and fully connected layers. `quiet` counts the
rounds in which other processes kept at most {QUIET} cores busy; only these count, but for `min`,
where a contestant has any.
"""

# Per rival: the environment it lives in, its worker and the worker's further options.
RIVALS = {
    "pytorch": ("pytorch", "pytorch_worker.py", []),
    "pytorch_compile": ("pytorch", "pytorch_worker.py", ["--compile"]),
    "tensorflow": ("tensorflow", "tensorflow_worker.py", []),
}
# Per environment: what pip installs, in steps.  PyTorch comes without its CUDA packages, tf_keras
# without the second TensorFlow that it asks for.
PACKAGES = {
    "pytorch": [["--no-deps", "torch==2.15.0"],
                ["filelock", "typing-extensions>=4.13", "setuptools>=77", "sympy>=1.13.3",
                 "networkx", "jinja2", "fsspec", "numpy<3"]],
    "tensorflow": [["tensorflow-cpu==2.15.1", "numpy<2", "setuptools<81"],
                   ["--no-deps", "tf_keras==2.15.1", "tf_slim==1.1.0"]],
}
# Per network: the multiply-adds of each layer for one image, first to last.
MULTIPLY_ADDS = {
    "vgg_16": [size * size * 9 * inputs * outputs for size, inputs, outputs in (
        (224, 3, 64), (224, 64, 64), (112, 64, 128), (112, 128, 128), (56, 128, 256),
        (56, 256, 256), (56, 256, 256), (28, 256, 512), (28, 512, 512), (28, 512, 512),
        (14, 512, 512), (14, 512, 512), (14, 512, 512))]
    + [7 * 7 * 512 * 4096, 4096 * 4096, 4096 * 1000],
}


class Missing(Exception):
    """A contestant that cannot take part, and why."""


def gflop(net, batch, mode):
    """The work of a repetition; backward is forward and both gradients but the images'."""
    layers = MULTIPLY_ADDS[net]
    adds = sum(layers) if mode == "forward" else 3 * sum(layers) - layers[0]
    return 2e-9 * batch * adds


def say(*words):
    """Progress, on standard error."""
    print(*words, file=sys.stderr, flush=True)


# ---------------------------------------------------------------------------- installation

def python_3_11():
    """A Python 3.11, which TensorFlow 2.15 needs."""
    for name in ("python3.11", "python3", sys.executable):
        found = shutil.which(name)
        code = "import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))"
        if found and subprocess.run([found, "-c", code], capture_output=True).returncode == 0:
            return found
    raise Missing("no Python 3.11 with venv")


def pip_install(python, requirements):
    """One call of pip, which says on standard error what goes wrong."""
    command = [python, "-m", "pip", "install", "--quiet", "--no-cache-dir",
               "--disable-pip-version-check", *requirements]
    if subprocess.run(command, stdout=sys.stderr).returncode != 0:
        raise Missing("pip could not install " + " ".join(requirements))


def create(folder, name):
    """A new environment with the packages of `name`."""
    say("installing", name)
    shutil.rmtree(folder, ignore_errors=True)
    if subprocess.run([python_3_11(), "-m", "venv", str(folder)]).returncode != 0:
        raise Missing("venv could not create an environment")
    python = str(folder / "bin" / "python")
    for requirements in PACKAGES[name]:
        pip_install(python, requirements)
    if name == "pytorch":
        try:
            cuda_stubs.write_stubs(next(folder.glob("lib/python3*/site-packages")))
        except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
            raise Missing(f"PyTorch without CUDA: {type(error).__name__}") from error


def environment(base, name):
    """The Python of an environment, made if it is not there with the same packages."""
    folder, wanted = base / name, json.dumps(PACKAGES[name])
    stamp = folder / "slim-rival.json"
    if not (stamp.exists() and stamp.read_text() == wanted):
        create(folder, name)
        stamp.write_text(wanted)
    return str(folder / "bin" / "python")


def build_peak(base):
    """Compiles peak.c; answers the program."""
    compiler = next((c for c in ("gcc", "clang", "clang-19", "cc") if shutil.which(c)), None)
    if compiler is None:
        raise Missing("no C compiler")
    base.mkdir(parents=True, exist_ok=True)
    target = str(base / "peak")
    done = subprocess.run([compiler, "-O2", "-march=native", "-ffp-contract=fast", "-pthread",
                           "-o", target, str(HERE / "peak.c")])
    if done.returncode != 0:
        raise Missing("peak.c does not compile")
    return target


def rival_command(base, name):
    """The command that starts a rival's worker."""
    where, script, further = RIVALS[name]
    if "--compile" in further and not shutil.which("g++"):
        raise Missing("torch.compile needs g++")
    return [environment(base, where), str(HERE / script), *further]


def commands(options):
    """{name: command} of those that can take part and {name: reason} of those that cannot."""
    makers = {"peak": lambda: [build_peak(options.venv)], "slim": lambda: slim_command(options)}
    for name in options.rivals:
        makers[name] = lambda name=name: rival_command(options.venv, name)
    found, missing = {}, {}
    for name, make in makers.items():
        try:
            found[name] = make()
        except Missing as reason:
            missing[name] = str(reason)
            say(f"missing: {name}: {reason}")
    return found, missing


def slim_command(options):
    """The command that starts slim's worker."""
    if not os.access(options.slim, os.X_OK):
        raise Missing("its worker is not built")
    return [str(options.slim), "--worker"]


# ---------------------------------------------------------------------------- contestants

class Contestant:
    """A worker process."""

    def __init__(self, name, command, case, threads, log):
        self.name, self.log = name, log
        net, batch, mode = case
        self.process = subprocess.Popen(
            [*command, "--net", net, "--batch", str(batch), "--mode", mode, "--threads",
             str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=open(log, "w"), text=True, bufsize=1,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONDONTWRITEBYTECODE": "1"})
        self.ready = self.answer("ready")[len("ready"):].strip()

    def answer(self, start=""):
        """The next line that starts like this."""
        timer = threading.Timer(PATIENCE, self.process.kill)
        timer.start()
        try:
            for line in self.process.stdout:
                if line.startswith(start):
                    return line
        finally:
            timer.cancel()
        say(f"--- {self.name} ended; the end of its messages:")
        say("\n".join(Path(self.log).read_text().splitlines()[-8:]))
        raise Missing(f"its worker ended with exit status {self.process.wait()}")

    def run(self):
        """The milliseconds of one repetition."""
        try:
            self.process.stdin.write("run\n")
        except OSError:
            pass
        return float(self.answer())

    def cpu_ticks(self):
        """The processor time this process has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def stop(self):
        """Ends the process."""
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def busy_ticks():
    """The processor time that all processes have used, and what the host took away."""
    fields = [int(f) for f in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return fields[0] + fields[1] + fields[2] + sum(fields[5:8])


def wait_for_quiet(seconds):
    """Waits until the other processes take less than QUIET cores, at most so long."""
    end = time.monotonic() + seconds
    while True:
        start, busy = time.monotonic(), busy_ticks()
        time.sleep(PAUSE)
        elapsed = (time.monotonic() - start) * os.sysconf("SC_CLK_TCK")
        if busy_ticks() - busy <= QUIET * elapsed or time.monotonic() >= end:
            return


def measure(contestant, wait):
    """One repetition: its milliseconds, and how many cores others kept busy meanwhile."""
    wait_for_quiet(wait)
    start, busy, own = time.monotonic(), busy_ticks(), contestant.cpu_ticks()
    milliseconds = contestant.run()
    ticks = busy_ticks() - busy - (contestant.cpu_ticks() - own)
    elapsed = (time.monotonic() - start) * os.sysconf("SC_CLK_TCK")
    return milliseconds, max(0.0, ticks / elapsed)


def start_all(case, found, options, missing):
    """The contestants of a case, warm; adds those that fail to `missing`."""
    contestants = []
    for name, command in found.items():
        log = options.venv / f"{name}.log"
        say(f"  starting {name}")
        try:
            contestants.append(Contestant(name, command, case, options.threads, log))
        except (Missing, OSError) as reason:
            missing[name] = str(reason) if isinstance(reason, Missing) else "cannot be started"
            say(f"missing: {name}: {missing[name]}")
    return contestants


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


def run_case(case, found, options):
    """Measures one case; answers its part of the report."""
    say("{} batch {} {}".format(*case))
    missing, contestants = {}, []
    try:
        contestants = start_all(case, found, options, missing)
        times = rounds_of(contestants, options, missing)
    finally:
        for contestant in contestants:
            contestant.stop()
    ready = {c.name: c.ready for c in contestants}
    return {"net": case[0], "batch": case[1], "mode": case[2], "gflop": gflop(*case),
            "ready": ready, "missing": missing, "results": results(case, times, ready)}


def quiet_rounds(pairs):
    """The rounds in which nobody disturbed a contestant; all rounds where there is none."""
    quiet = {n for n, (_, others) in enumerate(pairs) if others <= QUIET}
    return quiet or set(range(len(pairs)))


def median(pairs, rounds):
    """The median milliseconds of some rounds."""
    return statistics.median(pairs[n][0] for n in rounds)


def results(case, times, ready):
    """{name: its numbers}."""
    peak, slim, answer = None, times.get("slim"), {}
    if times.get("peak"):
        work = float(ready["peak"].split()[1].rstrip(","))
        peak = work / min(ms for ms, _ in times["peak"]) * 1e3
    for name, pairs in times.items():
        rounds = quiet_rounds(pairs)
        row = {"milliseconds": [ms for ms, _ in pairs], "others": [round(o, 2) for _, o in pairs],
               "quiet": sum(others <= QUIET for _, others in pairs),
               "median": median(pairs, rounds), "min": min(ms for ms, _ in pairs)}
        row["gflops"] = peak if name == "peak" else gflop(*case) / row["median"] * 1e3
        row["share_of_peak"] = row["gflops"] / peak if peak else None
        if slim and name != "peak":
            both = (rounds & quiet_rounds(slim)) or rounds
            row["to_slim"] = row["median"] / median(slim, quiet_rounds(slim))
            row["to_slim_by_round"] = statistics.median(pairs[n][0] / slim[n][0] for n in both)
        answer[name] = row
    return answer


# ---------------------------------------------------------------------------- report

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


def table(case):
    """The table of one case in Markdown."""
    lines = ["## {net}, batch {batch}, {mode} ({gflop:.1f} GFLOP)".format(**case), "",
             "| | median ms | min ms | images/s | GFLOP/s | of peak | time to slim's | by round "
             "| quiet |", "|:--|--:|--:|--:|--:|--:|--:|--:|--:|"]
    for name, row in case["results"].items():
        images = None if name == "peak" else case["batch"] / row["median"] * 1e3
        lines.append("| " + " | ".join((
            name, f"{row['median']:.1f}", f"{row['min']:.1f}", number(images, ".2f"),
            f"{row['gflops']:.1f}", number(row["share_of_peak"], ".1%"),
            number(row.get("to_slim"), ".2f"), number(row.get("to_slim_by_round"), ".2f"),
            f"{row['quiet']}/{len(row['others'])}")) + " |")
    for name, reason in case["missing"].items():
        lines.append(f"| {name} | missing: {reason} " + "| " * 8)
    return lines + [""]


def markdown(report):
    """The report in Markdown."""
    m = report["machine"]
    lines = [f"# slim and its rivals, {report['net']}, {report['date']}", "",
             f"- {m['processor']}, {m['cores']} cores, {m['memory_gib']} GiB, Linux {m['kernel']}",
             f"- caches: {', '.join(m['caches'])}",
             f"- {report['threads']} threads each, {report['rounds']} rounds"]
    ready = {}
    for case in report["cases"]:
        for name, text in case["ready"].items():
            ready.setdefault((name, text))
    lines += [f"- {name}: {text}" for name, text in ready]
    lines += [f"- **missing: {name}**: {why}" for name, why in report["missing"].items()]
    lines.append(LEGEND)
    for case in report["cases"]:
        lines += table(case)
    return "\n".join(lines)


def write(report, out):
    """Writes the report and the numbers beside it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(markdown(report))
    out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")


def parse():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", default="vgg_16", choices=MULTIPLY_ADDS)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--mode", nargs="+", default=["forward", "backward"],
                        choices=("forward", "backward"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--wait", type=float, default=20,
                        help="seconds to wait at most for a quiet machine before a repetition")
    parser.add_argument("--slim", type=Path, default=None, help="default build/bench/<net>")
    parser.add_argument("--rivals", nargs="*", default=["pytorch", "tensorflow"], choices=RIVALS)
    parser.add_argument("--venv", type=Path, default=ROOT / "build" / "rivals",
                        help="where the rivals are installed")
    parser.add_argument("--out", type=Path, default=None,
                        help="default bench/results/<date>-<net>.md")
    options = parser.parse_args()
    if options.rounds < 1 or options.threads < 1 or min(options.batch) < 1:
        parser.error("rounds, threads and batches are at least 1")
    return options


def main():
    """Installs, measures and reports; fails if slim or a rival is missing."""
    options = parse()
    date = datetime.date.today().isoformat()
    options.venv = options.venv.resolve()
    options.venv.mkdir(parents=True, exist_ok=True)
    options.slim = (options.slim or ROOT / "build" / "bench" / options.net).resolve()
    out = options.out or ROOT / "bench" / "results" / f"{date}-{options.net}.md"
    found, missing = commands(options)
    report = {"date": date, "net": options.net, "threads": options.threads,
              "rounds": options.rounds, "machine": machine(), "missing": missing, "cases": []}
    for batch in options.batch:
        for mode in options.mode:
            report["cases"].append(run_case((options.net, batch, mode), found, options))
            write(report, out)
    print(markdown(report))
    return 1 if missing or any(case["missing"] for case in report["cases"]) else 0


if __name__ == "__main__":
    sys.exit(main())
