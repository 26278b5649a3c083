"""Defects of every kind and size planted on real films: what is restored of them, and what is left alone beside them.

    python benchmarks/planted.py --figure figures/planted.png

The scan itself is the truth, with the defects of its own, so numbers outside are of leaving alone. Sizes: of the
generator's training frames (1x), and as large as on a film that was scanned at the size of the whole frame (film size).
"""

import sys
import time
from pathlib import Path

from shared_utils import cli

SCANS = ("train_robbery_1903", "archive_001", "market_street_1906", "archive_003")
VIDEO, VIDEO_BEGINS = "remaster_clip/a-bomb_blast_effects_part.mp4", 60
KINDS = ("lasting scratches", "flickering scratches", "dirt", "hairs", "blotches")
COLUMNS = ("inside", "outside", "sharpness", "flicker", "changed outside", "CPU s")


def planted(
    data: str = "../../shared/data/old_films_rtn",
    ckpt: str = "bundled",
    first: str | None = None,
    vapoursynth: str | None = None,
    frames: int = 5,
    crop: int = 192,
    kinds: str = ",".join(KINDS),
    films: int = 5,
    out: str = "runs/planted",
    figure: str | None = None,
    seed: int = 0,
) -> None:
    """Print tables by kind and size, and of how well the maps find what was planted.

    Args:
        data: folder of the films.
        ckpt: networks as --ckpt of restore.py takes them, with commas between; bundled is the one of the package.
        first: a network without a detector whose changes are all made, in one pass, as the first version did.
        vapoursynth: a Python that has VapourSynth (see peers/spotless_descratch.py): SpotLess and DeScratch are measured, too.
        frames: of every film.
        crop: side of the square in the middle of the frames that is restored.
        kinds: of defects, with commas between.
        films: how many of the films.
        out: folder for the rows of every film.
        figure: a picture of the widest lasting scratches to write.
        seed: of the defects.
    """
    import numpy as np
    import torch

    from old_films_rtn import metrics, pretrained
    from old_films_rtn.baselines import residual_map
    from old_films_rtn.compositing import Compositing
    from old_films_rtn.data.drawn import size_of
    from old_films_rtn.defect_map import change_map
    from old_films_rtn.detection import clip_defects
    from old_films_rtn.flow import DIS, clip_flows
    from shared_utils.logging import table, write_table

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    tried = [
        (Path(name).stem, pretrained.load(None if name == "bundled" else name), Compositing())
        for name in ckpt.split(",")
    ]
    if first is not None:
        tried.insert(0, ("first version", pretrained.load(first), Compositing(everywhere=True)))
    rows, scores, truth, shown = [], {}, [], []
    for film, whole in real_films(Path(data), frames)[:films]:
        height, width = whole.shape[1:]
        top, left = ((side - min(crop, side)) // 2 // 16 * 16 for side in (height, width))
        clean = whole[:, top : top + crop, left : left + crop]
        clean = clean[:, : clean.shape[1] // 16 * 16, : clean.shape[2] // 16 * 16]
        for kind, size, scale in sizes(kinds.split(","), size_of(height, width)):
            codes, defect = plant(clean, kind, scale, seed)
            truth.append(defect.ravel())
            clip = as_clip(codes)[None]
            flows = clip_flows(DIS(), clip)
            maps = {"residual detector": residual_map(clip, *flows)}
            restored = {"input": (clip, 0.0), "temporal median": temporal_median(clip, flows)}
            if vapoursynth is not None:
                restored |= peers(vapoursynth, codes)
            for name, network, how in tried:
                begun = time.process_time()
                result = as_clip(network(codes, how, passes=1 if how.everywhere else None)[0])[None]
                restored[name] = result, (time.process_time() - begun) / len(codes)
                if network.detects:
                    maps[name] = clip_defects(network.rtn, clip, *flows)
                elif how.everywhere:
                    maps[f"{name}, its change"] = change_map(result, clip)
            for name, (result, spent) in restored.items():
                row = {"film": film, "defects": kind, "size": size, "method": name}
                rows.append(row | judged(result, clean, codes, defect) | {"CPU s": spent})
                if (kind, size) == ("lasting scratches", "film size"):
                    shown.append((film, name, as_codes(result), clean))
            for name, found in maps.items():
                scores.setdefault(name, []).append(found.numpy().ravel())
            print(f"{film}, {kind}, {size}", file=sys.stderr, flush=True)
    write_table(rows, Path(out) / "films")
    summary = means(rows, ("defects", "size", "method"))
    write_table(summary, Path(out) / "kinds")
    print(table(summary, f"{films} real films, {frames} frames of {crop}x{crop}, outside as the scan is"))
    whole_truth = np.concatenate(truth)
    found = [
        {"map": name, **metrics.mask_scores(np.concatenate(parts), whole_truth)._asdict()}
        for name, parts in scores.items()
    ]
    write_table(found, Path(out) / "maps")
    print(table(found, "maps against what was planted"))
    if figure:
        draw(shown, figure)


def sizes(kinds, film_size):
    """(kind, name of the size, scale); blotches are as large as they are."""
    for kind in kinds:
        if kind != "blotches":
            yield kind, "1x", 1.0
        yield kind, "film size", film_size


def means(rows, keys):
    """A row for every value of the keys, in order, with the means of the columns."""
    import numpy as np

    groups = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    columns = [column for column in COLUMNS if column in rows[0]]
    return [
        dict(zip(keys, group, strict=True)) | {name: float(np.nanmean([row[name] for row in own])) for name in columns}
        for group, own in groups.items()
    ]


def real_films(root, count):
    """(name, frames (t, h, w) uint8) of every film. Raises UserError where one is missing."""
    from itertools import islice

    import numpy as np

    from old_films_rtn.video.io import open_film

    films = [(name, open_film(root / name), 0) for name in SCANS]
    films.append(("remaster_clip", open_film(root / VIDEO), VIDEO_BEGINS))
    return [
        (name, np.stack([frame.luma for frame in islice(film.frames(), begin, begin + count)]))
        for name, film, begin in films
    ]


class Planted:
    """Defects of one kind and size, as ``data.clips`` takes them."""

    def __init__(self, kind, scale):
        from old_films_rtn.data.drawn import DrawnTextures

        self.kind, self.scale, self.drawn = kind, scale, DrawnTextures(1.0)

    def draw(self, rng, frames, height, width):
        return self.drawn.of_kind(self.kind, rng, frames, height, width, self.scale)


def plant(clean, kind, scale, seed):
    """(codes (t, h, w) uint8, where a defect is, bool); drawn again where chance drew none."""
    import numpy as np

    from old_films_rtn import metrics
    from old_films_rtn.data.clips import degrade_clip
    from old_films_rtn.data.degradation import Degradation

    plain = Degradation(sharpen_target=False, quality=0.0, flicker=False)
    for again in range(100):
        rng = np.random.default_rng((seed, KINDS.index(kind), again))
        sample = degrade_clip(clean, Planted(kind, scale), plain, rng)
        defect = sample["mask"][:, 0].numpy() > metrics.DEFECT
        if defect.mean() > 0.001:
            break
    return ((sample["lq"][:, 0] + 1) * 127.5).round().byte().numpy(), defect


def as_clip(codes):
    from old_films_rtn.data import clips

    return clips.as_clip(codes)


def as_codes(clip):
    return ((clip[0, :, 0] + 1) * 127.5).round().clamp(0, 255).byte().numpy()


def temporal_median(clip, flows):
    from old_films_rtn import baselines

    begun = time.process_time()
    return baselines.temporal_median(clip, *flows), (time.process_time() - begun) / clip.shape[1]


def peers(python, codes):
    """Name -> (clip, CPU seconds a frame) of the methods in ``peers/spotless_descratch.py``."""
    import io
    import subprocess

    import numpy as np

    packed = io.BytesIO()
    np.save(packed, codes)
    script = Path(__file__).parent / "peers" / "spotless_descratch.py"
    done = subprocess.run([python, str(script)], input=packed.getvalue(), stdout=subprocess.PIPE, check=True)
    with np.load(io.BytesIO(done.stdout)) as found:
        names = [name for name in found.files if found[name].ndim]
        return {name: (as_clip(found[name])[None], float(found[f"{name} seconds"])) for name in names}


def judged(restored, clean, codes, defect):
    """dB inside and outside; Laplacian energy outside and change from frame to frame over those of the film itself; and
    the share of the pixels outside, away from defects, that are not what they were."""
    import cv2
    import numpy as np

    restored = as_codes(restored)
    error = (restored.astype(np.float64) - clean) ** 2

    def decibels(where):
        return float(10 * np.log10(255**2 / max(error[where].mean(), 1e-3)))

    def sharp(clip):
        maps = np.stack([cv2.Laplacian(frame.astype(np.float64), cv2.CV_64F) ** 2 for frame in clip])
        return maps[~near].mean()

    def steps(clip):
        return np.abs(np.diff(clip.astype(np.float64), axis=0)).mean()

    near = np.stack([cv2.dilate(frame.astype(np.uint8), np.ones((9, 9), np.uint8)) for frame in defect]).astype(bool)
    near &= not near.all()
    return {
        "inside": decibels(defect),
        "outside": decibels(~defect),
        "sharpness": sharp(restored) / sharp(clean),
        "flicker": steps(restored) / steps(clean),
        "changed outside": float((restored != codes)[~near].mean()),
    }


def draw(shown, path):
    """A row a film: the middle frame of every method, and the film itself, labelled."""
    from matplotlib.figure import Figure

    from shared_utils.logging import save_figure

    films, methods = (list(dict.fromkeys(row[column] for row in shown)) for column in (0, 1))
    methods = [name for name in methods if name not in ("temporal median", "DeScratch, SpotLess")]
    figure = Figure(figsize=(2.6 * (len(methods) + 1), 2.75 * len(films)), layout="constrained")
    axes = figure.subplots(len(films), len(methods) + 1, squeeze=False)
    for row, film in zip(axes, films, strict=True):
        pictures = {name: restored for other, name, restored, _ in shown if other == film and name in methods}
        pictures["the film itself"] = next(clean for other, _, _, clean in shown if other == film)
        for axis, (name, clip) in zip(row, pictures.items(), strict=True):
            axis.imshow(clip[len(clip) // 2], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axis.set(xticks=[], yticks=[], title=name)
        row[0].set_ylabel(film)
    save_figure(figure, path)
    print(f"{path}: lasting scratches of film size")


if __name__ == "__main__":
    sys.exit(cli.run(planted))
