#!/usr/bin/env python3
"""Compares the probe on a GPU with the probe on the CPU, which run.py compares with the real TF-Slim.

    gpu.py --probe PROGRAM [--networks vgg_16,resnet_v1_50,inception_v1] [--report FILE]

Weights are made from name, shape and seed, so nothing has to be brought along.  In float, with TF32
off, outputs and gradients must agree as two correct computations in float do: each tensor's distance
from the CPU's, relative, in the 2-norm, is at most three times the CPU's own between its two ways to
compute (Winograd's and direct convolution: the backends `fast` and `eigen`), or 1e-4.  The logits of
inference must be within 5e-3 in TF32 and 5e-2 in bfloat16.
"""
import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

LIMITS = {"tf32": 5e-3, "bfloat16": 5e-2}


def run(*arguments):
    """Runs the probe and returns what it printed; what it says of a failure becomes an error."""
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, arguments))}: {done.stderr.strip()}")
    return done.stdout


def distances(probe, a, b):
    """{tensor: relative distance in the 2-norm} of two checkpoints."""
    lines = run(probe, "distances", a, b).splitlines()
    return {name: float(number) for number, name in (line.split(" ", 1) for line in lines)}


class Comparison:
    """One network's answers, on both devices."""

    def __init__(self, probe, network, folder, batch, seed):
        self.probe, self.network, self.folder = probe, network, Path(folder)
        random = np.random.default_rng(seed)
        size = 231 if network == "overfeat" else 224
        images = random.standard_normal((batch, size, size, 3)).astype(np.float32)
        np.save(self.folder / "images.npy", images)
        np.save(self.folder / "labels.npy", random.integers(0, 1000, batch, dtype=np.int32))
        run(probe, "weights", network, "--seed", seed, "--out", self.folder / "weights")

    def answers(self, name, *options, labels=True):
        """Where one run wrote what it computed."""
        out = self.folder / name
        given = ["--labels", self.folder / "labels.npy"] if labels else []
        run(self.probe, "answers", self.network, "--checkpoint", self.folder / "weights",
            "--images", self.folder / "images.npy", *given, "--out", out, *options)
        return out

    def in_float(self, *mode):
        """(worst tensor, its distance, its limit) of float on the GPU."""
        wanted = self.answers("cpu", *mode)
        spread = distances(self.probe, self.answers("eigen", "--backend", "eigen", *mode), wanted)
        got = distances(self.probe, self.answers("gpu", "--device", "gpu", *mode), wanted)
        limits = {name: max(1e-4, 3 * apart) for name, apart in spread.items()}
        worst = max(got, key=lambda name: got[name] / limits[name])
        return worst, got[worst], limits[worst]

    def in_precision(self, precision):
        """The distance of the logits."""
        wanted = self.answers("plain", labels=False)
        got = self.answers(precision, "--device", "gpu", "--precision", precision, labels=False)
        return distances(self.probe, got, wanted)["logits"]


def compare(probe, network, batch, seed):
    """Number of comparisons that passed, and of all."""
    passed = total = 0
    with tempfile.TemporaryDirectory() as folder:
        comparison = Comparison(probe, network, folder, batch, seed)
        for mode in ((), ("--train",)):
            name, apart, limit = comparison.in_float(*mode)
            what = "float, " + ("training" if mode else "inference")
            passed, total = passed + (apart <= limit), total + 1
            print(f"{network:14} {what:17} worst {name}: {apart:.2e} of {limit:.2e}"
                  f"{'' if apart <= limit else '  FAILED'}")
        for precision, limit in LIMITS.items():
            apart = comparison.in_precision(precision)
            passed, total = passed + (apart <= limit), total + 1
            print(f"{network:14} {precision + ', logits':17} {apart:.2e} of {limit:.0e}"
                  f"{'' if apart <= limit else '  FAILED'}")
    return passed, total


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--probe", type=Path, required=True)
    parser.add_argument("--networks", default="vgg_16,resnet_v1_50,inception_v1")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    passed = total = 0
    for network in given.networks.split(","):
        good, all_of_them = compare(given.probe, network, given.batch, given.seed)
        passed, total = passed + good, total + all_of_them
    print(f"{passed} of {total} comparisons passed")
    return passed != total


if __name__ == "__main__":
    sys.exit(main())
