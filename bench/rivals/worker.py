"""What the workers of bench/rivals have in common: their options and the protocol of run.py.

A worker prints `ready <text>` once it is warm; then for each line `run` that it reads it does one
repetition and prints the milliseconds of one call.  A repetition is as many calls as take 50 ms, so
that neither the clock nor the pause before it counts.  It ends with its standard input.  With
--check it computes once with given weights and prints what came out.
"""
import argparse
import os
import sys
import time

from nets import NETS

WARM_UP = 3
REPETITION = 0.05  # seconds


def options(description):
    """The command line of a worker."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--net", required=True, choices=NETS)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--mode", required=True, choices=("forward", "backward", "step"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="PyTorch only: torch.compile")
    parser.add_argument("--model", help="ONNX Runtime and OpenVINO only: the file to load")
    parser.add_argument("--check", default="", help="compute once with the variables of this file")
    return parser.parse_args()


def weights_of(given):
    """The variables, layer by layer, as they are asked for: those to check with, or random ones."""
    import weights
    net = NETS[given.net]
    return weights.read(net, given.check) if given.check else weights.random(net)


def protocol_stream():
    """A stream to the driver; what libraries print goes to standard error instead."""
    stream = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return stream


def checked(stream, given, numbers):
    """Answers a check: the output, or the loss and the norm of each gradient."""
    if given.check:
        print("check", *(f"{float(n):.9g}" for n in numbers), file=stream, flush=True)
    return given.check


def calls_of(call):
    """How many calls make a repetition."""
    calls = 1
    while True:
        start = time.perf_counter()
        for _ in range(calls):
            call()
        if time.perf_counter() - start > REPETITION:
            return calls
        calls *= 2


def serve(stream, call, text):
    """Warms up, reports `ready`, then answers every `run` with the milliseconds of a call."""
    for _ in range(WARM_UP):
        call()
    calls = calls_of(call)
    print("ready", text, file=stream)
    for line in sys.stdin:
        if line.strip() != "run":
            continue
        start = time.perf_counter_ns()
        for _ in range(calls):
            call()
        print(f"{(time.perf_counter_ns() - start) / 1e6 / calls:.6f}", file=stream)
