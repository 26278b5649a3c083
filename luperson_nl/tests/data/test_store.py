"""Stores of crops: every format holds the same, a stopped build goes on, and no process copies the index."""

import os
import pickle
import re
import tarfile

import numpy as np
import pytest
from stores_on_disk import build, content, crops, full_disk, interrupted, picture, published

from luperson_nl.data.store import create, open_store, sinks
from shared_utils import UserError

FORMATS = ("lmdb", "shards", "folder")


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_stored_is_read(tmp_path, format):
    store = build(tmp_path / "s", format)
    read = open_store(tmp_path / "s")
    assert len(read) == 18 and read.num_classes == 6
    assert read.index.label.tolist() == [label for label in range(6) for _ in range(3)]
    assert read.index.video.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert read.index.frame[:3].tolist() == [1, 21, 41]
    assert [read.encoded(i) for i in range(18)] == [crop.image for video in range(3) for crop in crops(video)]
    assert read.image(0).shape == (16, 8, 3) and read.image(0).dtype == np.uint8
    assert read.index.summary["report"] == {"kept": 18}
    assert content(read) == content(store)
    assert all(0 < value < 1 for value in (*read.mean, *read.std))


def test_formats_hold_the_same(tmp_path):
    held = [build(tmp_path / format, format) for format in FORMATS]
    assert held[0].digest == held[1].digest == held[2].digest
    assert held[0].mean == held[1].mean == held[2].mean
    with tarfile.open(tmp_path / "shards" / "shards" / "000000.tar") as shard:
        names = shard.getnames()
    assert len(names) == 36 and names[0][:-3] == names[1][:-4]


@pytest.mark.parametrize("format", FORMATS)
def test_a_stopped_build_is_readable_and_goes_on_to_the_same_store(tmp_path, format, caplog):
    whole = build(tmp_path / "whole", format)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "s", format, stop_in=1)
    part = open_store(tmp_path / "s")
    assert "1 of 3 parts" in caplog.text and len(part) == 6 and part.image(5).shape == (16, 8, 3)
    resumed = build(tmp_path / "s", format, resume=True)
    assert content(resumed) == content(whole)
    if format == "shards":
        shard = "shards/000000.tar"
        assert (tmp_path / "s" / shard).read_bytes() == (tmp_path / "whole" / shard).read_bytes()


def test_shards_are_begun_anew_when_full_and_cut_off_after_the_last_finished_part(tmp_path, monkeypatch):
    monkeypatch.setattr(sinks, "PER_SHARD", 4)
    whole = build(tmp_path / "whole", "shards")
    assert len(list((tmp_path / "whole" / "shards").iterdir())) == 5
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "s", "shards", stop_in=2)
    assert content(build(tmp_path / "s", "shards", resume=True)) == content(whole)


def test_processes_of_a_job_write_shards_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(sinks, "PER_SHARD", 2)
    monkeypatch.setattr(sinks.distributed, "world_size", lambda: 2)
    used = []
    for rank in (0, 1, 1, 0):
        monkeypatch.setattr(sinks.distributed, "rank", lambda rank=rank: rank)
        sink = sinks.ShardSink(tmp_path, [])
        used.append(sorted(set(sink.put(crops(rank))["shard"].tolist())))
        sink.close()
    assert used == [[0, 2, 4], [1, 3, 5], [7, 9, 11], [6, 8, 10]]


def test_a_build_stopped_in_its_first_part_leaves_nothing_of_it(tmp_path):
    with pytest.raises(KeyboardInterrupt), create(tmp_path / "s", "lmdb", {"stride": 1}, ["a"]) as writer:
        writer.add("a", interrupted(crops(9)))
    with pytest.raises(UserError, match="holds no crop yet"):
        open_store(tmp_path / "s")
    store = build(tmp_path / "s", overwrite=True)
    assert store._reader.entries() == len(store) == 18


@pytest.mark.parametrize("format", FORMATS)
def test_a_full_disk_leaves_the_store_readable_and_resumable(tmp_path, format):
    names = ["a", "b"]
    tail = bytes(40_000) + b"\xff\xd9"
    large = {
        name: [crop._replace(image=crop.image + tail) for crop in crops(v, each=3 + 3 * v)]
        for v, name in enumerate(names)
    }
    with create(tmp_path / "s", format, {}, names) as writer:
        writer.add("a", large["a"])
        limit = 300_000 if format != "folder" else 30_000
        with pytest.raises(OSError, match="File too large") as caught, full_disk(limit):
            writer.add("b", large["b"])
    assert str(tmp_path / "s") in str(caught.value.filename)
    assert len(open_store(tmp_path / "s")) == 6
    with create(tmp_path / "s", format, {}, names, resume=True) as writer:
        assert writer.missing() == ["b"]
        writer.add("b", large["b"])
        writer.finish()
    store = open_store(tmp_path / "s")
    assert [store.encoded(i) for i in range(18)] == [crop.image for name in names for crop in large[name]]


def test_the_map_of_an_lmdb_grows(tmp_path, monkeypatch):
    monkeypatch.setattr(sinks, "MAP_SIZE", 1 << 15)
    assert len(build(tmp_path / "s", videos=30)) == 180
    assert (tmp_path / "s" / "lmdb" / "data.mdb").stat().st_size > 1 << 16


def test_a_second_process_learns_who_holds_the_store(tmp_path):
    with (
        create(tmp_path / "s", "lmdb", {}, ["a"]),
        pytest.raises(UserError, match=f"in use by process {os.getpid()} on "),
    ):
        build(tmp_path / "s", resume=True)


def test_what_exists_is_refused_and_other_files_stay(tmp_path):
    build(tmp_path / "s")
    with pytest.raises(UserError, match="--resume.*--overwrite"):
        build(tmp_path / "s")
    with pytest.raises(UserError, match="stride 20, now 10"):
        build(tmp_path / "s", job={"stride": 10}, resume=True)
    (tmp_path / "s" / "notes.txt").write_text("mine")
    assert len(build(tmp_path / "s", videos=2, overwrite=True)) == 12
    assert (tmp_path / "s" / "notes.txt").read_text() == "mine"
    (tmp_path / "other" / "images").mkdir(parents=True)
    with pytest.raises(UserError, match=r"other.images exists and was not written here"):
        build(tmp_path / "other", overwrite=True)


def test_workers_share_the_index(tmp_path):
    """What a worker is sent is a path; what it opens is mapped, not copied."""
    store = build(tmp_path / "s", videos=50)
    assert len(pickle.dumps(store)) < 300
    again = pickle.loads(pickle.dumps(store))
    assert content(again) == content(store)
    for name, array in open_store(tmp_path / "s").index.columns().items():
        assert isinstance(array.base, np.memmap), name
        assert array.dtype.itemsize <= 24 and not array.dtype.hasobject


@pytest.mark.parametrize("format", FORMATS)
def test_a_forked_worker_reads_on(tmp_path, format):
    store = build(tmp_path / "s", format)
    expected = store.encoded(3)
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        os.write(theirs, store.encoded(3))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert os.read(ours, 1 << 16) == expected == store.encoded(3)


@pytest.mark.parametrize("damage", [b"", b"\xff\xd8 no image", "cut"])
def test_an_image_that_cannot_be_read_is_named(tmp_path, damage):
    store = build(tmp_path / "s", "folder")
    path = sorted((tmp_path / "s" / "images").rglob("*.jpg"))[4]
    path.write_bytes(path.read_bytes()[:-200] if damage == "cut" else damage)
    with pytest.raises(UserError, match=rf"crop {path.stem} is (empty|not a whole image)"):
        store.image(4)
    path.unlink()
    with pytest.raises(UserError, match=rf"crop {path.stem} is missing"):
        store.image(4)


def test_an_index_of_other_data_is_refused(tmp_path):
    build(tmp_path / "s")
    build(tmp_path / "t", videos=4)
    (tmp_path / "s" / "lmdb" / "data.mdb").replace(tmp_path / "t" / "lmdb" / "data.mdb")
    with pytest.raises(UserError, match="18 entries, its index 24: the index is of another LMDB"):
        open_store(tmp_path / "t")
    one = build(tmp_path / "u", videos=1)
    changed = [crop._replace(image=picture(11)) for crop in crops(0)]
    with create(tmp_path / "v", "lmdb", {}, ["street/0"]) as writer:
        writer.add("street/0", changed)
        writer.finish()
    del one
    (tmp_path / "v" / "lmdb" / "data.mdb").replace(tmp_path / "u" / "lmdb" / "data.mdb")
    with pytest.raises(UserError, match="index of other data"):
        open_store(tmp_path / "u")


class TestPublished:
    """The authors' LMDB and keys.pkl."""

    @pytest.mark.parametrize("name", ["pids", "vids"])
    def test_reads_as_it_is_with_ids_renumbered(self, tmp_path, name):
        store = open_store(published(tmp_path / "lup", name=name))
        assert len(store) == 40 and store.num_classes == 10
        assert store.index.label.tolist() == [i // 4 for i in range(40)]
        assert store.index.identity.tolist() == [100 + 7 * i for i in range(10)]
        assert store.index.video[10] == 1 and store.index.frame[39] == 118
        assert store.encoded(17) == picture(17)
        assert content(open_store(tmp_path / "lup" / "lmdb")) == content(store)
        assert isinstance(open_store(tmp_path / "lup").index.key.base, np.memmap)

    def test_a_replaced_list_of_keys_is_read_again(self, tmp_path):
        folder = published(tmp_path / "lup")
        open_store(folder)
        content = pickle.loads((folder / "keys.pkl").read_bytes())
        (folder / "keys.pkl").write_bytes(pickle.dumps({"keys": content["keys"][:8], "pids": content["pids"][:8]}))
        assert len(open_store(folder)) == 8

    def test_what_is_missing_is_named(self, tmp_path):
        folder = published(tmp_path / "lup")
        (folder / "keys.pkl").rename(folder / "keys")
        with pytest.raises(UserError, match=r"lup.lmdb has no index: neither keys.pkl"):
            open_store(folder)
        (folder / "keys").rename(folder / "keys.pkl")
        (folder / "lmdb" / "data.mdb").unlink()
        with pytest.raises(UserError, match=r"data.mdb not found beside .*keys.pkl"):
            open_store(folder)
        with pytest.raises(UserError, match="is not a store"):
            open_store(tmp_path)

    def test_keys_of_another_lmdb_are_refused(self, tmp_path):
        folder = published(tmp_path / "lup")
        other = published(tmp_path / "other", count=60)
        (other / "keys.pkl").replace(folder / "keys.pkl")
        with pytest.raises(UserError, match="40 entries, its index 60"):
            open_store(folder)
        keys = pickle.dumps({"keys": [f"{i:024d}" for i in range(40)], "pids": list(range(40))})
        (folder / "keys.pkl").write_bytes(keys)
        with pytest.raises(UserError, match=re.escape("crop " + "0" * 24 + " is missing")):
            open_store(folder)

    def test_a_pickle_with_code_is_refused_and_not_run(self, tmp_path):
        folder = published(tmp_path / "lup")
        for harm in (Harm(tmp_path / "harmed"), {"keys": ["a"], "pids": [Harm(tmp_path / "harmed")]}):
            (folder / "keys.pkl").write_bytes(pickle.dumps(harm))
            with pytest.raises(UserError, match="keys.pkl is not a pickle of plain values"):
                open_store(folder)
        assert not (tmp_path / "harmed").exists()
        (folder / "keys.pkl").write_bytes(b"\x80\x04")
        with pytest.raises(UserError, match="keys.pkl is"):
            open_store(folder)
        (folder / "keys.pkl").write_bytes(pickle.dumps(["a"]))
        with pytest.raises(UserError, match="is not dict"):
            open_store(folder)


class Harm:
    """Would write a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)
