"""Programs that must not compile, and what compilers must say of them.

Each case, a .cpp file beside this one, starts with comments:

    // first error: tiny/fc6: conv2d: 7x7 VALID window exceeds its input 4x4x8
    // compiles: why

The compiler must refuse the case, its first line with `error:` must hold the text (one of the
texts, if compilers differ), and all it prints must fit in 12 lines, or as many as
`// at most N lines: why` says. A case marked `compiles` must compile: it shows that the others fail
for the reason they name and no other.
"""
import argparse
import concurrent.futures
import pathlib
import re
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
LONGEST = 12
PIECE = re.compile(r'"((?:[^"\\]|\\.)*)"')


def message(line):
    """The line, and the text that its quoted pieces make: clang prints long names in pieces."""
    pieces = [piece.replace('\\"', '"') for piece in PIECE.findall(line)]
    return line, "".join(pieces)


def squeezed(text):
    """Without blanks, for a long message is cut at them."""
    return re.sub(r"\s+", "", text)


def expectation(path):
    """The texts one of which the first error holds, none if it must compile; the most lines."""
    text = path.read_text(encoding="utf-8")
    errors = re.findall(r"^// first error: (.+)$", text, re.M)
    longest = re.search(r"^// at most (\d+) lines: ", text, re.M)
    if not errors and not text.startswith("// compiles"):
        raise SystemExit(f"{path.name}: says neither `// first error:` nor `// compiles`")
    return errors, int(longest.group(1)) if longest else LONGEST


def fault(expected, longest, status, output):
    """What is wrong with a compiler's answer, or None."""
    lines = output.splitlines()
    if not expected:
        return "does not compile" if status else None
    if status == 0:
        return "compiles"
    first = next((line for line in lines if "error:" in line), "")
    said = [squeezed(text) for text in message(first)]
    if not any(squeezed(text) in line for text in expected for line in said):
        return f"the first error does not hold: {' or: '.join(expected)}"
    if len(lines) > longest:
        return f"{len(lines)} lines, at most {longest} are allowed"
    return None


def check(path, compiler, arguments):
    """Compiles one case; returns what is wrong with it, if anything, and what the compiler said."""
    command = [compiler, "-std=c++20", "-fsyntax-only", "-fdiagnostics-color=never",
               *(f"-I{folder}" for folder in arguments.include), *arguments.flags.split(),
               str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return fault(*expectation(path), done.returncode, done.stderr), done.stderr


def eigen_flags():
    found = subprocess.run(["pkg-config", "--cflags", "eigen3"], capture_output=True, text=True,
                           check=False)
    return found.stdout.replace("-I", "-isystem ").strip() if found.returncode == 0 else ""


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compiler", action="append", help="default g++; may be repeated")
    parser.add_argument("--include", action="append", help="a folder of headers")
    parser.add_argument("--flags", default="", help="more flags, in one argument")
    parser.add_argument("--verbose", action="store_true", help="show what compilers say")
    parser.add_argument("cases", nargs="*", help="names of cases, all unless given")
    arguments = parser.parse_args()
    arguments.compiler = arguments.compiler or ["g++"]
    arguments.include = arguments.include or [HERE.parents[1] / "include"]
    arguments.flags += " " + eigen_flags()
    return arguments


def main():
    arguments = parse_arguments()
    paths = [HERE / f"{name}.cpp" for name in arguments.cases] or sorted(HERE.glob("*.cpp"))
    failed = 0
    for compiler in arguments.compiler:
        start = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(max_workers=2) as jobs:
            answers = list(jobs.map(lambda path: check(path, compiler, arguments), paths))
        for path, (wrong, output) in zip(paths, answers):
            if wrong:
                failed += 1
                print(f"FAILED: {compiler}: {path.name}: {wrong}")
            if wrong or arguments.verbose:
                print(f"--- {path.stem}\n{output}")
        print(f"{compiler}: {len(paths)} cases, {time.monotonic() - start:.1f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
