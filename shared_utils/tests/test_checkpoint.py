"""Checkpoints: whatever happens while one is written, a good one is found again; nothing else is ever loaded."""

import errno
import os
import pickle
import random
import signal
import time
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from shared_utils import UserError, checkpoint


def content(step):
    return {"step": step, "state_dict": {"weight": torch.full((200, 50), float(step))}, "notes": [1, "two", None]}


def test_round_trip_and_plain_torch_reads_the_file(tmp_path):
    checkpoint.save(content(3), tmp_path / "a.ckpt")
    for loaded in (checkpoint.load_tensors(tmp_path / "a.ckpt"), torch.load(tmp_path / "a.ckpt", weights_only=True)):
        assert loaded["step"] == 3 and loaded["notes"] == [1, "two", None]
        assert torch.equal(loaded["state_dict"]["weight"], torch.full((200, 50), 3.0))
    assert zipfile.ZipFile(tmp_path / "a.ckpt").comment.startswith(b"sha256:")


def save_until_killed(folder):
    step = 0
    while True:
        checkpoint.save(content(step), folder / "last.ckpt")
        (folder / "steps.txt").write_text(str(step))
        step += 1
        checkpoint.save(content(step), folder / f"step_{step % 3}.ckpt")


def test_a_process_killed_while_saving_never_costs_the_newest_good_checkpoint(tmp_path):
    checkpoint.save(content(-1), tmp_path / "last.ckpt")
    names, reached = set(), -1
    for _ in range(60):
        child = os.fork()
        if child == 0:
            save_until_killed(tmp_path)
        time.sleep(random.uniform(0.001, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        files = list(tmp_path.glob("*.ckpt"))
        assert checkpoint.newest_good(files) == max(files, key=lambda path: path.stat().st_mtime_ns)
        assert names <= {path.name for path in files}  # what was there once stays
        names = {path.name for path in files}
        for path in files:  # not one under its own name is unreadable
            loaded = checkpoint.load_tensors(path)
            assert bool((loaded["state_dict"]["weight"] == loaded["step"]).all())
            reached = max(reached, loaded["step"])
    assert reached > 0  # the children did save
    assert len([path for path in tmp_path.iterdir() if path.suffix == ".tmp"]) <= 4  # leftovers do not pile up


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), checkpoint.replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_reported_as_such_and_costs_nothing(tmp_path, monkeypatch):
    path = tmp_path / "a.ckpt"
    checkpoint.save(content(1), path)

    def full(self, data):
        self.error = OSError(errno.ENOSPC, "No space left on device")
        raise self.error

    monkeypatch.setattr(checkpoint._File, "write", full)
    with pytest.raises(OSError) as caught:
        checkpoint.save(content(2), path)
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(path)
    assert checkpoint.load_tensors(path)["step"] == 1 and list(tmp_path.iterdir()) == [path]


class Bomb:
    def __init__(self, fuse):
        self.fuse = fuse

    def __reduce__(self):
        return os.system, (f"touch {self.fuse}",)


def flip_a_bit(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 16
    path.write_bytes(data)


def foreign(path):
    """A file as others write them: no checksum of ours."""
    torch.save(content(1), path)
    return path


@pytest.mark.parametrize("suffix", [".ckpt", ".pth", ".safetensors"])
def test_files_that_are_no_checkpoint_are_refused_with_name_and_reason(tmp_path, suffix):
    empty, page, text = (tmp_path / f"{name}{suffix}" for name in ("empty", "page", "text"))
    empty.touch()
    page.write_text("\n<!DOCTYPE html><html><body>Quota exceeded</body></html>")
    text.write_text("hello")
    for path, reason in ((empty, "is empty"), (page, "is a web page"), (text, "not"), (tmp_path, "is a folder")):
        with pytest.raises(UserError, match=reason) as caught:
            checkpoint.load_tensors(path)
        assert str(path) in str(caught.value)
    with pytest.raises(UserError, match="not found"):
        checkpoint.load_tensors(tmp_path / f"absent{suffix}")


@pytest.mark.parametrize("ours", [True, False])
def test_every_truncation_and_flipped_bit_of_the_data_is_noticed(tmp_path, ours):
    path = tmp_path / "a.ckpt"
    checkpoint.save(content(1), path) if ours else foreign(path)
    whole = path.read_bytes()
    for kept in (1, 100, len(whole) // 2, len(whole) - 100, len(whole) - 1):
        path.write_bytes(whole[:kept])
        with pytest.raises(UserError, match=r"a\.ckpt"):
            checkpoint.load_tensors(path)
    for position in np.linspace(2000, len(whole) - 3000, 20).astype(int):
        path.write_bytes(whole)
        flip_a_bit(path, position)
        with pytest.raises(UserError, match="damaged"):
            checkpoint.load_tensors(path)


@pytest.mark.parametrize("legacy", [True, False])
def test_code_in_a_file_never_runs(tmp_path, legacy):
    path, fuse = tmp_path / "bomb.pth", tmp_path / "fuse"
    torch.save({"state_dict": Bomb(fuse)}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(UserError, match=r"system"):
        checkpoint.load_tensors(path)
    path.write_bytes(pickle.dumps(Bomb(fuse)))
    with pytest.raises(UserError, match=r"bomb\.pth"):
        checkpoint.load_tensors(path)
    assert not fuse.exists()


def test_published_files_with_numpy_numbers_and_the_old_format_are_read(tmp_path):
    path = tmp_path / "best_model.pth"
    stored = {
        "epoch": 3,
        "instance_acc": np.float64(0.9),
        "count": np.int64(4),
        "model_state_dict": {"w": torch.ones(2)},
    }
    for new in (True, False):
        torch.save(stored, path, _use_new_zipfile_serialization=new)
        loaded = checkpoint.load_tensors(path)
        assert loaded["instance_acc"] == 0.9 and torch.equal(loaded["model_state_dict"]["w"], torch.ones(2))


def test_the_newest_good_checkpoint_is_not_the_newest_damaged_one(tmp_path):
    for age, name in enumerate(("a", "b", "c")):
        checkpoint.save(content(age), tmp_path / f"{name}.ckpt")
        os.utime(tmp_path / f"{name}.ckpt", (age, age))
    flip_a_bit(tmp_path / "c.ckpt", 3000)
    os.utime(tmp_path / "c.ckpt", (9, 9))
    assert checkpoint.newest_good(tmp_path.glob("*.ckpt")).name == "b.ckpt"
    assert checkpoint.newest_good([]) is None


class Net(nn.Module, checkpoint.Exportable):
    def __init__(self, width: int, names: list[str]) -> None:
        super().__init__()
        self.width, self.names = width, names
        self.layer, self.norm = nn.Linear(width, 2), nn.BatchNorm1d(2)


def test_export_and_import_through_a_folder(tmp_path):
    net = Net(5, names=["a", "b"])
    net.norm.running_mean += 3
    net.save_pretrained(tmp_path / "net")
    again = Net.from_pretrained(tmp_path / "net")
    assert again.width == 5 and again.names == ["a", "b"]
    for name, value in net.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    flip_a_bit(tmp_path / "net" / "model.safetensors", -5)
    with pytest.raises(UserError, match="damaged"):
        Net.from_pretrained(tmp_path / "net")


def test_import_by_rules_reports_what_matched():
    net = Net(3, [])
    state = {f"module.fc.{name}": torch.rand_like(value) for name, value in net.layer.state_dict().items()}
    state |= {f"module.norm.{k}": v for k, v in net.norm.state_dict().items() if k != "num_batches_tracked"}
    report = checkpoint.import_state_dict(
        net, {**state, "module.old": torch.ones(1)}, [(r"^module\.", ""), ("^fc", "layer"), ("^old$", "")]
    )
    assert len(report.matched) == 6 and not report.missing
    assert torch.equal(net.layer.weight, state["module.fc.weight"])


def test_an_import_that_does_not_fit_names_the_entries_and_changes_nothing():
    net = Net(3, [])
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = {**before, "layer.weight": torch.ones(2, 4), "extra": torch.ones(1)}
    del state["norm.weight"]
    with pytest.raises(UserError) as caught:
        checkpoint.import_state_dict(net, state, source="x.pth")
    for part in ("x.pth", "norm.weight", "extra", "layer.weight (2, 4) for (2, 3)"):
        assert part in str(caught.value)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_a_module_held_under_two_names_can_be_exported(tmp_path):
    weight = torch.rand(3, 2)
    checkpoint.save_safetensors({"a": weight, "b": weight, "c": weight.T}, tmp_path / "x.safetensors")
    loaded = checkpoint.load_tensors(tmp_path / "x.safetensors")
    assert torch.equal(loaded["a"], weight) and torch.equal(loaded["b"], weight) and torch.equal(loaded["c"], weight.T)
