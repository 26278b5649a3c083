"""Test sets of face forgery detection as people have them on disk, each read into a ``TestSet``."""

from ict_deepfake.data.test_sets.reading import FORMATS, open_test_set
from ict_deepfake.data.test_sets.sets import Clip, RootMap, TestSet

__all__ = ["FORMATS", "Clip", "RootMap", "TestSet", "open_test_set"]
