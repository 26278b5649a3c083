"""Small stores of crops, ours and in the published layout."""

import pickle
import resource
from contextlib import contextmanager

import cv2
import lmdb
import numpy as np

from luperson_nl.data.store import Crop, create, crop_key, identity_of


def picture(number):
    """A 16x8 JPEG that its number can be read from."""
    return cv2.imencode(".jpg", np.full((16, 8, 3), number % 50 * 5, np.uint8))[1].tobytes()


def crops(video, tracks=(1, 2), each=3):
    """What a video with so many tracks gives."""
    return [
        Crop(
            crop_key(video, track, 1 + 20 * n, track),
            picture(7 * video + 3 * track + n),
            identity_of(video, track),
            video,
            1 + 20 * n,
            video,
        )
        for track in tracks
        for n in range(each)
    ]


def build(path, format="lmdb", videos=3, job=None, stop_in=None, **flags):
    """Build a store of so many videos; ``stop_in`` interrupts in the middle of that one."""
    names = [f"street/{number}" for number in range(videos)]
    with create(path, format, job or {"stride": 20}, names, **flags) as writer:
        for name in writer.missing():
            number = int(name.split("/")[1])
            writer.add(name, interrupted(crops(number)) if number == stop_in else crops(number), {"kept": 6})
        return writer.finish()


def interrupted(items):
    """Two of the items, then an interrupt."""
    yield from items[:2]
    raise KeyboardInterrupt


def published(folder, count=40, first_id=100, step=7, name="pids"):
    """``lmdb/`` and ``keys.pkl`` with ids that are not 0..C-1."""
    (folder / "lmdb").mkdir(parents=True)
    keys = [crop_key(i // 10, i // 4, i * 3 + 1, i % 7) for i in range(count)]
    with lmdb.open(str(folder / "lmdb"), map_size=1 << 26) as environment, environment.begin(write=True) as transaction:
        for i, key in enumerate(keys):
            transaction.put(key.encode(), picture(i))
    ids = [first_id + step * (i // 4) for i in range(count)]
    (folder / "keys.pkl").write_bytes(pickle.dumps({"keys": keys, name: ids}))
    return folder


@contextmanager
def full_disk(most):
    """No file may grow beyond so many bytes: the same error of the system as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def content(store):
    """Everything a store holds, to compare two of them."""
    own = ("box", "score", "shard", "offset", "size")  # not of every format, or not numbers
    columns = {name: array.tolist() for name, array in store.index.columns().items() if name not in own}
    return columns, [store.encoded(i) for i in range(len(store))], store.digest, store.mean, store.std
