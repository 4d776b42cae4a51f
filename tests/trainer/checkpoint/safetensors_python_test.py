"""Files of Python's safetensors package through our reader and writer and back: every bit and name is kept."""

import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

TYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16,
         torch.int8, torch.uint8, torch.bool]


def tensors():
    random = torch.Generator().manual_seed(7)
    result = {}
    for dtype in TYPES:
        for shape in [(), (0,), (3,), (2, 0, 5), (5, 7, 3)]:
            size = torch.empty(shape, dtype=dtype).nbytes
            raw = torch.randint(0, 2 if dtype == torch.bool else 256, (size,), generator=random, dtype=torch.uint8)
            # Any bits: infinities, NaNs with payloads, denormals.
            result[f"{dtype}.{shape}"] = raw.view(dtype).reshape(shape) if size else torch.empty(shape, dtype=dtype)
    result["names: \"quoted\" \\ é 語\n"] = torch.tensor([1.5, float("inf"), float("nan"), -0.0])
    return result


def bits(tensor):
    return tensor.contiguous().flatten().view(torch.uint8) if tensor.numel() else tensor.flatten()


def run(copy, source, target):
    return subprocess.run([copy, source, target], capture_output=True, text=True, timeout=60)


def main():
    copy = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        source, target = pathlib.Path(folder, "in.safetensors"), pathlib.Path(folder, "out.safetensors")
        expected = tensors()
        for metadata in [None, {"format": "pt", "é": "\"x\" \n"}]:
            save_file(expected, source, metadata=metadata)
            done = run(copy, source, target)
            assert done.returncode == 0, done.stderr
            actual = load_file(target)
            assert actual.keys() == expected.keys()
            for name, tensor in expected.items():
                assert actual[name].dtype == tensor.dtype and actual[name].shape == tensor.shape, name
                assert torch.equal(bits(actual[name]), bits(tensor)), name
            with safe_open(target, "pt") as opened:
                assert (opened.metadata() or None) == metadata, opened.metadata()

        # What Python refuses, we refuse as well: the last byte missing, one too many.
        content = target.read_bytes()
        for wrong in [content[:-1], content + b"\0", content[:20], b""]:
            source.write_bytes(wrong)
            try:
                load_file(source)
                raise AssertionError("Python reads a damaged file")
            except Exception as error:
                assert not isinstance(error, AssertionError), error
            done = run(copy, source, target)
            assert done.returncode == 2 and str(source) in done.stderr and done.stderr.count("\n") == 1, done.stderr
    print("safetensors: every bit kept in both directions")


if __name__ == "__main__":
    main()
