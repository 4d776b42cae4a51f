"""docs/failures.md quotes what the programs print: every quotation must be in their sources."""

import pathlib
import re
import sys
import unittest

ROOT = pathlib.Path(__file__).parents[3]
# Others' words, and what is no message.
FOREIGN = re.compile(r"mpirun: |SLURM: |kernel|shell's|unix_seconds")


def printed():
    """All string literals of the sources, neighbours joined; what is put in between becomes a gap."""
    texts = []
    for folder in ("data", "launcher", "trainer"):
        for path in [*(ROOT / folder).rglob("*.cpp"), *(ROOT / folder).rglob("*.h")]:
            texts.append(re.sub(r'"\s*"', "", path.read_text()))
    # From ErrnoStatus: the C library's words.
    return "\n".join(texts) + "No space left on device"


def quotations():
    """(line, piece) of every table's column 'what you see', cut where names and numbers stand."""
    for number, line in enumerate((ROOT / "docs" / "failures.md").read_text().splitlines(), 1):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 5 or cells[0] == "failure":
            continue
        for quotation in re.findall(r"`([^`]*)`", "" if FOREIGN.search(cells[1]) else cells[1]):
            for piece in quotation.split("..."):
                # The sources may put such a piece together from several.
                for part in re.split(r"(?<=[;:]) ", piece):
                    if len(part.strip(" ;:,.()")) > 3:
                        yield number, part.strip(" ;:,.()")


class Quotations(unittest.TestCase):
    def test_are_what_is_printed(self):
        sources, count = printed(), 0
        for number, piece in quotations():
            count += 1
            with self.subTest(line=number, piece=piece):
                self.assertIn(piece, sources)
        self.assertGreater(count, 30, "the table was not understood")


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=1))
