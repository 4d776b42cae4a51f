"""Reads what `trainer --print-config` prints: sections, and in them `key: value` with JSON values or bare words."""

import json


def parse_value(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


def parse(text):
    """{section: {key: value}}; deeper sections are left out."""
    sections, section = {}, None
    for line in text.splitlines():
        key, colon, value = line.strip().partition(":")
        if not colon or line.lstrip().startswith("#"):
            continue
        indentation = len(line) - len(line.lstrip())
        if indentation == 0:
            section = sections.setdefault(key, {})
        elif indentation == 2 and value.strip():
            section[key] = parse_value(value.strip())
    return sections
