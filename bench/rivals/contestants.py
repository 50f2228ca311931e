"""Workers as processes, and one measurement of one of them."""
import contextlib
import os
import re
import subprocess
import threading
import time
from pathlib import Path

from cases import RIVALS
from install import (HERE, Missing, build_peak, build_slim, environment, model_file, say,
                     start_file)

PATIENCE = 900  # seconds that a contestant may take to get ready, or for one repetition
PAUSE = 0.2  # seconds between two repetitions, in which the threads of the last one go to sleep
QUIET = 0.15  # cores that other processes may keep busy during a repetition that counts


def worker_command(name, case, base, build):
    """The command that starts a contestant's worker for a case."""
    given = ["--net", case.net, "--mode", case.mode, "--batch", str(case.batch), "--threads",
             str(case.threads)]
    if name == "peak":
        return [build_peak(base), *given]
    if name == "slim":
        return [build_slim(build, case.net), "--worker", *given]
    home, script, further, _ = RIVALS[name]
    if name in ("onnxruntime", "openvino"):
        given += ["--model", model_file(base, name, case.net, case.batch)]
    return [environment(base, home), str(HERE / script), *further, *given]


def start_command(name, base, build):
    """The program that a contestant's user would start for one image of LeNet."""
    file = start_file(base, name)
    if name == "slim":
        return [build_slim(build, "start"), file]
    return [environment(base, RIVALS[name][0]), str(HERE / "start" / f"{name}_lenet.py"), file]


def worker_environment(threads):
    """The variables of a worker's environment."""
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONDONTWRITEBYTECODE": "1"}


class Contestant:
    """A worker process."""

    def __init__(self, name, command, threads, log):
        self.name, self.log = name, log
        with open(log, "w") as messages:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=messages, text=True,
                bufsize=1, env=worker_environment(threads))
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
        """The milliseconds of one call, of a repetition."""
        with contextlib.suppress(OSError):
            self.process.stdin.write("run\n")
        return float(self.answer())

    def cpu_ticks(self):
        """The processor time this process has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def peak_memory(self):
        """The most bytes of it that were in memory at a time."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024

    def stop(self):
        """Ends the process."""
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Start:
    """A program that is started anew for every repetition; the interface of a Contestant."""

    def __init__(self, name, command, log):
        self.name, self.command, self.log = name, command, log
        self.ready = "logits " + " ".join(f"{y:.4f}" for y in self.once())

    def once(self):
        """Runs it; answers what it printed last."""
        with open(self.log, "w") as messages:
            done = subprocess.run(self.command, stdout=subprocess.PIPE, stderr=messages, text=True,
                                  timeout=PATIENCE)
        if done.returncode != 0:
            say("\n".join(Path(self.log).read_text().splitlines()[-8:]))
            raise Missing(f"its program ended with exit status {done.returncode}")
        return [float(word) for word in done.stdout.splitlines()[-1].split()]

    def run(self):
        """The milliseconds of the whole process."""
        start = time.perf_counter()
        self.once()
        return (time.perf_counter() - start) * 1e3

    def cpu_ticks(self):
        """The processor time its processes have used."""
        used = os.times()
        return round((used.children_user + used.children_system) * os.sysconf("SC_CLK_TCK"))

    def stop(self):
        """Nothing is left running."""


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
    # The clock's tick is coarse: one that falls into a short repetition is no disturbance.
    return milliseconds, max(0.0, (ticks - 1) / elapsed)


def contestants_of(case, names, options, missing):
    """The contestants of a case, warm, one by one; adds those that fail to `missing`."""
    for name in names:
        log = options.venv / f"{name}.log"
        say(f"  starting {name}")
        try:
            if case.what == "start":
                yield Start(name, start_command(name, options.venv, options.build), log)
            else:
                yield Contestant(name, worker_command(name, case, options.venv, options.build),
                                 case.threads, log)
        except (Missing, OSError, subprocess.SubprocessError) as reason:
            missing[name] = str(reason) if isinstance(reason, Missing) else "cannot be started"
            say(f"missing: {name}: {missing[name]}")
