"""Puts generated text between markers of a document that is otherwise written by hand."""

import pathlib


def markers(name):
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


def replace_between(path, name, lines):
    """Creates neither the document nor the markers: where they are belongs to the prose."""
    path = pathlib.Path(path)
    begin, end = markers(name)
    text = path.read_text()
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise SystemExit(f"error: {path}: wants the lines {begin} and {end}, once and in this order")
    head, tail = text[:text.index(begin)], text[text.index(end):]
    path.write_text("\n".join([head + begin, *lines, tail]))


def table(header, rows):
    """Markdown; all columns but the first are numbers, on the right."""
    lines = ["| " + " | ".join(header) + " |", "|---" + "|--:" * (len(header) - 1) + "|"]
    return lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows]


def provenance_lines(provenances, commands):
    def distinct(values):
        return "; ".join(dict.fromkeys(values))

    return [f"Hardware: {distinct(p['hardware'] for p in provenances)}  ",
            f"Command: {distinct(f'`{command}`' for command in commands)}  ",
            f"Commit: {distinct(p['commit'] for p in provenances)}  ",
            f"Date: {distinct(p['date'] for p in provenances)}"]
