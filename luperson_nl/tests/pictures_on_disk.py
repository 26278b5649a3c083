"""Small data sets of painted people, in the layouts of re-identification."""

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = [(220, 40, 40), (40, 200, 60), (50, 70, 220), (220, 210, 60), (200, 60, 210)]


def picture(path, person, seed=0):
    """A person in colours of its own, 32x16."""
    draw = np.random.default_rng([person, seed])
    image = draw.integers(90, 110, (32, 16, 3))
    image[4:16, 4:12] = COLOURS[person % 5]
    image[16:30, 5:11] = COLOURS[(person // 5 + person + 1) % 5]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(image + draw.normal(0, 6, image.shape), 0, 255).astype(np.uint8)).save(path, quality=95)


def market(root, persons=5, cameras=(1, 2), each=3):
    """``query`` and ``bounding_box_test``: a query for each person and camera, ``each`` pictures in the gallery."""
    for person in range(1, persons + 1):
        for camera in cameras:
            for frame in range(each + 1):
                part = "query" if frame == 0 else "bounding_box_test"
                name = f"{person:04d}_c{camera}s1_{frame * 40:06d}_00.jpg"
                picture(Path(root) / part / name, person, 10 * camera + frame)
    return Path(root)


def embedder(folder):
    """A small embedder with weights of its own, as a folder."""
    import torch

    from luperson_nl.pretrained import Embedder

    torch.manual_seed(0)
    Embedder("trunk", "resnet_mini", size=(32, 16)).save_pretrained(folder)
    return str(folder)
