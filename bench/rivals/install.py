"""Installs the rivals with pip, each into an environment of its own, and builds slim's programs."""
import json
import shutil
import subprocess
import sys
from pathlib import Path

import cuda_stubs

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# Per environment: what pip installs, in steps.  PyTorch comes without its CUDA packages, tf_keras
# without the second TensorFlow that it asks for.
PYTORCH = [["--no-deps", "torch==2.15.0"],
           ["filelock", "typing-extensions>=4.13", "setuptools>=77", "sympy>=1.13.3", "networkx",
            "jinja2", "fsspec", "numpy<3"]]
PACKAGES = {
    "pytorch": PYTORCH,
    "torchvision": [*PYTORCH, ["--no-deps", "torchvision==0.29.2", "pillow==13.0.0"]],
    "onnxruntime": [["onnxruntime==1.32.0", "onnx==1.23.2", "numpy<3"]],
    "openvino": [["openvino==2026.4.1", "numpy<3"]],
    "tensorflow": [["tensorflow-cpu==2.15.1", "numpy<2", "setuptools<81"],
                   ["--no-deps", "tf_keras==2.15.1", "tf_slim==1.1.0"]],
    "jax": [["jax==0.10.2", "numpy<3"]],
}


class Missing(Exception):
    """A contestant that cannot take part, and why."""


def say(*words):
    """Progress, on standard error."""
    print(*words, file=sys.stderr, flush=True)


def run(command, failure):
    """Runs a command whose output is progress; raises Missing(failure) if it fails."""
    try:
        done = subprocess.run(command, stdout=sys.stderr).returncode == 0
    except OSError:
        done = False
    if not done:
        raise Missing(failure)


def python_3_11():
    """A Python 3.11, which TensorFlow 2.15 needs."""
    for name in ("python3.11", "python3", sys.executable):
        found = shutil.which(name)
        code = "import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))"
        if found and subprocess.run([found, "-c", code], capture_output=True).returncode == 0:
            return found
    raise Missing("no Python 3.11 with venv")


def create(folder, name):
    """A new environment with the packages of `name`."""
    say("installing", name)
    shutil.rmtree(folder, ignore_errors=True)
    run([python_3_11(), "-m", "venv", str(folder)], "venv could not create an environment")
    for packages in PACKAGES[name]:
        run([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-cache-dir",
             "--disable-pip-version-check", *packages],
            "pip could not install " + " ".join(packages))
    if name in ("pytorch", "torchvision"):
        try:
            cuda_stubs.write_stubs(next(folder.glob("lib/python3*/site-packages")))
        except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
            raise Missing(f"PyTorch without CUDA: {type(error).__name__}") from error


def environment(base, name):
    """The Python of an environment, made if it is not there with the same packages."""
    folder, wanted = base / name, json.dumps(PACKAGES[name])
    stamp = folder / "slim-rival.json"
    if not (stamp.exists() and stamp.read_text() == wanted):
        create(folder, name)
        stamp.write_text(wanted)
    return str(folder / "bin" / "python")


def build_peak(base):
    """Compiles peak.c; answers the program."""
    compiler = next((c for c in ("gcc", "clang", "clang-19", "cc") if shutil.which(c)), None)
    if compiler is None:
        raise Missing("no C compiler")
    target = str(base / "peak")
    run([compiler, "-O2", "-march=native", "-ffp-contract=fast", "-pthread", "-o", target,
         str(HERE / "peak.c")], "peak.c does not compile")
    return target


def build_slim(build, program):
    """Builds a program of slim's in a Meson folder, made if it is not there; answers its path."""
    if not (build / "build.ninja").exists():
        run(["meson", "setup", str(build), str(ROOT)], "meson could not set up a build")
    run(["ninja", "-C", str(build), "-j", "1", f"bench/{program}"], f"{program} was not built")
    return str(build / "bench" / program)


def file_of(path, sources, command):
    """A file that a command writes, unless it is there and newer than its sources."""
    newest = max((HERE / source).stat().st_mtime for source in sources)
    if not path.exists() or path.stat().st_mtime < newest:
        say("writing", path.name)
        run([*command, str(path)], f"{path.name} could not be written")
    return str(path)


def model_file(base, name, net, batch):
    """The file that ONNX Runtime or OpenVINO reads."""
    stem, sources = base / "models" / f"{net}-{batch}", ("nets.py", "weights.py", "onnx_graph.py")
    stem.parent.mkdir(exist_ok=True)
    onnx = file_of(stem.with_suffix(".onnx"), sources, [
        environment(base, "onnxruntime"), str(HERE / "onnx_graph.py"), "--net", net, "--batch",
        str(batch), "--mode", "forward", "--model"])
    if name == "onnxruntime":
        return onnx
    return file_of(stem.with_suffix(".xml"), sources,
                   [environment(base, "openvino"), str(HERE / "openvino_ir.py"), onnx])


def start_file(base, name):
    """The file of LeNet's weights that a contestant of the start loads."""
    if name in ("onnxruntime", "openvino"):
        return model_file(base, name, "lenet", 1)
    file = {"pytorch": "lenet.pt", "jax": "lenet.npz", "tensorflow": "lenet.ckpt.index",
            "slim": "lenet.safetensors"}[name]
    (base / "models").mkdir(exist_ok=True)
    python = environment(base, "jax" if name == "slim" else name)
    return file_of(base / "models" / file, ("nets.py", "weights.py", "start/write.py"), [
        python, str(HERE / "start" / "write.py"), name]).removesuffix(".index")
