"""Two gloo processes, forked: everything is imported already, which is most of what a new process costs."""

import os
import socket
import traceback

import torch
from pytorch_lightning.utilities import rank_zero_only


def _child(rank, port, work, arguments):
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "test"}
    rank_zero_only.rank = rank  # read from the environment when Lightning was imported, in the parent
    try:
        work(rank, *arguments)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)  # without the parent's clean-up, pytest's among it


def run(work, *arguments):
    """``work(rank, *arguments)`` in two processes with the environment that torchrun gives them; fails if one does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    children = []
    for rank in range(2):
        child = os.fork()
        if child == 0:
            _child(rank, port, work, arguments)
        children.append(child)
    ended = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert ended == [0, 0], f"the processes ended with {ended}"
