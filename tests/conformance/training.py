#!/usr/bin/env python3
"""The same training runs in the real TF-Slim and here: same weights, same batch, 20 steps of each
optimizer; every variable behind the last step, in double also what the steps added to it, and the
loss before each.

  training.py --probe QUICK_PROBE [--only NET,NET] [--quick] [--environment DIR] [--work DIR]

--quick is LeNet in double, with three optimizers. How close is close: README.md, beside this file;
here double within 1e-6.
"""
import argparse
import sys
import tempfile

import run
from run import Case, DOUBLE_FAST, FAST

STEPS = 20
# Rates at which 20 steps learn, and do not enlarge a rounding: a residual network in training is
# chaotic at those that suit the others, and of Adam's and Adadelta's first steps the rate is the size.
RATES = {
    "lenet": {"sgd": 0.01, "momentum": 0.005, "nesterov": 0.005, "adam": 1e-4, "rmsprop": 1e-4,
              "centered_rmsprop": 1e-5, "adagrad": 0.005, "adadelta": 0.1, "ftrl": 0.01,
              "proximal_gradient_descent": 0.01, "proximal_adagrad": 0.005},
    "alexnet_v2": {"sgd": 0.001, "momentum": 0.001, "nesterov": 0.001, "adam": 1e-5,
                   "rmsprop": 1e-5, "centered_rmsprop": 1e-6, "adagrad": 1e-3, "adadelta": 0.01,
                   "ftrl": 0.001, "proximal_gradient_descent": 0.001, "proximal_adagrad": 1e-3},
    "resnet_v1_50": {"sgd": 1e-4, "momentum": 1e-5, "nesterov": 1e-5, "adam": 1e-7,
                     "rmsprop": 1e-7, "centered_rmsprop": 1e-8, "adagrad": 1e-5, "adadelta": 1e-4,
                     "ftrl": 1e-5, "proximal_gradient_descent": 1e-4, "proximal_adagrad": 1e-5},
}


def check(suite, net, variants, optimizers):
    inputs = run.Inputs(suite, net)
    for optimizer in optimizers:
        rate = RATES[net][optimizer]
        options = ("--steps", str(STEPS), "--optimizer", optimizer, "--learning-rate", str(rate))
        case = Case(f"{STEPS} steps of {optimizer}", "steps", options, 2, exact=1e-6, added=True)
        run.compare_case(suite, inputs, case, variants)
    inputs.remove()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--probe", required=True)
    parser.add_argument("--only", metavar="NET,NET", default=",".join(RATES))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--environment", default="conformance-environment", metavar="DIR")
    parser.add_argument("--work", metavar="DIR", help="for temporary files, up to 3 GB")
    given = parser.parse_args()
    run.enter_environment(given.environment, __file__)
    run.load_oracle()
    with tempfile.TemporaryDirectory(dir=given.work) as folder:
        suite = run.Suite(given.probe, folder)
        if given.quick:
            check(suite, "lenet", [DOUBLE_FAST], ("momentum", "adam", "ftrl"))
        else:
            for net in given.only.split(","):
                check(suite, net, [DOUBLE_FAST, FAST], RATES[net])
    print(f"{suite.passed} passed, {suite.failed} failed")
    return 1 if suite.failed else 0


if __name__ == "__main__":
    sys.exit(main())
