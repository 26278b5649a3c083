"""Every kind of file that is not the checkpoint it should be: named for what it is, skipped for an older good one."""

import argparse
import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import struct
import tarfile
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch

from shared_utils import UserError, checkpoint
from shared_utils.checkpoint.outline import Outline, readable

WEIGHTS = {"weight": torch.arange(10000.0).reshape(200, 50), "bias": torch.ones(7)}
STATE = {
    "epoch": 3,
    "global_step": 24,
    "pytorch-lightning_version": "2.6.0",
    "state_dict": WEIGHTS,
    "loops": {"fit_loop": {}},
    "callbacks": {},
    "optimizer_states": [{"state": {}, "param_groups": []}],
    "lr_schedulers": [],
}


def ours(content=STATE):
    """The bytes of a file of ``checkpoint.save``."""
    return written(lambda path: checkpoint.save(content, path))


def written(write, folder=None):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "x")
        return (Path(folder) / "x").read_bytes()


def by_torch(content=STATE, **options):
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def flipped(data, position):
    data = bytearray(data)
    data[position] ^= 16
    return bytes(data)


def cut(data, share):
    return data[: int(len(data) * share) if isinstance(share, float) else share]


def zipped(files, **options):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **options) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


def tarred(data):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        entry = tarfile.TarInfo("notes.txt")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def npz():
    stream = io.BytesIO()
    np.savez(stream, a=np.ones(300))
    return stream.getvalue()


def npy():
    stream = io.BytesIO()
    np.save(stream, np.ones(300))
    return stream.getvalue()


def safe():
    return written(lambda path: checkpoint.save_safetensors(WEIGHTS, path))


def safe_of_others():
    return safetensors.torch.save(WEIGHTS)


class Command:
    def __reduce__(self):
        return os.system, ("touch fuse",)


def script():
    stream = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(3, 2)), stream)
    return stream.getvalue()


TEXT = b"The quick brown fox jumps over the lazy dog.\n" * 50
HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(range(256)) * 8

# name: (how the bytes come about, what the sentence says)
KINDS = {
    "zeros": (lambda: bytes(len(ours())), "begins with zeros"),
    "few zeros": (lambda: bytes(3), "begins with zeros"),
    "zeros at the beginning": (lambda: bytes(8192) + ours()[8192:], "damaged"),
    "zeros at the end": (lambda: cut(ours(), 0.5) + bytes(len(ours()) // 2), "truncated or damaged"),
    "zeros in the middle": (lambda: ours()[:9000] + bytes(4096) + ours()[9000 + 4096 :], "damaged"),
    "empty": (lambda: b"", "is empty"),
    "one byte": (lambda: b"P", "only 1 byte long"),
    "first byte of a pickle": (lambda: b"\x80", "only 1 byte long"),
    "ten bytes": (lambda: b"PK\5\6abcdef", "only 10 bytes long"),
    "first byte flipped": (lambda: flipped(ours(), 0), "damaged"),
    "second byte flipped": (lambda: flipped(ours(), 1), "damaged"),
    "middle byte flipped": (lambda: flipped(ours(), 20000), "damaged"),
    "last byte flipped": (lambda: flipped(ours(), -1), "damaged"),
    "byte of the checksum flipped": (lambda: flipped(ours(), -30), "damaged"),
    "byte of the mark flipped": (lambda: flipped(ours(), -70), None),
    "byte of the directory flipped": (lambda: flipped(ours(), -300), "damaged"),
    "truncated to 4 bytes": (lambda: cut(ours(), 4), "truncated|only 4 bytes"),
    "truncated to 100 bytes": (lambda: cut(ours(), 100), "truncated"),
    "truncated to a tenth": (lambda: cut(ours(), 0.1), "truncated"),
    "truncated to a half": (lambda: cut(ours(), 0.5), "truncated"),
    "truncated by 1000 bytes": (lambda: cut(ours(), -1000), "truncated"),
    "truncated by 72 bytes": (lambda: cut(ours(), -72), "truncated"),
    "truncated by 1 byte": (lambda: cut(ours(), -1), "truncated"),
    "with more at the end": (lambda: ours() + b"more" * 100, "damaged .record checksum"),
    "of others, first byte flipped": (lambda: flipped(by_torch(), 0), "damaged"),
    "of others, middle byte flipped": (lambda: flipped(by_torch(), 20000), "damaged"),
    "of others, truncated to a half": (lambda: cut(by_torch(), 0.5), "truncated"),
    "of others, truncated by 10 bytes": (lambda: cut(by_torch(), -10), "truncated"),
    "old format, truncated to a half": (
        lambda: cut(by_torch(_use_new_zipfile_serialization=False), 0.5),
        "not a checkpoint that torch can read",
    ),
    "old format, cut within the pickle": (
        lambda: cut(by_torch(_use_new_zipfile_serialization=False), 300),
        "not a checkpoint that torch can read",
    ),
    "text": (lambda: TEXT, "is plain text"),
    "text of another alphabet": (lambda: "Юникод и ещё слова\n".encode() * 300, "is plain text"),
    "web page": (lambda: b"\n<!DOCTYPE html><html><body>Quota exceeded</body></html>", "is a web page"),
    "Git LFS pointer": (
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 123\n",
        "is a Git LFS pointer, not a checkpoint: fetch it with git lfs pull",
    ),
    "JSON": (lambda: json.dumps({"a": list(range(100))}).encode(), "is JSON text"),
    "JSON list": (lambda: json.dumps([1, 2, 3, 4, 5, 6]).encode(), "is JSON text"),
    "YAML": (lambda: b"trainer:\n  max_epochs: 4\n", "is plain text"),
    "gzip": (lambda: gzip.compress(TEXT), "is a gzip file"),
    "gzipped checkpoint": (lambda: gzip.compress(ours()), "is a gzip file, not a checkpoint: unpack it"),
    "xz": (lambda: lzma.compress(TEXT), "is an xz file"),
    "bzip2": (lambda: bz2.compress(TEXT), "is a bzip2 file"),
    "tar": (lambda: tarred(TEXT), "is a tar archive"),
    "npz": (npz, r"is a NumPy archive \(\.npz\)"),
    "npy": (npy, r"is a NumPy array \(\.npy\)"),
    "HDF5": (lambda: HDF5, "is an HDF5 file"),
    "foreign zip": (lambda: zipped({"a/notes.txt": TEXT, "a/b.bin": b"1234"}), "is a zip archive of other things"),
    "empty zip": (lambda: zipped({}), None),
    "zipped checkpoint": (lambda: zipped({"last.ckpt": ours()}), "is a zip archive of other things"),
    "picture": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "is a PNG picture"),
    "noise": (lambda: np.random.default_rng(0).bytes(5000), "is not a checkpoint"),
    "safetensors truncated": (lambda: cut(safe(), 0.5), "is not a whole safetensors file"),
    "safetensors truncated in its header": (lambda: cut(safe(), 60), "is not a whole safetensors file"),
    "safetensors, length flipped": (lambda: flipped(safe(), 0), "is not a whole safetensors file"),
    "safetensors, header flipped": (lambda: flipped(safe(), 12), "safetensors"),
    "safetensors, tensor byte flipped": (lambda: flipped(safe(), -5), "checksum does not match"),
    "safetensors with more at the end": (lambda: safe() + b"more", "is not a whole safetensors file"),
    "safetensors of others": (safe_of_others, None),
    "safetensors of ours": (safe, None),
    "pickle": (lambda: pickle.dumps({"a": list(range(100))}), "is a Python pickle, not a checkpoint of torch.save"),
    "pickle of a class": (
        lambda: pickle.dumps(argparse.Namespace(lr=0.1, name="something")),
        r"is a Python pickle \(argparse\.Namespace\)",
    ),
    "pickle of a class, oldest protocol": (lambda: pickle.dumps(argparse.Namespace(lr=0.1), protocol=0), None),
    "pickle that runs a command": (lambda: pickle.dumps(Command()), r"is a Python pickle \(posix\.system\)"),
    "torch file of a class": (
        lambda: by_torch({**STATE, "args": argparse.Namespace(lr=0.1)}),
        r"holds argparse\.Namespace, which only running code of the file could make",
    ),
    "torch file of a class, ours": (
        lambda: ours({**STATE, "args": argparse.Namespace(lr=0.1)}),
        r"argparse\.Namespace",
    ),
    "torch file of a class, old format": (
        lambda: by_torch({**STATE, "args": argparse.Namespace(lr=0.1)}, _use_new_zipfile_serialization=False),
        r"argparse\.Namespace",
    ),
    "torch file that runs a command": (lambda: by_torch({**STATE, "x": Command()}), r"holds posix\.system"),
    "torch file of a whole model": (lambda: by_torch(torch.nn.Linear(3, 2)), r"torch\.nn\.modules\.linear\.Linear"),
    "TorchScript": (script, "is a TorchScript program"),
    "torch file of weights": (lambda: ours(WEIGHTS), "holds no state of training"),
    "torch file of a tensor": (lambda: by_torch(torch.ones(3)), "holds no state of training"),
    "torch file of weights alone": (lambda: by_torch({"state_dict": WEIGHTS}), "holds no state of training"),
}


@pytest.fixture(scope="module")
def made():
    return {name: make() for name, (make, _) in KINDS.items() if name != "folder"}


@pytest.mark.parametrize("name", KINDS)
def test_an_older_good_checkpoint_is_resumed_and_the_sentence_is_true(name, made, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    checkpoint.save(STATE, "good.ckpt")
    os.utime("good.ckpt", (1, 1))
    (tmp_path / "bad.ckpt").write_bytes(made[name])
    found = checkpoint.newest_good(tmp_path.glob("*.ckpt"), checkpoint.training_state)
    assert not (tmp_path / "fuse").exists()
    if name in ("byte of the mark flipped",):  # a torch file without a checksum, and whole
        assert found.name == "bad.ckpt"
        return
    assert found.name == "good.ckpt"
    with pytest.raises(UserError, match=KINDS[name][1]) as caught:
        checkpoint.training_state(tmp_path / "bad.ckpt")
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "bad.ckpt")) and "\n" not in message and ": " in message
    assert message.split(": ")[0] in caplog.text


def test_folders_and_what_is_not_there_are_skipped(tmp_path):
    checkpoint.save(STATE, tmp_path / "good.ckpt")
    (tmp_path / "folder.ckpt").mkdir()
    files = [*tmp_path.glob("*.ckpt"), tmp_path / "absent.ckpt"]
    assert checkpoint.newest_good(files, checkpoint.training_state).name == "good.ckpt"
    with pytest.raises(UserError, match=r"is a folder: give the checkpoint file inside it"):
        checkpoint.load_tensors(tmp_path / "folder.ckpt")
    with pytest.raises(UserError, match=r"absent\.ckpt not found"):
        checkpoint.load_tensors(tmp_path / "absent.ckpt")


@pytest.mark.parametrize("kind", ["ours", "by_torch", "old format", "safetensors of ours", "safetensors"])
def test_a_flipped_byte_anywhere_is_refused_or_changes_no_tensor(kind, tmp_path):
    """Of files with a checksum every byte counts; others have the CRC of their records, or lengths that must agree."""
    small = {"state_dict": {"weight": torch.arange(40.0), "bias": torch.ones(3)}, "epoch": 3}
    data = {
        "ours": lambda: ours(small),
        "by_torch": lambda: by_torch(small),
        "old format": lambda: by_torch(small, _use_new_zipfile_serialization=False),
        "safetensors of ours": lambda: written(lambda p: checkpoint.save_safetensors(small["state_dict"], p)),
        "safetensors": lambda: safetensors.torch.save(small["state_dict"]),
    }[kind]()
    path, refused = tmp_path / "a.ckpt", 0
    for position in range(0, len(data), max(1, len(data) // 400)):
        path.write_bytes(flipped(data, position))
        try:
            loaded = checkpoint.load_tensors(path)
        except UserError as error:
            refused += 1
            assert "\n" not in str(error)
            continue
        if kind in ("ours", "by_torch", "safetensors of ours"):
            state = loaded.get("state_dict", loaded)
            assert all(torch.equal(state[name], value) for name, value in small["state_dict"].items()), position
    assert refused > 20


# --- files that would fill the memory --------------------------------------------------------------------------------


def deflated(content, level=9):
    """A torch file whose records are compressed, as re-packing with zip makes it."""
    packed = zipfile.ZipFile(io.BytesIO(by_torch(content)))
    files = {name: packed.read(name) for name in packed.namelist()}
    return zipped(files, compression=zipfile.ZIP_DEFLATED, compresslevel=level)


def with_pickle(change):
    packed = zipfile.ZipFile(io.BytesIO(by_torch({"w": torch.arange(1000.0)})))
    files = {name: packed.read(name) for name in packed.namelist()}
    name = next(name for name in files if name.endswith("data.pkl"))
    files[name] = change(files[name])
    return zipped(files)


def refused(data, match, tmp_path):
    (tmp_path / "bomb.pth").write_bytes(data)
    for act in (checkpoint.verify, checkpoint.load_tensors):
        with pytest.raises(UserError, match=match):
            act(tmp_path / "bomb.pth")


def test_a_deflated_bomb_is_refused_with_its_sizes(tmp_path):
    data = deflated({"w": torch.zeros(50_000_000)})
    assert len(data) < 1_000_000
    refused(data, r"bomb\.pth is \d+\.\d kB long but declares 200\.0 MB of content", tmp_path)


def test_a_torch_file_that_was_packed_again_is_still_read(tmp_path):
    (tmp_path / "a.pth").write_bytes(deflated({"w": torch.arange(1000.0)}))
    assert torch.equal(checkpoint.load_tensors(tmp_path / "a.pth")["w"], torch.arange(1000.0))


@pytest.mark.parametrize("old", [False, True])
def test_an_expanded_tensor_is_refused_with_its_sizes(old, tmp_path):
    data = by_torch({"w": torch.zeros(1).expand(10**9, 1000)}, _use_new_zipfile_serialization=not old)
    refused(data, r"declares 4\.0 TB of content", tmp_path)


def test_a_small_expanded_tensor_is_read(tmp_path):
    (tmp_path / "a.pth").write_bytes(by_torch({"w": torch.ones(1).expand(1000)}))
    assert checkpoint.load_tensors(tmp_path / "a.pth")["w"].shape == (1000,)


def test_a_storage_longer_than_its_record_is_refused(tmp_path):
    data = with_pickle(lambda code: code.replace(b"M\xe8\x03", b"J" + struct.pack("<i", 2**30)))
    refused(data, r"record 0 is 4\.0 kB long but 4\.3 GB are declared", tmp_path)


def test_an_old_file_that_declares_a_huge_storage_is_refused(tmp_path):
    data = by_torch({"w": torch.arange(1000.0)}, _use_new_zipfile_serialization=False)
    refused(data.replace(b"M\xe8\x03", b"J" + struct.pack("<i", 2**30)), r"declares 4\.3 GB", tmp_path)


def test_records_of_one_name_and_overlapping_records_are_refused(tmp_path):
    packed = zipfile.ZipFile(io.BytesIO(by_torch({"w": torch.arange(1000.0)})))
    files = {name: packed.read(name) for name in packed.namelist()}
    twice = {**files, "ARCHIVE/DATA.PKL": b"."}
    refused(zipped(twice), r"damaged \(record list\)", tmp_path)


@pytest.mark.parametrize(
    "code",
    [
        b"cbuiltins\nbytearray\n\x8a\x05\x00\x00\x00\x00\x10\x85R.",
        b"ctorch\nTensor\n\x8a\x05\x00\x00\x00\x00\x10\x85\x81.",
        b"ctorch._tensor\n_rebuild_from_type_v2\n(cbuiltins\nbytearray\nctorch\nTensor\n\x8a\x05\x00\x00\x00\x00\x10\x85NtR.",
    ],
)
def test_memory_made_from_a_number_is_refused(code, tmp_path):
    refused(with_pickle(lambda _: b"\x80\x02" + code), "declares .* of content", tmp_path)


@pytest.mark.parametrize("code", [b"\x96\xff\xff\xff\xff\xff\0\0\0.", b"\x82\x01.", b"(" * 10000 + b"."])
def test_opcodes_that_reach_memory_or_objects_are_refused(code, tmp_path):
    refused(with_pickle(lambda _: b"\x80\x02" + code), "bomb", tmp_path)


def test_the_outline_of_a_checkpoint_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outline = Outline()
    outline.read(io.BytesIO(pickle.dumps([Command(), argparse.Namespace(a=1)], protocol=2)))
    assert outline.classes == {"posix.system", "argparse.Namespace"} and not os.listdir()  # noqa: PTH208


def test_sizes_are_written_in_the_unit_a_reader_takes_in():
    assert [readable(n) for n in (5, 4000, 2 * 10**6, 10**10, 10**19)] == [
        *("5 bytes", "4.0 kB", "2.0 MB", "10.0 GB", "10000 PB")
    ]
