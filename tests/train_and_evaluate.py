#!/usr/bin/env python3
"""A data set is made, a net is trained on it, and another process evaluates its checkpoints as they
appear; a second run goes on where the first one stopped.

  train_and_evaluate.py MAKE_GLYPHS TRAIN_LENET EVALUATE
"""
import os
import re
import subprocess
import sys
import tempfile


def run(*command):
    done = subprocess.run(command, capture_output=True, encoding="utf-8",
                          timeout=240)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed: {done.stderr.strip()}")
    return done.stdout


def evaluated(output):
    """Accuracies by step."""
    return {int(step): float(accuracy)
            for step, accuracy in re.findall(r"^step (\d+)  accuracy ([0-9.]+)", output, re.M)}


def expect(holds, what):
    if not holds:
        sys.exit(what)


def train(program, data, log, steps):
    """The accuracy that a training run ends with."""
    output = run(program, data, "--logdir", log, "--steps", str(steps))
    found = re.search(r"^([0-9.]+) % of held-out pictures known after step (\d+)", output, re.M)
    expect(found and int(found[2]) == steps, f"training ended elsewhere: {output}")
    expect("\u28c0" in output, "there is no curve in the output")
    return float(found[1]) / 100


def main():
    make, trainer, evaluate = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        data, log = os.path.join(folder, "data"), os.path.join(folder, "log")
        run(make, data, "--train", "2000", "--test", "200", "--seed", "3")
        with subprocess.Popen([evaluate, data, "--logdir", log, "--interval", "0.2", "--timeout",
                               "120"], stdout=subprocess.PIPE, encoding="utf-8") as beside:
            accuracy = train(trainer, data, log, 60)
            output = ""
            for line in beside.stdout:  # until the end, where it failed
                output += line
                if line.startswith("step 60 "):
                    beside.terminate()
        found = evaluated(output)
        expect(60 in found and len(found) > 1, f"checkpoints were not all evaluated: {output}")
        expect(abs(found[60] - accuracy) < 1e-4, f"{found[60]} is not training's {accuracy}")
        expect(accuracy > 0.2, f"nothing was learned: {accuracy}")

        train(trainer, data, log, 90)
        again = evaluated(run(evaluate, data, "--logdir", log, "--once"))
        expect(list(again) == [90], f"another checkpoint than the newest was evaluated: {again}")
        expect(os.path.getsize(os.path.join(log, "learning_curve.svg")) > 1000, "no picture")


if __name__ == "__main__":
    main()
