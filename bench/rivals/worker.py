"""What the workers of bench/rivals have in common: their options and the protocol of run.py.

A worker prints `ready <text>` once it is warm; then for each line `run` that it reads it does one
repetition and prints its milliseconds.  It ends with its standard input.
"""
import argparse
import os
import sys
import time

WARM_UP = 3


def options(description):
    """The command line of a worker."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--net", required=True, choices=("vgg_16",))
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--mode", required=True, choices=("forward", "backward"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="PyTorch only: torch.compile")
    return parser.parse_args()


def protocol_stream():
    """A stream to the driver; what libraries print goes to standard error instead."""
    stream = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return stream


def serve(stream, repetition, text):
    """Warms up, reports `ready`, then answers every `run` with the milliseconds it took."""
    for _ in range(WARM_UP):
        repetition()
    print("ready", text, file=stream)
    for line in sys.stdin:
        if line.strip() != "run":
            continue
        start = time.perf_counter_ns()
        repetition()
        print(f"{(time.perf_counter_ns() - start) / 1e6:.4f}", file=stream)
