"""Draw ranked galleries, a map of features, corrected labels or tracks."""

from typing import Literal

from shared_utils import cli


def visualize(
    what: Literal["ranks", "tsne", "corrections", "tracks"],
    out: str | None = None,
    ckpt: str | None = None,
    data: str | None = None,
    labels: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
) -> None:
    """Draw one picture, or one page.

    Args:
        what: ranks: a page of the worst queries with their ranked galleries; tsne: a map of features, a colour a person, a
            mark a camera; corrections: ids before and after the correction; tracks: crops as the tracker labelled them.
        out: the file; runs/visualize/WHAT.png (.html for ranks) where not given. The ending gives the kind of picture.
        ckpt: the model of ranks and tsne; the bundled one where not given.
        data: of ranks and tsne a data set, of corrections and tracks a store; the procedural street where not given.
        labels: of corrections: labels_epochNN.npz of a training.
        limit: queries (20), persons (10), ids (4) or tracks (6) that are shown.
        seed: of the procedural street of corrections and tracks.
        device: auto, cpu, cuda, mps.
        overwrite: replace the file.
    """
    from pathlib import Path

    from shared_utils import UserError, distributed, files

    if (labels is None) == (what == "corrections"):
        need = "needs --labels runs/NAME/version_0/labels_epochNN.npz" if labels is None else "does not take --labels"
        raise UserError(f"visualize {what} {need}")
    if limit is not None and limit < 1:
        raise UserError(f"--limit must be at least 1, got {limit}")
    path = Path(out or f"runs/visualize/{what}.{'html' if what == 'ranks' else 'png'}")
    files.refuse_existing(path, overwrite)
    count = limit or {"ranks": 20, "tsne": 10, "corrections": 4, "tracks": 6}[what]

    from luperson_nl import pretrained, visualization

    if what in ("ranks", "tsne"):
        embedder = pretrained.load(ckpt, distributed.choose_device(device))
        draw = visualization.ranks if what == "ranks" else visualization.feature_map
        draw(embedder, data, path, count)
    elif what == "corrections":
        visualization.corrections(str(labels), data, path, count, seed)
    else:
        visualization.tracks(data, path, count, seed)
    print(f"wrote {path}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(visualize, argv)
