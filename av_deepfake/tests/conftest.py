"""What several test files share."""

import socket

import pytest
import torch

from shared_utils.testing import Processes

# Small tensors gain nothing from threads, and on a busy machine threads wait for each other.
torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def no_network():
    """Nothing here needs another machine: what tries to reach one fails."""
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def near(host):
        return host in (None, "", "localhost") or str(host).startswith("127.") or host == "::1"

    def connect_here(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and not near(address[0]):
            raise OSError(f"tests have no network, and something asks for {address[0]}")
        return connect(self, address)

    def look_up_here(host, *arguments, **options):
        if not near(host):
            raise OSError(f"tests have no network, and something asks for {host}")
        return look_up(host, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect_here)
        patch.setattr(socket, "getaddrinfo", look_up_here)
        yield


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """An empty folder to run a command in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def processes(tmp_path_factory):
    """Starts processes of their own that have torch and the networks already loaded."""
    return Processes(["av_deepfake.models.branches"], tmp_path_factory.mktemp("processes"))
