"""Checkpoints: whatever happens while one is written, a good one is found again; nothing else is ever loaded."""

import errno
import os
import pickle
import random
import signal
import time
import zipfile
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import nn

from shared_utils import UserError, checkpoint
from shared_utils.checkpoint import writing


def content(step):
    return {"step": step, "state_dict": {"weight": torch.full((200, 50), float(step))}, "notes": [1, "two", None]}


def test_round_trip_and_plain_torch_reads_the_file(tmp_path):
    checkpoint.save(content(3), tmp_path / "a.ckpt")
    for loaded in (checkpoint.load_tensors(tmp_path / "a.ckpt"), torch.load(tmp_path / "a.ckpt", weights_only=True)):
        assert loaded["step"] == 3 and loaded["notes"] == [1, "two", None]
        assert torch.equal(loaded["state_dict"]["weight"], torch.full((200, 50), 3.0))
    assert zipfile.ZipFile(tmp_path / "a.ckpt").comment.startswith(b"sha256:")


def save_until_killed(folder, saved):
    """Save without end; one byte into the pipe ``saved`` after every file."""
    for step in count(1):
        checkpoint.save(content(step), folder / "last.ckpt")
        os.write(saved, b".")
        checkpoint.save(content(step), folder / f"step_{step % 3}.ckpt")
        os.write(saved, b".")


def test_a_process_killed_while_saving_never_costs_the_newest_good_checkpoint(tmp_path):
    checkpoint.save(content(-1), tmp_path / "last.ckpt")
    names = set()
    for _ in range(30):
        ready, saved = os.pipe()
        child = os.fork()
        if child == 0:
            save_until_killed(tmp_path, saved)
        os.close(saved)
        for _ in range(random.randint(1, 4)):  # it has saved, however slow the machine is, and is about to save more
            assert os.read(ready, 1) == b"."
        time.sleep(random.uniform(0, 0.005))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready)
        files = list(tmp_path.glob("*.ckpt"))
        assert checkpoint.newest_good(files) in files
        assert names <= {path.name for path in files}  # what was there once stays
        names = {path.name for path in files}
        for path in files:  # not one under its own name is unreadable
            loaded = checkpoint.load_tensors(path)
            assert loaded["step"] > 0 and bool((loaded["state_dict"]["weight"] == loaded["step"]).all())
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

    monkeypatch.setattr(writing._File, "write", full)
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


def test_a_file_is_read_by_its_content_whatever_its_name(tmp_path):
    checkpoint.save(content(1), tmp_path / "a.safetensors")
    checkpoint.save_safetensors({"w": torch.ones(2)}, tmp_path / "b.ckpt")
    assert checkpoint.load_tensors(tmp_path / "a.safetensors")["step"] == 1
    assert torch.equal(checkpoint.load_tensors(tmp_path / "b.ckpt")["w"], torch.ones(2))


def test_a_digest_of_weights_knows_names_kinds_shapes_and_values():
    net = Net(3, [])
    digest = checkpoint.weights_digest(net)
    assert len(digest) == 16 and digest == checkpoint.weights_digest(net.state_dict())
    weight = torch.arange(6.0)
    others = [{"w": weight}, {"v": weight}, {"w": weight.reshape(2, 3)}, {"w": weight.int()}, {"w": weight + 1}]
    assert len({checkpoint.weights_digest(state) for state in others}) == len(others)
    with torch.no_grad():
        net.layer.bias += 1e-3
    assert checkpoint.weights_digest(net) != digest


# --- which checkpoint ------------------------------------------------------------------------------------------------


def run(folder, *names):
    """A run's folder with checkpoints, the first the oldest."""
    for age, name in enumerate(names):
        checkpoint.save(content(age), folder / name)
        os.utime(folder / name, (age, age))
    return folder


def test_the_checkpoint_of_a_run_is_the_best_of_its_newest_good_version(tmp_path):
    names = [f"version_{number}/checkpoints/{name}.ckpt" for number in (10, 9) for name in ("best-3", "last", "other")]
    folder = run(tmp_path / "demo", *names)
    newest, older = folder / "version_10" / "checkpoints", folder / "version_9" / "checkpoints"
    for expected in ("best-3", "last", "other"):
        assert checkpoint.run_checkpoint(folder) == newest / f"{expected}.ckpt"
        (newest / f"{expected}.ckpt").write_bytes(b"damaged by something")
    assert checkpoint.run_checkpoint(folder) == older / "best-3.ckpt"
    assert checkpoint.run_checkpoint(older) == older / "best-3.ckpt"
    assert checkpoint.run_checkpoint(folder / "version_9") == older / "best-3.ckpt"


def test_a_folder_without_a_good_checkpoint_is_refused_with_what_to_give(tmp_path):
    run(tmp_path / "runs" / "demo", "version_0/checkpoints/last.ckpt")
    with pytest.raises(UserError, match=r"no good checkpoint in .*runs: give one of its runs, .*runs/demo"):
        checkpoint.run_checkpoint(tmp_path / "runs")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no good checkpoint in .*empty: give runs/NAME"):
        checkpoint.run_checkpoint(tmp_path / "empty")
    with pytest.raises(UserError, match="is not a folder"):
        checkpoint.run_checkpoint(tmp_path / "absent")


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Net(5, names=["a", "b"]).save_pretrained("bundled")
    run(tmp_path / "runs" / "demo", "version_0/checkpoints/best-1.ckpt")
    return tmp_path


def test_a_model_is_located_by_nothing_a_run_a_file_or_an_exported_folder(models):
    best = models / "runs/demo/version_0/checkpoints/best-1.ckpt"
    assert checkpoint.locate(None, models / "bundled") == models / "bundled"
    assert checkpoint.locate(None, models / "bundled/model.safetensors") == models / "bundled/model.safetensors"
    assert checkpoint.locate("bundled", models / "absent") == Path("bundled")
    assert checkpoint.locate("runs/demo", models / "absent").resolve() == best
    assert checkpoint.locate(best, models / "absent") == best


def test_what_is_located_is_verified(models):
    flip_a_bit(models / "bundled" / "model.safetensors", -5)
    for source, bundled in ((None, models / "bundled"), ("bundled", "absent"), ("bundled/model.safetensors", "absent")):
        with pytest.raises(UserError, match="damaged"):
            checkpoint.locate(source, bundled)
    (models / "bundled" / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no model\.safetensors"):
        checkpoint.locate("bundled", "absent")
    with pytest.raises(UserError, match="the bundled model .* is missing"):
        checkpoint.locate(None, models / "absent")


@pytest.mark.parametrize("source", ["runs/other", "nothing", "a/b/c", "user/model.ckpt", "./user/model", "/user/model"])
def test_what_is_neither_on_disk_nor_named_as_on_the_hub_is_not_found(models, source, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *args, **kwargs: pytest.fail("asked the hub"))
    with pytest.raises(UserError, match="not found"):
        checkpoint.locate(source, "absent")


def test_a_hub_model_is_a_folder_of_its_files(models, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda name, **options: asked.append(name) or str(models / "bundled")
    )
    assert checkpoint.locate("user/model-2.0", "absent") == models / "bundled"
    assert asked == ["user/model-2.0"]


def test_a_hub_that_cannot_be_reached_or_has_no_such_model_is_one_sentence(models, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(models / "cache"))
    with pytest.raises(UserError, match=r"user/model is not on disk, and the Hugging Face hub cannot be reached"):
        checkpoint.locate("user/model", "absent")

    response = SimpleNamespace(headers={}, status_code=404, request=None)
    for error, why in (
        (huggingface_hub.errors.RepositoryNotFoundError("404", response=response), "does not exist, or needs a login"),
        (huggingface_hub.errors.GatedRepoError("403", response=response), "needs a login"),
        (ConnectionError("no route"), r"cannot be reached \(no route\)"),
        (RuntimeError("no name"), r"cannot be reached \(no name\)"),
    ):
        monkeypatch.setattr("huggingface_hub.snapshot_download", Mock(side_effect=error))
        with pytest.raises(UserError, match=why):
            checkpoint.locate("user/model", "absent")


def test_the_state_dict_is_found_inside_its_wrappers_and_prefixes():
    weights = {"conv.weight": torch.ones(2), "step": torch.tensor(3)}
    prefixed = {f"module._orig_mod.{name}": value for name, value in weights.items()}
    for content in (weights, {"state_dict": prefixed, "epoch": 3}, {"model": weights, "other": {"a": torch.ones(1)}}):
        assert checkpoint.find_state(content).keys() == weights.keys()
    # Only the wrappers and prefixes that are named, and only prefixes that all entries carry.
    assert list(checkpoint.find_state({"net": weights}, wrappers=["net"])) == list(weights)
    assert list(checkpoint.find_state({**weights, **prefixed})) == [*weights, *prefixed]
    with pytest.raises(UserError, match=r"x\.pth holds no state dict \(it holds: net\)"):
        checkpoint.find_state({"net": weights}, "x.pth")
    with pytest.raises(UserError, match=r"it holds: list"):
        checkpoint.find_state([1])
    for value in (torch.nan, torch.inf):
        with pytest.raises(UserError, match="conv.weight holds values that are not finite"):
            checkpoint.find_state({"conv.weight": torch.full((2,), value)})
