"""How well a network recognises people from one frame to a later one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from mot_occlusion.data.evaluation_pairs import EvaluationPairs
from mot_occlusion.metrics import HALF_SEEN, WHOLE_SEEN, recognition
from mot_occlusion.models import HeadedNetwork

if TYPE_CHECKING:
    from mot_occlusion.lightning_module import TrackingModule


@torch.inference_mode()
def rank1_of(network: HeadedNetwork, pairs: EvaluationPairs, device: torch.device) -> list[tuple[int, int]]:
    """Rank-1 hits and queries: people found again some frames later, under a new light (see ``metrics.recognition``).

    Returns:
        Two pairs of numbers: of people seen to a half in both frames, and of those seen nearly whole.
    """
    network, found = network.to(device).eval(), np.zeros((2, 2), int)
    for pair in (pairs[index] for index in range(len(pairs))):
        maps = network(torch.stack((pair["image"], pair["image_later"])).to(device))["id"]
        found += [recognition(maps, (pair["now"], pair["later"]), seen) for seen in (HALF_SEEN, WHOLE_SEEN)]
    return [(int(hits), int(queries)) for hits, queries in found]


def compare_with_untrained(module: TrackingModule, pairs: EvaluationPairs) -> tuple[float, float]:
    """The shares of people seen to a half who are recognised: by a network as before training, and by the trained one."""
    torch.manual_seed(0)
    untrained = type(module)(**{**module.hparams, "init": None, "train_only": None})
    found = [rank1_of(each.network, pairs, torch.device("cpu")) for each in (untrained, module)]
    before, after = (hits / max(1, queries) for (hits, queries), _ in found)
    return before, after
