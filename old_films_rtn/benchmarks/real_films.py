"""Restore real films end to end, say what was kept, and draw what was changed.

    python benchmarks/real_films.py --data ../../shared/data/old_films_rtn

The video gets a made sound track before, so that something can be compared after.
"""

import sys
from pathlib import Path

from shared_utils import cli

SCANS = {
    "train_robbery_1903": (215, 120),
    "archive_001": (150, 60),
    "market_street_1906": (150, 120),
    "archive_003": (200, 150),
}
"""Folders, and the upper left corner of what is shown of them."""
SHOWN = 248, 136
"""Width and height of what is shown, in pixels."""


def real_films(
    data: str = "../../shared/data/old_films_rtn",
    ckpt: str | None = None,
    frames: int = 12,
    video_frames: int = 60,
    out: str = "runs/real_films",
    colour_ckpt: str | None = None,
    figures: str | None = None,
) -> None:
    """Print a table of what came back, and write the films, their masks and a figure.

    Args:
        data: folder of the films.
        ckpt: as for restore.py.
        frames: of every folder of scans.
        video_frames: of the video.
        out: folder for the films.
        colour_ckpt: as --ckpt of colorize.py.
        figures: folder for the pictures; OUT where not given.
    """
    from old_films_rtn.commands import colorize, restore
    from old_films_rtn.video.io import open_film
    from shared_utils import UserError
    from shared_utils.logging import table

    root, target = Path(data), Path(out)
    if not root.is_dir():
        raise UserError(f"{data} not found: --data is the folder with {', '.join(SCANS)}")
    weights = ["--ckpt", ckpt] if ckpt else []
    rows, pictures = [], []
    for name, corner in SCANS.items():
        extras = [f"--{kind}={target / name}_{kind}" for kind in ("masks",)] + [f"--report={target / name}.csv"]
        restored = run(restore, [root / name, "--out", target / name, f"--frames=0:{frames}", *extras, *weights])
        before, after = list(open_film(root / name).frames())[:frames], list(open_film(restored).frames())
        masks = list(open_film(f"{target / name}_masks").frames())
        rows.append(kept(name, before, after))
        shown = [[crop(frame.luma, corner) for frame in each] for each in zip(before, after, masks, strict=True)]
        pictures.append(max(shown, key=lambda tiles: float((tiles[0] != tiles[1]).mean())))
    film = with_sound(root / "remaster_clip" / "a-bomb_blast_effects_part.mp4", target / "with_sound.mp4")
    span = [f"--frames=0:{video_frames}"] if video_frames else []
    restored = run(
        restore, [film, "--out", target / "video.mp4", f"--side-by-side={target / 'compare.mp4'}", *span, *weights]
    )
    before = list(open_film(film).frames())[: video_frames or None]
    rows.append(kept("remaster_clip, mp4", before, list(open_film(restored).frames())))
    print(table(rows))
    whole, part = sound(film), sound(restored)
    print(f"sound: {len(part)} packets, {'equal bit for bit' if part == whole[: len(part)] else 'NOT equal'}")
    draw(pictures, Path(figures or out) / "real_films.png")
    # These key-frames were made from another scan, whose frame 869 is the video's first one.
    keys = [f"--keyframes={root / 'remaster_clip' / 'references'}", "--first-frame=869", "--align", "--frames=0:17"]
    weights = ["--ckpt", colour_ckpt] if colour_ckpt else []
    coloured = run(colorize, [film, "--out", target / "colour.mkv", "--codec=ffv1", *keys, *weights])
    draw_colour(list(open_film(coloured).frames()), Path(figures or out) / "key_frame_colour.png")


def run(command, arguments):
    if command.main([*map(str, arguments), "--overwrite"]):
        sys.exit(2)
    return arguments[2]


def kept(name, before, after):
    import numpy as np

    changes = [np.abs(a.luma.astype(float) - b.luma) for a, b in zip(before, after, strict=True)]
    return {
        "film": name,
        "frames": len(after),
        "size": "kept" if before[0].size == after[0].size else "changed",
        "time stamps": "kept"
        if [f.pts - before[0].pts for f in before] == [f.pts - after[0].pts for f in after]
        else "-",
        "mean change (levels)": float(np.mean(changes)),
        "pixels changed by more than 20 levels (%)": 100 * float(np.mean([change > 20 for change in changes])),
    }


def with_sound(source, target):
    """A copy of a silent video with a made AAC track."""
    from fractions import Fraction

    import av
    import numpy as np

    target.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(source)) as silent, av.open(str(target), "w") as container:
        video = container.add_stream_from_template(silent.streams.video[0])
        audio = container.add_stream("aac", rate=44100)
        audio.layout = "mono"
        moment = 0
        for packet in silent.demux(video=0):
            if packet.dts is None:
                continue
            while moment * 1024 / 44100 <= packet.dts * packet.time_base:
                wave = 0.3 * np.sin((1024 * moment + np.arange(1024)) * 0.05 * (1 + moment % 7 / 7))
                samples = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), "fltp", "mono")
                samples.sample_rate, samples.pts, samples.time_base = 44100, 1024 * moment, Fraction(1, 44100)
                container.mux(audio.encode(samples))
                moment += 1
            packet.stream = video
            container.mux(packet)
        container.mux(audio.encode(None))
    return target


def sound(path):
    """The packets of the first sound track."""
    import av

    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def crop(luma, corner):
    """What is shown of a plane: as 8 bits."""
    x, y = min(corner[0], luma.shape[1] - SHOWN[0]), min(corner[1], luma.shape[0] - SHOWN[1])
    return luma[y : y + SHOWN[1], x : x + SHOWN[0]]


def draw(rows, path):
    """Before, after, four times the change, and the defect map, of the frame of every film that was changed most."""
    import numpy as np
    from matplotlib.figure import Figure

    from shared_utils.logging import save_figure

    figure = Figure(figsize=(4 * 2.5, 1.48 * len(rows)), layout="constrained")
    for row, name, axes in zip(rows, SCANS, figure.subplots(len(rows), 4, squeeze=False), strict=True):
        before, after, defects = (tile.astype(np.float32) for tile in row)
        tiles = {"before": before, "after": after, "4 x the change": 128 + 4 * (after - before), "defect map": defects}
        for axis, (title, tile) in zip(axes, tiles.items(), strict=True):
            axis.imshow(tile, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            if name == next(iter(SCANS)):
                axis.set_title(title, fontsize=9)
        axes[0].set_ylabel(name, fontsize=7)
    save_figure(figure, path)
    print(f"{path}: {', '.join(SCANS)}")


def draw_colour(frames, path):
    """The first frame, the key-frame and the last frame."""
    from matplotlib.figure import Figure

    from shared_utils.logging import save_figure

    figure = Figure(figsize=(9, 2.5), layout="constrained")
    titles = {0: "5 frames before it", 5: "the key-frame, of another scan", -1: f"{len(frames) - 6} frames after it"}
    for axis, (index, title) in zip(figure.subplots(1, 3), titles.items(), strict=True):
        axis.imshow(frames[index].rgb())
        axis.set_title(title, fontsize=10)
        axis.axis("off")
    save_figure(figure, path)
    print(f"{path}: frames 0, 5 (given in colour) and {len(frames) - 1}")


if __name__ == "__main__":
    sys.exit(cli.run(real_films))
