"""What the workers of bench/rivals/gpu have in common: their options and the protocol of run.py.

A worker prints `ready <text>` once it is warm; then for each line `run` that it reads it does one
repetition and prints the milliseconds of one call.  A repetition is as many calls as take 50 ms, at
least 3, without waiting in between; the clock runs from an idle device to an idle device.  A worker
ends with its standard input.
"""
import argparse
import math
import os
import sys
import time

from networks import NETS

WARM_UP = 3
LEAST = 3  # calls of a repetition
REPETITION = 0.05  # seconds
GROWTH = 10  # at most, of the number of calls, when a repetition was too short


def parser(description):
    """The options that all workers have."""
    answer = argparse.ArgumentParser(description=description)
    answer.add_argument("--device", default="cuda", choices=("cuda", "cpu"),
                        help="cpu only to try the worker without a GPU")
    return answer


def net_parser(description):
    """Those of a worker that runs a network."""
    answer = parser(description)
    answer.add_argument("--net", required=True, choices=NETS)
    answer.add_argument("--batch", type=int, required=True)
    answer.add_argument("--mode", required=True, choices=("forward", "step"))
    answer.add_argument("--precision", required=True, choices=("bfloat16", "tf32", "float"))
    return answer


def protocol_stream():
    """A stream to the driver; what libraries print goes to standard error instead."""
    stream = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return stream


def repetition(call, wait, calls):
    """How many calls were enough, and the milliseconds of one of them.  `wait` waits for the device
    and for the result it is given."""
    while True:
        wait(None)
        start = time.perf_counter()
        for _ in range(calls):
            result = call()
        wait(result)
        seconds = time.perf_counter() - start
        if seconds >= REPETITION:
            return calls, seconds * 1e3 / calls
        wanted = math.ceil(1.1 * calls * REPETITION / seconds)
        calls = min(max(wanted, calls + 1), GROWTH * calls)


def serve(stream, call, wait, text):
    """Warms up, reports `ready`, then answers every `run` with the milliseconds of a call.  More
    calls make a repetition once it takes too little time: while others start, calls are slow."""
    for _ in range(WARM_UP):
        wait(call())
    calls = LEAST
    print("ready", text, file=stream)
    for line in sys.stdin:
        if line.strip() == "run":
            calls, milliseconds = repetition(call, wait, calls)
            print(f"{milliseconds:.6f}", file=stream)
