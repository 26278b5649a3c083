"""Does the estimated offset follow the sound? Real clips whose sound is moved by known numbers of frames.

    python preprocess.py GRID --out mouths
    python benchmarks/shift_test.py mouths

A small pair of branches is trained from scratch on some of the clips and measures all of them, with the sound moved by -6 to 6
frames. On the clips that it has seen this is a test of the procedure, time stamps and signs included, and none of the model;
the held-out ones show what so few clips teach about others. ``--ckpt`` measures a given model instead, on all clips.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from shared_utils import cli
from shared_utils.logging import progress, table

if TYPE_CHECKING:
    from av_deepfake.preprocessing import Mouths
    from av_deepfake.preprocessing.store import Store
    from av_deepfake.pretrained import MouthModel

SHIFTS = (-6, -4, -2, 0, 2, 4, 6)
_NETWORK = {"widths": [8, 16, 32], "blocks": [1, 1, 1], "dim": 48, "depth": 2, "heads": 4, "mlp": 96, "dropout": 0.0}
_FRONT = {"channels": 8, "stem_pooling": False, "grid": 3}


def adapted(found: Store, names: list[str], steps: int, seed: int) -> MouthModel:
    """Branches as of configs/default.yaml, trained on these clips alone; a window of each clip is a step's batch."""
    import torch

    from av_deepfake.data.stored import StoredMouths
    from av_deepfake.data.talking import TalkingBatches
    from av_deepfake.models.branches import AudioVisual
    from av_deepfake.objective import Agreement, Recipe
    from av_deepfake.pretrained import MouthModel

    torch.manual_seed(seed)
    network = {**_NETWORK, "positions": "learned", "pooling": "mean"}
    pair = AudioVisual({**network, **_FRONT}, network, 48, compare="frames")
    crops = {"crop_size": 24, "size": 24, "variant": "subpixel", "landmarks": "mtcnn5"}
    model = MouthModel(pair, preprocessing=crops)

    class Small(StoredMouths):
        def pictures(self, video: int, start: int, count: int) -> np.ndarray:
            return model.prepared(super().pictures(video, start, count))

    batches = TalkingBatches(Small(found, names), len(names), 24, seed=seed)
    recipe = Recipe(rate=2e-3, weight_decay=0.01, warmup=0.05)
    optimizer = torch.optim.AdamW(recipe.groups(pair.parameters()))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: recipe.factor(step / steps))
    pair.train()
    for step in progress(range(steps), "adapting"):
        optimizer.zero_grad()
        Agreement().terms(pair, batches[step])["loss"].backward()
        optimizer.step()
        schedule.step()
    pair.eval()
    return model


def moved(samples: np.ndarray, frames: int) -> np.ndarray:
    """The sound that many frames later (earlier where negative), zeros where there is none."""
    count = 640 * abs(frames)
    if not count:
        return samples
    silence = np.zeros(count, np.float32)
    return np.concatenate([silence, samples[:-count]] if frames > 0 else [samples[count:], silence])


def measured(model: MouthModel, clips: list[Mouths]) -> dict[str, float]:
    """How the offset follows the shift: shares of all clips and shifts."""
    moves, answered, total = [], 0, 0
    for clip in progress(clips, "listening"):
        pictures, samples = np.asarray(clip.pictures), clip.samples()
        best = {}
        for shift in SHIFTS:
            found = model.synchrony(pictures, moved(samples, shift))
            best[shift] = int(found.shifts[np.argmin(found.distances)])
            answered += found.offset is not None
            total += 1
        moves += [best[shift] - best[0] - shift for shift in SHIFTS if shift]
    errors = np.abs(moves)
    return {
        "clips": len(clips),
        "moved by exactly the shift": round(float((errors == 0).mean()), 3),
        "within 1 frame": round(float((errors <= 1).mean()), 3),
        "offset given": round(answered / total, 3),
    }


def shift_test(data: str, ckpt: str | None = None, steps: int = 300, held: int = 3, seed: int = 0) -> None:
    """Move the sound of real clips and see whether the offset follows.

    Args:
        data: the output of preprocess.
        ckpt: a model with both branches; one is trained on the clips where not given.
        steps: of that training.
        held: clips that it does not see.
        seed: of weights and draws.
    """
    from av_deepfake import pretrained
    from av_deepfake.preprocessing import store

    found = store.open(data)
    names = found.names
    if ckpt is not None:
        model, parts = pretrained.load(ckpt), {"no": names}
    else:
        model = adapted(found, names[held:], steps, seed)
        parts = {"yes": names[held:], "no": names[:held]}
    print(table([{"seen": seen, **measured(model, [found[name] for name in own])} for seen, own in parts.items()]))


if __name__ == "__main__":
    raise SystemExit(cli.run(shift_test))
