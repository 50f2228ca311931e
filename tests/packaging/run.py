"""Builds and runs one-page programs outside of the tree, against an installed slim (by CMake's
find_package and by pkg-config) and with slim as a subproject of Meson."""
import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def run(*command, **options):
    """Runs a command; its output is shown if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode:
        sys.exit(f"{shlex.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout


def install(folder):
    """Installs slim under a folder; returns where its pkg-config and CMake files are."""
    build, prefix = os.path.join(folder, "build"), os.path.join(folder, "prefix")
    run("meson", "setup", build, ROOT, "--prefix", prefix, "--libdir", "lib", "-Dtests=disabled",
        "-Dbenchmarks=disabled", "-Dexamples=disabled")
    run("meson", "install", "-C", build)
    return prefix


def by_cmake(folder, prefix):
    build = os.path.join(folder, "cmake")
    run("cmake", "-S", os.path.join(HERE, "cmake"), "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", build)
    return [os.path.join(build, "program"), os.path.join(folder, "by_cmake")]


def by_pkg_config(folder, prefix, compiler):
    path = os.path.join(prefix, "lib", "pkgconfig")
    flags = run("pkg-config", "--cflags", "--libs", "slim-checkpoints",
                env={**os.environ, "PKG_CONFIG_PATH": path}).split()
    program = os.path.join(folder, "by_pkg_config_program")
    run(*compiler, "-std=c++20", "-O1", os.path.join(HERE, "program.cpp"), "-o", program, *flags)
    return [program, os.path.join(folder, "by_pkg_config")]


def by_meson(folder):
    """Copies what a checkout has, as a subproject's would be."""
    project = os.path.join(folder, "project", "tests", "packaging")
    shutil.copytree(HERE, project)
    shutil.copytree(os.path.join(ROOT, "tests", "data", "checkpoints"),
                    os.path.join(folder, "project", "tests", "data", "checkpoints"))
    source = os.path.join(project, "meson", "subprojects", "slim")
    shutil.copytree(ROOT, source, symlinks=True, ignore=shutil.ignore_patterns("build", ".git"))
    build = os.path.join(folder, "meson")
    run("meson", "setup", build, os.path.join(project, "meson"))
    run("ninja", "-C", build)
    empty = os.path.join(folder, "empty")  # the program that needs no file is given none
    os.mkdir(empty)
    shutil.copy(os.path.join(build, "embedded"), empty)
    shutil.rmtree(project)
    print("embedded:", run(os.path.join(empty, "embedded"), cwd=empty).strip())
    return [os.path.join(build, "program"), os.path.join(folder, "by_meson")]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compiler", nargs="+", required=True)
    compiler = parser.parse_args().compiler
    os.environ["CXX"] = shlex.join(compiler)
    with tempfile.TemporaryDirectory() as folder:
        prefix = install(folder)
        for title, program in (("find_package", by_cmake(folder, prefix)),
                               ("pkg-config", by_pkg_config(folder, prefix, compiler)),
                               ("subproject", by_meson(folder))):
            print(f"{title}:", run(*program).strip())
    return 0


if __name__ == "__main__":
    sys.exit(main())
