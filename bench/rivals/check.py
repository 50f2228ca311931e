"""Whether all contestants compute the same: one call of each on the same variables and images.

Forward compares the outputs; backward and step the loss and the norm of every variable's gradient.
"""
import math
import subprocess

from contestants import worker_command, worker_environment
from install import HERE, Missing, environment, say
from nets import NETS, parameters

OUTPUT = 1e-3  # tolerated, of the largest number
GRADIENT = 0.03  # tolerated of each norm besides: those of nets with batch norm differ in float


def numbers(command, threads):
    """What a worker says when it is checked."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                          env=worker_environment(threads))
    for line in done.stdout.splitlines():
        if line.startswith("check"):
            return [float(word) for word in line.split()[1:]]
    raise Missing("its worker computes nothing")


def weights_file(case, options):
    """Variables and images for a case."""
    path = options.venv / "check.bin"
    subprocess.run([environment(options.venv, "onnxruntime"), str(HERE / "weights.py"), case.net,
                    str(case.batch), str(path)], check=True)
    return path


def difference(case, one, other):
    """The largest difference in units of what is tolerated."""
    if len(one) != len(other):
        return math.inf
    largest = max(map(abs, one))
    each = 0 if case.mode == "forward" else GRADIENT
    return max(abs(a - b) / (OUTPUT * largest + each * abs(a)) for a, b in zip(one, other))


def check_case(case, names, options):
    """Compares the rivals with slim; answers the faults.  ONNX files have the weights within: they
    are made from the seed of the file."""
    say("checking", case.name)
    path, faults, answers = weights_file(case, options), [], {}
    for name in names:
        try:
            command = worker_command(name, case, options.venv, options.build)
            answers[name] = numbers([*command, "--check", str(path)], case.threads)
        except Missing as reason:
            faults.append(f"{case.name}: {name}: {reason}")
    for name, answer in answers.items():
        if "slim" in answers and name != "slim":
            far = difference(case, answers["slim"], answer)
            say(f"  {name}: {far:.4f} of the tolerance")
            if not far <= 1:
                faults.append(f"{case.name}: {name} computes something else than slim")
    path.unlink()
    return faults


def counts(case, ready):
    """Contestants whose number of parameters or operations is not the description's; each says
    its own in its `ready` line, if it can."""
    faults = []
    for name, text in ready.items():
        for word, wanted in (("parameters", parameters(NETS[case.net])), ("GFLOP", case.gflop)):
            said = text.partition(word + " ")[2].split(",")[0]
            if said and wanted and abs(float(said) / wanted - 1) > 1e-4:
                faults.append(f"{case.name}: {name} has {said} {word}, not {wanted}")
    return faults
