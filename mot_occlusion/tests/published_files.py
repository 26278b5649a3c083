"""Files in the published layout, of a DLA-34 with random weights."""

import functools

import torch

from mot_occlusion.models import DLA34

FAIRMOT = {"hm": 1, "wh": 4, "id": 12, "reg": 2}


@functools.lru_cache(maxsize=4)
def _network(heads, hidden):
    torch.manual_seed(0)
    return DLA34(dict(heads), hidden)


def published_file(tmp_path, heads, name="model.pth", change=lambda state: state, hidden=16, **content):
    """A file as the authors save it: not a zip, with the epoch beside the weights; the network, and the file's path."""
    network = _network(tuple(heads.items()), hidden)
    path = tmp_path / name
    torch.save(
        {"epoch": 30, "state_dict": change(dict(network.state_dict())), **content},
        path,
        _use_new_zipfile_serialization=False,
    )
    return network, path
