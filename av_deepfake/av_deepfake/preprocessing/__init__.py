"""From a video to the crops of its mouth and its sound, on one clock.

``read_video`` gives them in memory, ``store.write`` puts them on disk as they are read, ``store.open`` maps what is there.
"""

from av_deepfake.preprocessing import store as store
from av_deepfake.preprocessing.clock import FPS as FPS
from av_deepfake.preprocessing.clock import RATE as RATE
from av_deepfake.preprocessing.clock import SAMPLES as SAMPLES
from av_deepfake.preprocessing.mouths import Mouths as Mouths
from av_deepfake.preprocessing.mouths import read_video as read_video
from av_deepfake.preprocessing.mouths import resized as resized
from av_deepfake.preprocessing.video import MouthVideo as MouthVideo
from av_deepfake.preprocessing.video import Settings as Settings
from av_deepfake.preprocessing.video import sharpness as sharpness
