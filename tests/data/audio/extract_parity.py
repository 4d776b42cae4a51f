"""`mels extract` against torchaudio's MelSpectrogram, then the logarithm: within 1e-4.

usage: extract_parity.py MELS DECODE_RECORDING SPEECH_FOLDER
"""

import math
import pathlib
import subprocess
import sys
import tempfile
import wave

import numpy
import torch

from shards import read_frames

try:
    from torchaudio.transforms import MelSpectrogram
except ImportError:
    print("skipped: no torchaudio in .venv")
    sys.exit(77)

RATE = 16000
TOLERANCE = 1e-4


def reference(samples, n_mels):
    mel = MelSpectrogram(RATE, n_fft=400, hop_length=160, f_min=50.0, f_max=8000.0, n_mels=n_mels)(samples)
    return torch.log(mel.clamp(min=1e-9)).T


def write_wav(path, samples):
    """Writes 16-bit samples; returns what a reader gets."""
    integers = (samples * 32767).round().clamp(-32768, 32767).to(torch.int16)
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(integers.numpy().astype("<i2").tobytes())
    return integers.float() / 32768


def voice(seconds, pitch, generator):
    """A buzz with harmonics, vibrato and breath: something like a vowel."""
    time = torch.arange(int(seconds * RATE)) / RATE
    phase = 2 * math.pi * pitch * (time + 0.002 * torch.sin(2 * math.pi * 5 * time))
    tones = sum(torch.sin(k * phase) / k for k in range(1, 30))
    return 0.2 * tones + 0.01 * torch.randn(len(time), generator=generator)


def compare(name, expected, frames):
    """expected: list of (T, n_mels), in the data set's order."""
    expected = torch.cat(expected)
    assert tuple(expected.shape) == frames.shape, (name, expected.shape, frames.shape)
    worst = (expected - torch.from_numpy(frames)).abs().max().item()
    print(f"{name}: {len(frames)} frames, largest difference {worst:.2e}")
    assert worst <= TOLERANCE, name


def extract(mels, source, destination, *options):
    subprocess.run([mels, "extract", str(source), str(destination), *options], check=True)
    return read_frames(destination)[1]


def main():
    mels, decode, speech = sys.argv[1:4]
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        generator = torch.Generator().manual_seed(1)
        # (speaker, recording) -> samples; sorted, this is the order of the data set.
        made = {
            ("a", "1-noise.wav"): 0.3 * torch.randn(16000 * 3 + 77, generator=generator),
            ("a", "2-voice.wav"): voice(7.3, 110, generator),
            ("b", "1-voice.wav"): voice(2.0, 230, generator),
            ("b", "2-shortest.wav"): 0.3 * torch.randn(201, generator=generator),
            ("b", "3-quiet.wav"): 0.001 * torch.randn(16000, generator=generator),
            ("b", "4-clipped.wav"): 3.0 * torch.randn(16000, generator=generator),
        }
        heard = [write_wav(root / "src" / speaker / name, samples) for (speaker, name), samples in made.items()]
        for n_mels in (40, 80):
            frames = extract(mels, root / "src", root / f"dst{n_mels}", "--n-mels", str(n_mels))
            compare(f"made signals, {n_mels} mels", [reference(samples, n_mels) for samples in heard], frames)

        manifest = pathlib.Path(speech) / "manifest.csv"
        if not manifest.exists():
            print(f"no real speech at {speech}: compared made signals only")
            return
        rows = [line.split(",")[:2] for line in manifest.read_text().splitlines()[1:]][::40]
        listing = root / "speech.csv"
        listing.write_text("path,speaker\n" + "".join(f"{manifest.parent / path},{who}\n" for path, who in rows))
        frames = extract(mels, listing, root / "speech")
        rows.sort(key=lambda row: row[1])  # stable, as the data set's order is
        pairs = [(str(manifest.parent / path), str(root / f"{i}.f32")) for i, (path, _) in enumerate(rows)]
        subprocess.run([decode, *(path for pair in pairs for path in pair)], check=True)
        decoded = [torch.from_numpy(numpy.fromfile(out, dtype="<f4")) for _, out in pairs]
        expected = [reference(samples, 40) for samples in decoded]
        compare(f"{len(rows)} utterances of real speech", expected, frames)


if __name__ == "__main__":
    main()
