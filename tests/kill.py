#!/usr/bin/env python3
"""Kills a training run (kill_run) with SIGKILL at random instants, and starts it again each time: it
must always resume, and end with the bits of a run that nobody disturbed.

  kill.py KILL_RUN [--kills 8] [--steps 3000] [--seed 1]
"""
import argparse
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time


def start(program, folder, steps):
    return subprocess.Popen([program, folder, str(steps)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def finish(process):
    out, err = process.communicate(timeout=600)
    if process.returncode != 0:
        sys.exit(f"the run failed: {err.strip()}")
    return out.strip()


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("program")
    p.add_argument("--kills", type=int, default=8)
    p.add_argument("--steps", type=int, default=3000)
    p.add_argument("--seed", type=int, default=1)
    given = p.parse_args()
    chance = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as whole:
        begin = time.monotonic()
        want = finish(start(given.program, whole, given.steps))
        seconds = time.monotonic() - begin
    killed = 0
    while killed < given.kills:
        # A folder a round: rounds end when the run is done before its kill.
        with tempfile.TemporaryDirectory() as folder:
            while True:
                run = start(given.program, folder, given.steps)
                try:
                    run.wait(chance.uniform(0, seconds * 0.6))
                except subprocess.TimeoutExpired:
                    run.send_signal(signal.SIGKILL)
                    run.wait()
                    killed += 1
                    continue
                got = finish(run)
                break
            if got != want:
                sys.exit(f"after {killed} kills the bits are {got}, undisturbed they are {want}")
            left = [f.name for f in pathlib.Path(folder).iterdir() if "tempstate" in f.name]
            if left:
                sys.exit(f"unfinished files were left: {left}")
            print(f"{killed} kills, the same bits")


if __name__ == "__main__":
    main()
