"""Parametric faces: people with an inner and an outer face, their pictures, and swaps of them (spec 3.5).

Nothing is downloaded; a seed decides everything, and 4000 pictures of 32 pixels take about a second.
"""

from ict_deepfake.procedural.faces import FaceSet, TestFaces
from ict_deepfake.procedural.fakes import CONTROLS, SWAPS
from ict_deepfake.procedural.people import INNER, OUTER, People
from ict_deepfake.procedural.population import Population

__all__ = ["CONTROLS", "INNER", "OUTER", "SWAPS", "FaceSet", "People", "Population", "TestFaces"]
