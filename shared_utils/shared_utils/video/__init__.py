"""Frames of any video file, stream or folder of images with their times, sound on the same clock, and an atomic writer.

    with Writer("out.mp4", source.size, source.frame_rate) as writer:
        for frame in open_source("in.mov", start=10, stop=20).frames():
            if frame.image is not None:
                writer.write(draw(frame.image), frame.time)

Second 0 is the start of the file, as a player shows it. Needs the extra ``video`` (PyAV, whose wheels carry FFmpeg).
"""

from shared_utils.video.compression import compressed as compressed
from shared_utils.video.sound import read_sound as read_sound
from shared_utils.video.source import IMAGES as IMAGES
from shared_utils.video.source import Frame as Frame
from shared_utils.video.source import Source as Source
from shared_utils.video.source import natural_order as natural_order
from shared_utils.video.source import open_source as open_source
from shared_utils.video.writer import Writer as Writer
