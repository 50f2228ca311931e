"""Every public header compiles alone, and twice in a row."""
import argparse
import glob
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OPTIONAL = {"image.hpp": "jpeglib.h", "image/": "jpeglib.h", "preprocessing/": "jpeglib.h",
            "checkpoint.hpp": "leveldb/env.h", "checkpoint/": "leveldb/env.h",
            "safetensors.hpp": "nlohmann/json.hpp", "safetensors_writer.hpp": "nlohmann/json.hpp",
            "dlpack.hpp": "dlpack/dlpack.h",
            "image_encode.hpp": "jpeglib.h", "data.hpp": "jpeglib.h",
            "data/image_handler.hpp": "jpeglib.h", "data/tfexample_decoder.hpp": "jpeglib.h",
            "data/": "zlib.h", "summaries/": "zlib.h",
            "learning.hpp": "leveldb/env.h", "learning/": "leveldb/env.h",
            "evaluation.hpp": "leveldb/env.h",
            **{f"kernels/cuda/{name}.hpp": "cublasLt.h"
               for name in ("stream", "plans", "optimizers")}}


def headers():
    """The headers, as a user includes them, without those whose optional library is missing."""
    found = []
    for folder in ("include/slim", "kernels"):
        pattern = os.path.join(ROOT, folder, "**", "*.hpp")
        for path in glob.glob(pattern, recursive=True):
            name = os.path.relpath(path, os.path.join(ROOT, folder))
            if folder == "kernels":
                name = "kernels/" + name
            needed = OPTIONAL.get(name) or OPTIONAL.get(name.split("/")[0] + "/")
            if needed and not os.path.exists("/usr/include/" + needed):
                print(f"skipped: {name} needs {needed}")
                continue
            found.append(name)
    return sorted(set(found))


def compiles(compiler, flags, header):
    """The compiler's complaint about this header included alone, or an empty string."""
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "alone.cpp")
        with open(source, "w", encoding="utf-8") as file:
            file.write(f"#include <slim/{header}>\n#include <slim/{header}>\n")
        done = subprocess.run([compiler, *flags, "-fsyntax-only", source], capture_output=True,
                              text=True)
    return done.stderr if done.returncode or "warning:" in done.stderr else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compiler", required=True)
    arguments = parser.parse_args()
    eigen = subprocess.run(["pkg-config", "--cflags-only-I", "eigen3"], check=True,
                           capture_output=True, text=True).stdout.split()
    flags = ["-std=c++20", "-Wall", "-Wextra", "-I" + os.path.join(ROOT, "include"),
             *[flag.replace("-I", "-isystem", 1) for flag in eigen]]
    names = headers()
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda name: compiles(arguments.compiler, flags, name), names))
    for name, complaint in zip(names, results):
        if complaint:
            print(f"slim/{name} does not compile alone:\n{complaint[:1500]}")
    bad = sum(bool(complaint) for complaint in results)
    print(f"{len(names)} headers, {bad} do not compile alone")
    return 1 if bad or not names else 0


if __name__ == "__main__":
    sys.exit(main())
