"""Compiles and runs the C++ of README.md, so that it cannot drift from the library."""
import argparse
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


# What holds of the networks that README.md only declares.
CHECKS = """
static_assert(network<unit, input<1, 8, 8, 256>>::output_shape == shape{1, 8, 8, 256});
using unet = sequence<conv2d<32, kernel_size{3}, scope{"down1"}>, max_pool2d<kernel_size{2}>, up>;
static_assert(network<unet, input<1, 8, 8, 3>>::output_shape == shape{1, 8, 8, 32});
static_assert(scene_t::output_shape == shape{8, 10} && scene_t::trains);
static_assert(network<mine, input<1, 224, 224, 3>>::output_shape == shape{1, 5});
"""


def program():
    """README's code blocks as one program: includes, declarations, and statements in main."""
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as readme:
        blocks = re.findall(r"```cpp\n(.*?)```", readme.read(), re.S)
    includes, outside, inside = [], [], []
    for block in blocks:
        includes += re.findall(r"^#include .*$", block, re.M)
        block = re.sub(r"^#include .*$", "", block, flags=re.M)
        # Up to the first variable or call.
        match = re.search(r"^(\w+ \w+;$|(?!static_assert)\w+\()", block, re.M)
        cut = match.start() if match else len(block)
        outside.append(block[:cut])
        inside.append(block[cut:])
    return len(blocks), "\n".join(includes + outside) + CHECKS + (
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
    packages = ["eigen3", "protobuf", "libisal", "snappy", "zlib", "libpng", "libjpeg"]
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", *packages], check=True,
                           capture_output=True, text=True).stdout.split()
    with tempfile.TemporaryDirectory() as folder:
        path, binary = os.path.join(folder, "readme.cpp"), os.path.join(folder, "readme")
        with open(path, "w", encoding="utf-8") as file:
            file.write(source)
        command = [arguments.compiler, "-std=c++20", "-O2", "-march=native", "-pthread",
                   "-I" + os.path.join(ROOT, "include"), path, "-o", binary, *flags, "-lleveldb"]
        if subprocess.run(command).returncode:
            return 1
        return subprocess.run([binary], cwd=folder).returncode


if __name__ == "__main__":
    sys.exit(main())
