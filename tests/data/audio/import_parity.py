"""`mels import-hw4` against torch.load, bit for bit.

usage: import_parity.py MELS HW4_FOLDER
"""

import json
import pathlib
import random
import subprocess
import sys
import tempfile

import numpy
import torch

from shards import read_frames


def make_folder(folder):
    """A HW4 folder as torch.save writes it, with tensors saved in unusual ways among them."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(3)
    whole = torch.randn(500, 40, generator=generator)
    tensors = [
        torch.randn(90, 40, generator=generator),
        torch.randn(40, 77, generator=generator).T,  # strided
        whole[100:231],  # a view: the file holds all 500 frames
        torch.full((1, 40), -20.72),
        torch.tensor([0.0, -0.0, 1e-45, 3.4e38] * 10).reshape(1, 40),
        torch.nn.functional.pad(torch.randn(60, 38, generator=generator), (1, 1)),
    ]
    entries = []
    for i, tensor in enumerate(tensors):
        torch.save(tensor, folder / f"uttr-{i}.pt")
        entries.append({"feature_path": f"uttr-{i}.pt", "mel_len": len(tensor)})
    (folder / "mapping.json").write_text(json.dumps({"speaker2id": {"x": 1, "y": 0}, "id2speaker": {"1": "x", "0": "y"}}))
    (folder / "metadata.json").write_text(json.dumps({"n_mels": 40, "speakers": {"x": entries[:2], "y": entries[2:4]}}))
    (folder / "testdata.json").write_text(json.dumps({"n_mels": 40, "utterances": entries[4:]}))


def check(mels, source, destination):
    subprocess.run([mels, "import-hw4", str(source), str(destination)], check=True)
    manifest, frames = read_frames(destination)
    speakers = json.loads((source / "mapping.json").read_text())["speaker2id"]
    order = sorted(speakers, key=speakers.get)
    assert manifest["speakers"] == order
    metadata = json.loads((source / "metadata.json").read_text())
    entries = [entry for speaker in order for entry in metadata["speakers"][speaker]]
    entries += json.loads((source / "testdata.json").read_text())["utterances"]
    expected = torch.cat([torch.load(source / entry["feature_path"]) for entry in entries]).numpy()
    assert expected.shape == frames.shape, (expected.shape, frames.shape)
    assert numpy.array_equal(expected.view(numpy.uint32), frames.view(numpy.uint32))
    print(f"{source.name}: {len(entries)} utterances, {len(frames)} frames, every bit equal")


def refuse(mels, source, destination, name, damage, *words):
    """Import must stop with exit code 2 and one line that holds the words."""
    path = source / name
    kept = path.read_bytes()
    damage(path)
    result = subprocess.run([mels, "import-hw4", str(source), str(destination)], capture_output=True, text=True)
    path.write_bytes(kept)
    said = [line for line in result.stderr.splitlines() if name in line]
    assert result.returncode == 2 and len(said) == 1, (result.returncode, result.stderr)
    assert all(word in said[0] for word in words), said
    assert not (destination / "dataset.json").exists()


def main():
    mels, fixture = sys.argv[1], pathlib.Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        made = root / "made"
        make_folder(made)
        check(mels, made, root / "made-shards")

        some = torch.zeros(90, 40)
        refuse(mels, made, root / "no", "uttr-0.pt",
               lambda p: torch.save(some, p, _use_new_zipfile_serialization=False), "old format", "torch.save")
        refuse(mels, made, root / "no", "uttr-0.pt", lambda p: torch.save(some.half(), p), "HalfStorage", "float32")
        refuse(mels, made, root / "no", "uttr-0.pt", lambda p: torch.save({"mel": some}, p), "one plain tensor")
        refuse(mels, made, root / "no", "uttr-0.pt", lambda p: torch.save(some[:80], p), "(80, 40)", "(90, 40)")
        refuse(mels, made, root / "no", "uttr-0.pt", lambda p: torch.save(some / 0, p), "frame 0", "nan")

        def flip(path):
            data = bytearray(path.read_bytes())
            data[random.Random(1).randrange(4000, 14000)] ^= 0x10
            path.write_bytes(data)

        refuse(mels, made, root / "no", "uttr-0.pt", flip, "damaged", "checksum")

        if fixture.exists():
            check(mels, fixture, root / "fixture-shards")
        else:
            print(f"no {fixture}: checked a made folder only")


if __name__ == "__main__":
    main()
