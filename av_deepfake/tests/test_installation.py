"""What is installed with the project, and what works without a network (see ``no_network`` in conftest.py)."""

import importlib.metadata
import re
import socket
import subprocess
import sys

import pytest

OFFLINE = """
import socket, sys

def refuse(*_):
    raise OSError("no network")

socket.socket.connect = socket.getaddrinfo = refuse
import numpy as np
from av_deepfake import load
from av_deepfake.landmarks.mtcnn import MTCNN

model = load()
assert len(MTCNN().find(np.zeros((64, 64, 3), np.uint8)).boxes) == 0
assert model.score(np.zeros((1, 25, 96, 96), np.uint8)).shape == (1,)
assert "torchaudio" not in sys.modules and "torchcodec" not in sys.modules
"""


def test_tests_have_no_network():
    with pytest.raises(OSError, match="tests have no network"):
        socket.create_connection(("192.0.2.1", 80), timeout=0.1)
    with pytest.raises(OSError, match="tests have no network"):
        socket.create_connection(("example.invalid", 80), timeout=0.1)


def test_weights_of_faces_and_mouths_are_there_without_a_network():
    done = subprocess.run([sys.executable, "-c", OFFLINE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_sound_comes_with_pyav_and_not_with_torch():
    required = importlib.metadata.requires("tenpapers-av-deepfake") or []
    always = {re.split(r"[^\w-]", line, maxsplit=1)[0] for line in required if "extra ==" not in line}
    assert "av" in always and not {"torchaudio", "torchcodec", "librosa", "mediapipe"} & always
