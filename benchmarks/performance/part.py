"""What the benchmarks of single parts share: their options, and where results go.

A benchmark keeps what it measured in WORK/NAME.json, from which its table between the markers of docs/performance.md can
be written again; with --quick in WORK/NAME-quick.json, and prints the table.
"""

import argparse
import json
import pathlib
import sys

from performance import document
from recognition.experiment import PROJECT, read_json, write_json


def parser_of(description, rounds, quick):
    """`quick`: what --quick does."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--quick", action="store_true", help=f"{quick}, nothing written to docs")
    parser.add_argument("--json", action="store_true", help="print the results")
    parser.add_argument("--table", action="store_true", help="measure nothing, only write the table")
    parser.add_argument("--work", type=pathlib.Path, default=PROJECT / "runs" / "performance")
    parser.add_argument("--programs", type=pathlib.Path, default=PROJECT / "build" / "bin")
    parser.add_argument("--output", type=pathlib.Path, default=PROJECT / "docs" / "performance.md")
    return parser


def run(arguments, name, marker, measure, lines_of):
    """measure(): results, of JSON's types; lines_of(results): the table between the markers `marker`."""
    path = arguments.work / f"{name}{'-quick' if arguments.quick else ''}.json"
    if not arguments.table:
        write_json(path, measure())
    results = read_json(path)
    if results is None:
        sys.exit(f"error: {path}: holds no results; run without --table first")
    if arguments.json:
        print(json.dumps(results, indent=1))
    if arguments.quick:
        print("\n".join(lines_of(results)))
    else:
        document.replace_between(arguments.output, marker, lines_of(results))
