#!/usr/bin/env python3
"""Compares the probe with the real TF-Slim, network by network.

  run.py --probe PROBE [--only NET,NET] [--quick] [--environment DIR] [--work DIR]

TensorFlow lives in a virtual environment, which is made (in DIR) when it is not there; where it
can't be made the exit status is 77, "skipped". --quick is the part that fits continuous
integration: one network in full, another in float32, two with batch norm in double. README.md,
beside this file, says what is compared, and how close it must be.
"""
import argparse
import glob
import os
import shutil
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

HERE = os.path.dirname(os.path.abspath(__file__))
ORACLE = os.path.join(HERE, "oracle.py")
SKIPPED = 77
QUICK = ("alexnet_v2", "inception_v1", "resnet_v1_50")
# In float32 an activation within rounding of a kink may fall on the other side, which moves single
# gradients by 1e-3, here as in TensorFlow, but not on the same images. What is short on some images
# is tried on others; a fault would be short on all.
TRIES = 4
IN_FULL = "alexnet_v2"  # the smallest: every optimizer, bad input and round trips, too


# ---- the environment ----------------------------------------------------------------------------

def load_oracle():
    """Imports what only the environment has."""
    global np, oracle
    sys.dont_write_bytecode = True
    sys.path.insert(0, HERE)
    import numpy as np
    import oracle
    oracle.choose_kernels(plain=False)


def skip(why):
    print(f"skipped: {why}")
    sys.exit(SKIPPED)


def ready(python):
    """Whether a Python has what requirements.txt lists."""
    probe = "import tensorflow, tf_slim; assert tensorflow.__version__.startswith('2.15')"
    return subprocess.run([python, "-c", probe], capture_output=True).returncode == 0


def make_environment(folder):
    """The Python of the virtual environment in a folder, made if need be."""
    python = os.path.join(folder, "bin", "python")
    if os.path.exists(python) and ready(python):
        return python
    if not (3, 9) <= sys.version_info[:2] <= (3, 11):
        skip("TensorFlow 2.15 needs Python 3.9 to 3.11")
    made_here = os.path.join(folder, "slim-conformance")
    if os.path.exists(folder) and not os.path.exists(made_here):
        skip(f"{folder} has no TensorFlow 2.15 with TF-Slim, and is none of ours to replace")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    open(made_here, "w").close()
    requirements = os.path.join(HERE, "requirements.txt")
    for command in ([sys.executable, "-m", "venv", folder],
                    [python, "-m", "pip", "install", "-q", "-r", requirements]):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            shutil.rmtree(folder, ignore_errors=True)
            lines = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
            skip(f"no environment for TensorFlow: {lines[-1]}")
    return python


def enter_environment(folder, program=__file__):
    """Runs the program again in the environment, unless it is there already."""
    python = make_environment(os.path.abspath(folder))
    if os.path.abspath(sys.prefix) != os.path.abspath(folder):
        os.execv(python, [python, "-W", "ignore", os.path.abspath(program), *sys.argv[1:]])


# ---- what is compared ---------------------------------------------------------------------------

class Case(NamedTuple):
    """A command of the probe and of the oracle, and what they are given."""
    title: str
    command: str  # answers or steps
    options: tuple = ()
    batch: int = 1
    v1: bool = False
    labels: bool = True
    seed: int = 1  # of the images
    exact: float = 1e-7  # how close double must be
    added: bool = False  # in double what was added to the checkpoint must be as close


class Variant(NamedTuple):
    """A way to compute, and the precision of the oracle it is compared with."""
    title: str
    options: tuple
    dtype: str


DOUBLE = Variant("double, eigen", ("--precision", "double", "--backend", "eigen"), "float64")
DOUBLE_FAST = Variant("double, fast", ("--precision", "double"), "float64")
FAST = Variant("float, fast", (), "float32")
EIGEN = Variant("float, eigen", ("--backend", "eigen"), "float32")

RATES = {"sgd": 0.01, "momentum": 0.01, "adam": 0.001, "rmsprop": 0.0001, "adagrad": 0.01,
         "adadelta": 0.1, "ftrl": 0.01}


def steps_case(optimizer, batch, v1, rate=None):
    options = ("--steps", "3", "--optimizer", optimizer,
               "--learning-rate", str(rate or RATES[optimizer]))
    return Case(f"3 steps of {optimizer}", "steps", options, batch, v1)


def has_batch_norm(net):
    return net.startswith(("inception", "resnet"))


def cases_of(net, quick):
    if has_batch_norm(net):
        return batch_norm_cases(net, quick)
    small = not net.startswith("vgg_1")
    cases = [Case("inference", "answers", batch=4 if small else 2, labels=False),
             Case("inference with a loss", "answers", batch=3 if small else 1),
             Case("training", "answers", ("--train",), 2 if small else 1, v1=True),
             steps_case("sgd", 1, v1=True),
             steps_case("momentum", 2 if small else 1, v1=False)]
    if quick:
        return [cases[0], cases[2], cases[4]] if net == IN_FULL else [cases[1]]
    if net == IN_FULL:
        cases += [steps_case(optimizer, 2, False) for optimizer in RATES
                  if optimizer not in ("sgd", "momentum")]
    return cases


def batch_norm_cases(net, quick):
    """Never one image in training: its statistics make every answer ill-conditioned.

    With labels, training also compares updated/<moving average>.
    """
    inference = Case("inference", "answers", batch=2, labels=False)
    training = Case("training", "answers", ("--train",), 2)
    if quick:
        return [inference, training]
    training = training._replace(v1=True)
    if net.endswith(("_101", "_152", "_200")):  # as resnet_v1_50, only longer
        return [inference._replace(labels=True), training]
    # At 0.01 three steps of resnet_v1_50 enlarge one rounding of float32 (1e-7) to 4e-2 of its
    # weights, at 0.0001 to 1e-9.
    rate = 0.0001 if net.startswith("resnet") else None
    return [inference, Case("inference with a loss", "answers", batch=3),
            Case("batch statistics", "answers", ("--train",), 3, labels=False), training,
            steps_case("sgd", 3, v1=True, rate=rate), steps_case("momentum", 2, False, rate)]


def variants_of(net, quick):
    if quick:
        return ([DOUBLE_FAST] if has_batch_norm(net) else
                [DOUBLE, FAST] if net == IN_FULL else [FAST])
    return [DOUBLE, FAST, EIGEN] + ([DOUBLE_FAST] if net == IN_FULL else [])


# ---- running ------------------------------------------------------------------------------------

class Suite:
    """Runs checks in a folder for temporary files, prints a line for each and counts them."""

    def __init__(self, probe, folder):
        self.probe, self.folder = os.path.abspath(probe), folder
        self.passed = self.failed = 0

    def path(self, name):
        return os.path.join(self.folder, name)

    def check(self, good, title, detail=""):
        self.passed += bool(good)
        self.failed += not good
        print(("ok    " if good else "FAIL  ") + title + (f": {detail}" if detail else ""),
              flush=True)

    def run_probe(self, *arguments):
        return subprocess.run([self.probe, *map(str, arguments)], capture_output=True, text=True)

    def remove(self, name):
        """Removes a checkpoint, whichever files it has."""
        for file in glob.glob(glob.escape(self.path(name)) + "*"):
            os.remove(file)


class Inputs:
    """Files of images and labels, one of each batch size, and checkpoints of one network."""

    def __init__(self, suite, net):
        self.suite, self.net, self.made = suite, net, set()

    def _once(self, name, make):
        if name not in self.made:
            make()
            self.made.add(name)
        return self.suite.path(name)

    def images(self, batch, seed=1):
        name = f"{self.net}_{batch}_{seed}.npy"
        net = oracle.NETWORKS[self.net]
        return self._once(name, lambda: oracle.inputs(
            self.suite.path(name), self.suite.path("labels_" + name), batch, net.size,
            net.channels, net.classes, seed))

    def labels(self, batch, seed=1):
        return os.path.join(self.suite.folder,
                            "labels_" + os.path.basename(self.images(batch, seed)))

    def checkpoint(self, v1=False, **layout):
        name = "_".join([self.net, "v1" if v1 else "v2", *layout])
        return self._once(name, lambda: oracle.checkpoint(
            self.net, self.suite.path(name), seed=3, v1=v1, **layout))

    def remove(self):
        self.suite.remove(self.net)
        self.suite.remove("labels_" + self.net)


def arguments_of(inputs, case):
    given = (case.batch, case.seed)
    labels = ["--labels", inputs.labels(*given)] if case.labels else []
    return [inputs.net, "--checkpoint", inputs.checkpoint(case.v1),
            "--images", inputs.images(*given), *labels, *case.options]


def ask_oracle(suite, inputs, case, dtype):
    """Writes the oracle's answer as want, and for float32 the answers that tell its spread.

    Batch statistics amplify what float32 rounds; there the float64 answer tells by how much.
    """
    command = [sys.executable, "-W", "ignore", ORACLE, case.command, *arguments_of(inputs, case)]
    runs = [("want", ["--dtype", dtype])]
    if dtype == "float32":
        runs += [(name, {"plain": ["--plain"], "exact": ["--dtype", "float64"]}[name])
                 for name in spread_of(inputs.net)]
    for out, extra in runs:
        subprocess.run([*command, "--out", suite.path(out), *extra], check=True)


def spread_of(net):
    """The answers beside the oracle's own, whose distances from it are its spread."""
    return ["plain", "exact"] if has_batch_norm(net) else ["plain"]


def compare_case(suite, inputs, case, variants):
    """Compares every variant of a case; variants of one precision share the oracle's answer."""
    for dtype, tries in (("float64", 1), ("float32", TRIES)):
        left = [v for v in variants if v.dtype == dtype]
        for seed in range(1, tries + 1):
            if not left:
                break
            here = case._replace(seed=seed)
            ask_oracle(suite, inputs, here, dtype)
            left = [v for v in left if not compare_variant(suite, inputs, here, v, seed == tries)]
            for name in ("want", "plain", "exact"):
                suite.remove(name)


def compare_variant(suite, inputs, case, variant, last):
    """Whether the probe is close; a failure counts if it is the last try."""
    title = (f"{inputs.net} {case.title}, {variant.title}, {'V1' if case.v1 else 'V2'}, "
             f"batch {case.batch}" + (f", images {case.seed}" if case.seed > 1 else ""))
    start = time.monotonic()
    done = suite.run_probe(case.command, *arguments_of(inputs, case), *variant.options,
                           "--out", suite.path("got"))
    seconds = time.monotonic() - start
    if done.returncode:
        suite.check(False, title, done.stderr.strip())
        return True
    exact = variant.dtype == "float64"
    comparison = oracle.compare(suite.path("want"), suite.path("got"), case.exact if exact else 1e-4,
                                [] if exact else map(suite.path, spread_of(inputs.net)),
                                ignore=oracle.MOVING_VARIANCE if exact else None,
                                start=inputs.checkpoint(case.v1) if exact and case.added else None)
    suite.remove("got")
    good = comparison.distances and not comparison.faults
    if not good and not last:
        print(f"again {title}: " + "; ".join(comparison.faults[:3]), flush=True)
        return False
    worst = comparison.worst()
    suite.check(good, title, f"{len(comparison.distances)} tensors, worst {worst.value:.1e} of "
                f"{worst.allowed:.1e} at {worst.name}, {seconds:.1f} s"
                if good else "; ".join(comparison.faults[:5]))
    return True


# ---- bad input ----------------------------------------------------------------------------------

def refused(suite, title, arguments, *words):
    """Checks that the probe says what is wrong in one line, ends with 2 and leaves nothing."""
    done = suite.run_probe(*arguments, "--out", suite.path("bad"))
    lines = done.stderr.splitlines()
    left = glob.glob(suite.path("bad") + "*")
    good = (done.returncode == 2 and len(lines) == 1 and not left and not done.stdout
            and all(word in done.stderr for word in words))
    suite.check(good, f"refused: {title}", done.stderr.strip() if good else
                f"status {done.returncode}, left {left}, said {done.stderr.strip()!r}")


def spoilt(suite, source, name, damage):
    """A copy of a checkpoint's files with damage(bytes) done to the one that ends in name."""
    for file in glob.glob(glob.escape(source) + "*"):
        with open(file, "rb") as f:
            content = bytearray(f.read())
        suffix = file[len(source):]
        if suffix.endswith(name):
            content = damage(content)
        with open(suite.path("spoilt") + suffix, "wb") as f:
            f.write(content)
    return suite.path("spoilt")


def flip(content):
    content[len(content) // 2] ^= 1
    return content


def truncate(content):
    return content[:-1000]


def check_damage(suite, inputs, labels, images):
    net, v2, v1 = inputs.net, inputs.checkpoint(), inputs.checkpoint(v1=True)
    data = ".data-00000-of-00001"
    for title, source, name, damage, word in [
            ("a flipped bit in the data", v2, data, flip, "fc6/weights: wrong checksum"),
            ("a truncated data file", v2, data, truncate, "truncated"),
            ("a flipped bit in the index", v2, ".index", flip, ".index: damaged table"),
            ("a truncated index", v2, ".index", lambda c: c[:-10], "truncated"),
            ("a flipped bit in a V1 file", v1, "", flip, "wrong checksum"),
            ("a truncated V1 file", v1, "", truncate, "truncated")]:
        prefix = spoilt(suite, source, name, damage)
        refused(suite, title, ["answers", net, "--checkpoint", prefix, *images, *labels],
                os.path.basename(prefix), word)
        suite.remove("spoilt")


def check_bad_input(suite, inputs):
    net, good = inputs.net, ["--checkpoint", inputs.checkpoint()]
    images, labels = ["--images", inputs.images(1)], ["--labels", inputs.labels(1)]
    base = ["answers", net, *good]
    values = oracle.load(inputs.checkpoint())
    names = [n for n in values.get_variable_to_shape_map() if n != "global_step"]

    def other_checkpoint(change):
        changed = {n: values.get_tensor(n) for n in names}
        change(changed)
        oracle.save(changed, suite.path("other"))
        return ["answers", net, "--checkpoint", suite.path("other"), *images]

    refused(suite, "an unknown network", ["answers", "vgg_17", *good, *images], "vgg_17")
    refused(suite, "an unknown option", [*base, *images, "--frobnicate"], "--frobnicate")
    refused(suite, "a missing option", base, "--images")
    refused(suite, "the GPU", [*base, *images, "--device", "gpu"], "gpu")
    refused(suite, "tf32 on the CPU", [*base, *images, "--precision", "tf32"], "tf32")
    refused(suite, "a missing checkpoint",
            ["answers", net, "--checkpoint", suite.path("none"), *images], "none")
    refused(suite, "missing images", [*base, "--images", suite.path("none.npy")], "none.npy")
    refused(suite, "images that are no .npy", [*base, "--images", ORACLE], "oracle.py")
    refused(suite, "an unknown optimizer",
            ["steps", net, *good, *images, *labels, "--steps", 1, "--optimizer", "sgdd",
             "--learning-rate", 1], "sgdd")
    refused(suite, "a missing variable", other_checkpoint(lambda c: c.pop(f"{net}/conv1/weights")),
            f"{net}/conv1/weights")
    refused(suite, "a wrong shape", other_checkpoint(lambda c: c.update(
        {f"{net}/fc8/biases": np.zeros(999, "float32")})), f"{net}/fc8/biases", "[999]", "[1000]")
    refused(suite, "a wrong type", other_checkpoint(lambda c: c.update(
        {f"{net}/fc8/biases": np.zeros(1000, "int32")})), f"{net}/fc8/biases", "int32")
    suite.remove("other")
    check_bad_arrays(suite, base, images, inputs)
    check_damage(suite, inputs, labels, images)


def check_bad_arrays(suite, base, images, inputs):
    size = oracle.NETWORKS[inputs.net].size
    file = suite.path("array.npy")

    def array(values):
        np.save(file, values)
        return file

    blank = np.zeros((1, size, size, 3), "float32")
    not_a_number = blank.copy()
    not_a_number[0, 5, 5, 1] = np.nan
    refused(suite, "NaN in an image", [*base, "--images", array(not_a_number)], "array.npy")
    refused(suite, "another image size", [*base, "--images", array(blank[:, :-1])], "array.npy")
    refused(suite, "five images", [*base, "--images", array(np.repeat(blank, 5, 0))], "array.npy")
    with open(array(blank), "rb+") as cut:
        cut.truncate(5000)
    refused(suite, "a truncated .npy", [*base, "--images", file], "array.npy", "truncated")
    refused(suite, "float64 images", [*base, "--images", array(blank.astype("float64"))],
            "array.npy")
    for title, labels in [("a label too large", [1000]), ("a negative label", [-1])]:
        refused(suite, title, [*base, *images, "--labels", array(np.array(labels, "int32"))],
                "labels", str(labels[0]))
    refused(suite, "two labels for one image",
            [*base, *images, "--labels", array(np.zeros(2, "int32"))], "array.npy")


# ---- round trips --------------------------------------------------------------------------------

def check_round_trips(suite, inputs):
    """Checkpoints of every layout give the same answer, and TensorFlow restores what is written."""
    net, images = inputs.net, ["--images", inputs.images(1)]

    def answer(checkpoint, out):
        return suite.run_probe("answers", net, "--checkpoint", checkpoint, *images,
                               "--out", suite.path(out))

    answer(inputs.checkpoint(), "plain_v2")
    for title, layout in [("V1", {"v1": True}), ("sharded V2", {"shards": 2}),
                          ("partitioned V2", {"slices": 3}),
                          ("sharded V1", {"v1": True, "shards": 2}),
                          ("partitioned V1", {"v1": True, "slices": 3})]:
        done = answer(inputs.checkpoint(**layout), "other_layout")
        same = not done.returncode and not oracle.compare(
            suite.path("plain_v2"), suite.path("other_layout"), rtol=0).faults
        suite.check(same, f"{net}: {title} gives the answer of V2", done.stderr.strip())
        suite.remove("other_layout")
    suite.remove("plain_v2")
    done = suite.run_probe("steps", net, "--checkpoint", inputs.checkpoint(), *images, "--labels",
                           inputs.labels(1), "--steps", 1, "--optimizer", "sgd",
                           "--learning-rate", 0, "--out", suite.path("written"))
    suite.check(not done.returncode and saver_restores(inputs, suite.path("written")),
                f"{net}: TensorFlow's Saver restores what was written", done.stderr.strip())
    suite.remove("written")


def saver_restores(inputs, prefix):
    """Whether a Saver restores a network's variables from here as from its own checkpoint."""
    tf, tf1, slim = oracle.tensorflow()
    with tf.Graph().as_default(), tf1.Session() as session:
        oracle.build(inputs.net, oracle.image_shape(inputs.net), False)
        variables = slim.get_model_variables()
        restored = []
        for checkpoint in (inputs.checkpoint(), prefix):
            tf1.train.Saver(variables).restore(session, checkpoint)
            restored.append(session.run(variables))
    return all(np.array_equal(a, b) for a, b in zip(*restored))


# ---- the program --------------------------------------------------------------------------------

def check_network(suite, net, quick):
    inputs = Inputs(suite, net)
    for case in cases_of(net, quick):
        compare_case(suite, inputs, case, variants_of(net, quick))
    if net == IN_FULL:
        check_bad_input(suite, inputs)
        check_round_trips(suite, inputs)
    inputs.remove()


def networks(suite, only, quick):
    listed = suite.run_probe("list").stdout.split()
    unknown = [net for net in listed if net not in oracle.NETWORKS]
    suite.check(listed and not unknown, "the probe's networks are TF-Slim's",
                " ".join(unknown or listed))
    wanted = only.split(",") if only else QUICK if quick else listed
    missing = [net for net in wanted if net not in listed]
    if missing:
        suite.check(False, "networks that the probe has not", " ".join(missing))
    return [net for net in wanted if net in listed and net not in unknown]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--probe", required=True)
    parser.add_argument("--only", default="", metavar="NET,NET")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--environment", default="conformance-environment", metavar="DIR")
    parser.add_argument("--work", metavar="DIR", help="for temporary files, up to 8 GB")
    options = parser.parse_args()
    enter_environment(options.environment)

    load_oracle()
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        suite = Suite(options.probe, folder)
        for net in networks(suite, options.only, options.quick):
            check_network(suite, net, options.quick)
    print(f"{suite.passed} passed, {suite.failed} failed")
    return 1 if suite.failed else 0


if __name__ == "__main__":
    sys.exit(main())
