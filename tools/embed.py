#!/usr/bin/env python3
"""Writes C++ that puts a file's bytes into a program: embed.py FILE SOURCE HEADER.

HEADER declares slim::embedded::NAME(), a span of the bytes; NAME is the file's name with all but
letters, digits and underscores replaced by underscores. SOURCE is to be compiled by g++ or clang for
an ELF platform; the assembler reads FILE itself, so that a large one costs no compile time.
"""
import argparse
import os
import re
import zlib

HEADER = """// Embedded: {file}
#pragma once

#include <cstddef>
#include <span>

namespace slim::embedded {{

/// The {size} bytes of {file}.
std::span<const std::byte> {name}();

}}  // namespace slim::embedded
"""

SOURCE = """// Embedded: {file}, CRC-32 {crc:08x}
#include "{header}"

extern "C" {{
extern const std::byte slim_embedded_{name}[];
}}

asm(R"(
  .section .rodata
  .balign 64
  .global slim_embedded_{name}
  .type slim_embedded_{name}, %object
slim_embedded_{name}:
  .incbin "{path}"
  .size slim_embedded_{name}, {size}
  .byte 0
  .text
)");

namespace slim::embedded {{

std::span<const std::byte> {name}() {{ return {{slim_embedded_{name}, {size}}}; }}

}}  // namespace slim::embedded
"""


def checksum(path):
    """So that the source changes whenever the file does, and is compiled again."""
    crc = 0
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return crc


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("file", "source", "header"):
        parser.add_argument(name)
    options = parser.parse_args()
    file = os.path.basename(options.file)
    path = os.path.abspath(options.file).replace("\\", "\\\\").replace('"', '\\"')
    fields = {"file": file, "path": path, "size": os.path.getsize(options.file),
              "crc": checksum(options.file), "header": os.path.basename(options.header),
              "name": re.sub(r"\W", "_", re.sub(r"^(\d)", r"_\1", file), flags=re.ASCII)}
    for target, text in ((options.header, HEADER), (options.source, SOURCE)):
        with open(target, "w", encoding="utf-8") as f:
            f.write(text.format(**fields))


if __name__ == "__main__":
    main()
