"""Parametric talking mouths with sound: one articulation drives both, nothing else says which belong together."""

from av_deepfake.procedural.fakes import METHODS
from av_deepfake.procedural.population import SPEAKERS, Fakes, Mouths, Recordings

__all__ = ["METHODS", "SPEAKERS", "Fakes", "Mouths", "Recordings"]
