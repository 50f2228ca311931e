"""Compiles and runs the C++ of README.md, so that it cannot drift from the library."""
import argparse
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def program():
    """README's code blocks as one program: declarations outside of main, statements within."""
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as readme:
        blocks = re.findall(r"```cpp\n(.*?)```", readme.read(), re.S)
    outside, inside = [], []
    for block in blocks:
        match = re.search(r"^\w+ \w+;$", block, re.M)  # the first variable
        cut = match.start() if match else len(block)
        outside.append(block[:cut])
        inside.append(block[cut:])
    return len(blocks), "\n".join(outside) + (
        "\nint main() {\n"
        "std::vector<float> images(2 * 224 * 224 * 3, 0.5f);\nstd::vector<int> classes{7, 423};\n"
        + "\n".join(inside) + "\nreturn loss > 0 && logits.dims == shape{2, 1, 1, 1000} ? 0 : 1;\n}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compiler", required=True)
    arguments = parser.parse_args()
    blocks, source = program()
    if blocks < 2:
        print(f"README.md has {blocks} blocks of C++, 2 or more were expected")
        return 1
    eigen = subprocess.run(["pkg-config", "--cflags-only-I", "eigen3"], check=True,
                           capture_output=True, text=True).stdout.split()
    with tempfile.TemporaryDirectory() as folder:
        path, binary = os.path.join(folder, "readme.cpp"), os.path.join(folder, "readme")
        with open(path, "w", encoding="utf-8") as file:
            file.write(source)
        command = [arguments.compiler, "-std=c++20", "-O2", "-march=native", "-pthread",
                   "-I" + os.path.join(ROOT, "include"), *eigen, path, "-o", binary]
        if subprocess.run(command).returncode:
            return 1
        return subprocess.run([binary]).returncode


if __name__ == "__main__":
    sys.exit(main())
