"""The sensitivity map of one cloud."""

from __future__ import annotations

import numpy as np
import torch

from si_adv.attacks import sensitivity_map
from si_adv.data.sample import Sample
from si_adv.victim import Victim


def label_and_map(victim: Victim, sample: Sample, label: str | None = None) -> tuple[str, np.ndarray]:
    """The predicted class by name, and the map (N,) of how much leaving ``label`` moves along the surface.

    Args:
        victim: the classifier.
        sample: the cloud.
        label: the class to leave, by name or number; None: the predicted one.
    """
    points, normals = sample.points[None], sample.normals[None]
    predicted = int(victim.predict(victim.input_of(points, normals)).argmax())
    number = predicted if label is None else victim.class_number(label)
    device = next(victim.parameters()).device
    values, _ = sensitivity_map(victim, points.to(device), torch.tensor([number], device=device), normals.to(device))
    return victim.class_names[predicted], values[0].cpu().numpy()
