#!/usr/bin/env python3
"""Makes the CUDA build of PyTorch run on a machine without CUDA, without NVIDIA's packages.

On Linux `pip install torch` serves the CUDA build, whose shared libraries link cuBLAS, cuDNN, NCCL
and others: several GiB which a measurement on the CPU never calls, but without which PyTorch cannot
be imported.  This script writes a small stub library for each of them where PyTorch looks for it.
A stub's functions do nothing but answer cudaErrorNoDevice, so that PyTorch finds no GPU and uses
its CPU code, which is untouched.  It needs gcc (or clang) and binutils.

    cuda_stubs.py SITE_PACKAGES
"""
import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

NO_DEVICE = 100  # cudaErrorNoDevice, and CUDA_ERROR_NO_DEVICE
ROOT = "libtorch_python.so"
CUDA_NAME = re.compile(r"^lib(cu|nccl|nv)")
UNVERSIONED = re.compile(r"^(cu[A-Z]|cuda[A-Z]|nccl[A-Z]|cusparseLt|cupti[A-Z]|nvshmem|nvtx)")
FALLBACK = "libnccl.so.2"


def output(*command):
    """The standard output of a command."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def needed(library):
    """The names of the shared libraries that a library links."""
    return re.findall(r"\(NEEDED\).*\[(.+)\]", output("readelf", "-d", str(library)))


def closure(folder):
    """PyTorch's own libraries that an import loads, and the CUDA libraries that those link."""
    own, cuda, queue = set(), set(), [ROOT, "libtorch_global_deps.so"]
    while queue:
        name = queue.pop()
        if name in own or not (folder / name).exists():
            continue
        own.add(name)
        for child in needed(folder / name):
            (cuda.add if CUDA_NAME.match(child) else queue.append)(child)
    return own, cuda


def version_files(library):
    """Which library defines each symbol version that this library asks for."""
    files, current = {}, None
    for line in output("readelf", "-V", "-W", str(library)).splitlines():
        if match := re.search(r"File: (\S+)", line):
            current = match[1]
        elif current and (match := re.search(r"Name: (\S+)", line)):
            files[match[1]] = current
    return files


def wanted(folder, own, cuda):
    """{library: {version or None: symbols}} that PyTorch's libraries import from CUDA's."""
    symbols = {name: {} for name in cuda}
    for library in own:
        files = version_files(folder / library)
        for line in output("nm", "-D", "--undefined-only", str(folder / library)).splitlines():
            name, _, version = line.split()[-1].partition("@")
            version = version.lstrip("@") or None
            home = files.get(version) if version else None
            if version is None and UNVERSIONED.match(name):
                home = FALLBACK
            if home in symbols:
                symbols[home].setdefault(version, set()).add(name)
    return symbols


def source(names):
    """The stubs in C: a function each; those that answer a text answer an empty one."""
    lines = []
    for name in sorted(names):
        if re.search(r"(String|ErrorName|GetName)$", name):
            lines.append(f'const char *{name}(void) {{ return "no CUDA"; }}')
        else:
            lines.append(f"long {name}(void) {{ return {NO_DEVICE}; }}")
    return "\n".join(lines) + "\nint slim_bench_stub;\n"


def compile_stub(compiler, name, versions, target):
    """Writes the stub library `name` with its symbol versions."""
    with tempfile.TemporaryDirectory() as work:
        code, script = Path(work, "stub.c"), Path(work, "stub.map")
        code.write_text(source(set().union(*versions.values())))
        blocks = [f"{version} {{ global: {'; '.join(sorted(names))}; }};"
                  for version, names in versions.items() if version]
        script.write_text("\n".join(blocks) + "\n")
        extra = [f"-Wl,--version-script={script}"] if blocks else []
        subprocess.run([compiler, "-w", "-fno-builtin", "-shared", "-fPIC", f"-Wl,-soname,{name}",
                        *extra, "-o", str(target / name), str(code)], check=True)


def write_stubs(site_packages):
    """Writes the stubs; answers their names."""
    site = Path(site_packages)
    folder = site / "torch" / "lib"
    compiler = next((c for c in ("gcc", "clang", "clang-19", "cc") if shutil.which(c)), None)
    if compiler is None:
        raise RuntimeError("no C compiler for the stubs of the CUDA libraries")
    own, cuda = closure(folder)
    for name, versions in wanted(folder, own, cuda).items():
        compile_stub(compiler, name, versions, folder)
    return sorted(cuda)


def main():
    """Writes the stubs and names them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("site_packages")
    print("stubs:", " ".join(write_stubs(parser.parse_args().site_packages)))


if __name__ == "__main__":
    sys.exit(main())
