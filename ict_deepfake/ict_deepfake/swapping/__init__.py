"""Face swaps: masks, colour correction, blends, donors, and pairs of swaps for training (spec 2.3)."""

from ict_deepfake.swapping.donors import nearest_donor
from ict_deepfake.swapping.pairs import Swap, swap, swap_many, swap_pairs
from ict_deepfake.swapping.recipe import Recipe

__all__ = ["Recipe", "Swap", "nearest_donor", "swap", "swap_many", "swap_pairs"]
