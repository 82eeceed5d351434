#!/usr/bin/env python3
"""unite.py OUTPUT SOURCE...: one unit of several test files, each in a namespace of its own.

The library is its headers: every unit compiles what it uses of them anew, which takes longer than most test files do by themselves. What the files
include stands in front, outside of their namespaces, so that it is there only once; what they define as macros ends with them.
"""
import os
import re
import sys


def text_of(path):
    return open(path, encoding="utf-8").read()


def includes_of(path):
    folder = os.path.dirname(os.path.abspath(path))
    for name in re.findall(r'^#include ([<"][^>"]+[>"])', text_of(path), re.M):
        beside = os.path.join(folder, name[1:-1])
        yield f'"{os.path.normpath(beside)}"' if name[0] == '"' and os.path.exists(beside) else name


def main():
    output, sources = sys.argv[1], sys.argv[2:]
    headers = []
    for path in sources:
        headers += [each for each in includes_of(path) if each not in headers]
    # g++ takes what a unit includes for a header, whose anonymous namespaces would be another one's in each unit.
    lines = ["#if !defined(__clang__)", '#pragma GCC diagnostic ignored "-Wsubobject-linkage"', "#endif"]
    lines += [f"#include {each}" for each in headers]
    for number, path in enumerate(sources):
        lines += [f"namespace unit_{number} {{", f'#include "{os.path.abspath(path)}"', "}"]
        lines += [f"#undef {name}" for name in sorted(set(re.findall(r"^\s*#\s*define (\w+)", text_of(path), re.M)))]
    with open(output, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


main()
