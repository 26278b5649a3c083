"""What is installed with the project, and what works without a network (see ``no_network`` in conftest.py)."""

import importlib.metadata
import re
import socket
import sys

import numpy as np
import pytest

from av_deepfake import load
from av_deepfake.landmarks.mtcnn import MTCNN


def test_tests_have_no_network():
    with pytest.raises(OSError, match="tests have no network"):
        socket.create_connection(("192.0.2.1", 80), timeout=0.1)
    with pytest.raises(OSError, match="tests have no network"):
        socket.create_connection(("example.invalid", 80), timeout=0.1)


def test_weights_of_faces_and_mouths_are_there_without_a_network():
    assert len(MTCNN().find(np.zeros((64, 64, 3), np.uint8)).boxes) == 0
    assert load().score(np.zeros((1, 25, 96, 96), np.uint8)).shape == (1,)
    assert not {"torchaudio", "torchcodec"} & set(sys.modules)


def test_sound_comes_with_pyav_and_not_with_torch():
    required = importlib.metadata.requires("tenpapers-av-deepfake") or []
    always = {line for line in required if "extra ==" not in line}
    assert "tenpapers-shared-utils[video]" in always
    video = importlib.metadata.requires("tenpapers-shared-utils") or []
    assert [line for line in video if re.match(r"av\b", line) and "video" in line]
    names = {re.split(r"[^\w-]", line, maxsplit=1)[0] for line in always}
    assert not {"torchaudio", "torchcodec", "librosa", "mediapipe"} & names
