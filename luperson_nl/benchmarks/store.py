"""A store of a million crops: memory of its workers and time of a read, compared with lists and a transaction each.

python benchmarks/store.py [--entries 1000000] [--workers 4] [--folder DIR] [--pets DIR]

The lists are the published way: keys and ids of keys.pkl in every process, one LMDB transaction a crop. What a worker
costs is the memory that only it has (its private pages), above that of a worker which does nothing.
"""

from __future__ import annotations

import argparse
import multiprocessing
import pickle
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import lmdb
import numpy as np

from luperson_nl.data.store import Store, crop_key, open_store
from shared_utils.logging import table

READS = 20_000


def synthetic(folder: Path, entries: int) -> None:
    """``lmdb/`` and ``keys.pkl`` with so many small JPEGs, 25 an identity as in the published set."""
    (folder / "lmdb").mkdir(parents=True)
    rng = np.random.default_rng(0)
    pictures = [cv2.imencode(".jpg", rng.integers(0, 255, (32, 16, 3), np.uint8))[1].tobytes() for _ in range(100)]
    keys = [crop_key(i // 500, i // 25, 20 * (i % 25) + 1, i % 7) for i in range(entries)]
    with lmdb.open(str(folder / "lmdb"), map_size=1 << 36) as environment:
        for start in range(0, entries, 10_000):
            with environment.begin(write=True) as transaction:
                for i in range(start, min(start + 10_000, entries)):
                    transaction.put(keys[i].encode(), pictures[i % 100], append=True)
    (folder / "keys.pkl").write_bytes(pickle.dumps({"keys": keys, "pids": [i // 25 for i in range(entries)]}))


def private() -> float:
    """Memory in MB that no other process shares with this one."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean", "Private_Dirty"))) / 1024


def nothing(_: Any, barrier: Any) -> None:
    barrier.wait()


def use_store(store: Store, barrier: Any) -> None:
    """Look at every row of the index, as an epoch does, and read some crops."""
    total = 0
    for i in range(len(store)):
        total += int(store.index.label[i]) + len(store.index.key[i])
    for i in random.Random(0).sample(range(len(store)), READS):
        store.image(i)
    barrier.wait()


class Lists:
    """The published way."""

    def __init__(self, folder: Path) -> None:
        content = pickle.loads((folder / "keys.pkl").read_bytes())
        self.path, self.keys, self.pids = str(folder / "lmdb"), content["keys"], content["pids"]

    def use(self, barrier: Any) -> None:
        total = 0
        for key, pid in zip(self.keys, self.pids, strict=True):
            total += pid + len(key)
        environment = lmdb.open(self.path, readonly=True, lock=False, readahead=False)
        for i in random.Random(0).sample(range(len(self.keys)), READS):
            with environment.begin() as transaction:
                cv2.imdecode(np.frombuffer(transaction.get(self.keys[i].encode()), np.uint8), 1)
        barrier.wait()


def use_lists(lists: Lists, barrier: Any) -> None:
    lists.use(barrier)


def _worker(use: Callable, given: Any, barrier: Any, results: Any) -> None:
    use(given, barrier)  # waits until all are as far: pages that others have too are not private
    results.put(private())
    barrier.wait()


def memory(method: str, use: Callable, given: Any, workers: int) -> float:
    """Private MB of the worker that has most."""
    context = multiprocessing.get_context(method)
    barrier, results = context.Barrier(workers), context.Queue()
    running = [context.Process(target=_worker, args=(use, given, barrier, results)) for _ in range(workers)]
    for worker in running:
        worker.start()
    found = [results.get(timeout=300) for _ in running]
    for worker in running:
        worker.join()
    return max(found)


def reading(folder: Path, count: int, repeats: int = 5) -> list[dict]:
    """Microseconds of a read of the same random crops, both ways in turns, the median."""
    store = open_store(folder)
    keys = [bytes(key) for key in store.index.key]
    chosen = random.Random(1).sample(range(len(store)), count)
    times: dict[str, list[float]] = {"ours": [], "a transaction each": []}
    for _ in range(repeats):
        start = time.process_time()
        for i in chosen:
            store.encoded(i)
        times["ours"].append(time.process_time() - start)
        environment = store._reader.environment.environment
        start = time.process_time()
        for i in chosen:
            with environment.begin() as transaction:
                transaction.get(keys[i])
        times["a transaction each"].append(time.process_time() - start)
    return [{"read": name, "us": 1e6 * float(np.median(each)) / count} for name, each in times.items()]


def pets(folder: Path, out: Path) -> dict:
    """Seconds from the video and its detections to the store."""
    from luperson_nl.commands import build_dataset

    arguments = ["--data", str(folder / "pets09_s2l1.avi"), "--det", str(folder / "det.txt"), "--det-size", "768x576"]
    arguments += ["--out", str(out), "--min-frames", "20", "--stride", "4", "--min-height", "40"]
    wall, processor = time.time(), time.process_time()
    assert build_dataset.main(arguments) == 0
    return {"PETS video to store": "795 frames", "wall s": time.time() - wall, "CPU s": time.process_time() - processor}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--folder", type=Path, help="where to write about 1.5 GB; a temporary folder where not given")
    parser.add_argument(
        "--pets", type=Path, default=Path(__file__).parents[2].parent / "shared/data/luperson_nl/pets09_s2l1"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as scratch:
        folder = Path(scratch) / "store"
        start = time.time()
        synthetic(folder, given.entries)
        print(f"wrote {given.entries} synthetic entries in {time.time() - start:.0f} s", file=sys.stderr)
        start = time.process_time()
        store = open_store(folder)
        print(f"first opening (keys.pkl to arrays): {time.process_time() - start:.1f} CPU s")
        start = time.process_time()
        open_store(folder)
        print(f"every later opening: {1000 * (time.process_time() - start):.0f} CPU ms", flush=True)
        rows = []
        idle = {method: memory(method, nothing, None, given.workers) for method in ("fork", "spawn")}
        for name, use in (("index of arrays", use_store), ("lists of keys.pkl", use_lists)):
            what = store if use is use_store else Lists(folder)
            store._reader.environment.close()  # a process, forked ones too, may open an LMDB only once
            for method in idle if use is use_store else ("fork",):
                extra = memory(method, use, what, given.workers) - idle[method]
                rows.append({"workers": method, "index": name, "extra MB a worker": extra})
        print(table(rows, f"{given.entries} entries, {given.workers} workers"))
        print(table(reading(folder, READS)))
        if given.pets.is_dir():
            print(table([pets(given.pets, Path(scratch) / "pets")]))


if __name__ == "__main__":
    main()
