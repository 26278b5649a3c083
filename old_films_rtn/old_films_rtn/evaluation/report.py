"""The evaluations that the verb runs: what is loaded, what is kept, and the files that are left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from old_films_rtn import figures, pretrained
from old_films_rtn.data.clips import find_clips
from old_films_rtn.evaluation.clips import evaluate_network, held_out, sample_of
from old_films_rtn.evaluation.folders import VARIANTS, evaluate_folders, matching_clips, mean_row
from old_films_rtn.models.raft import RAFT
from old_films_rtn.video.images import fingerprint
from shared_utils import checkpoint, distributed, work
from shared_utils.claim import Table
from shared_utils.logging import write_table
from shared_utils.work import Work


@dataclass(frozen=True)
class Place:
    """The folder of an evaluation, and what to do with what is in it; without a folder nothing is kept."""

    out: str | None = None
    resume: bool = False
    overwrite: bool = False

    @contextmanager
    def begin(self, job: dict[str, Any]) -> Iterator[Work | None]:
        """Hold the folder for a job; None without one."""
        if self.out is None:
            yield None
            return
        with work.begin(self.out, job, resume=self.resume, overwrite=self.overwrite) as store:
            yield store
            store.complete()

    def write(self, **tables: Sequence[dict[str, Any]]) -> None:
        """Write tables by their names; on one process."""
        if self.out is not None and distributed.rank() == 0:
            for name, rows in tables.items():
                write_table(rows, Path(self.out) / name)


def folders(pred: str, gt: str, protocol: str, flow: str, lpips: Sequence[str] | None, place: Place) -> list[Table]:
    """Folders of restored frames against the true ones; the arguments are those of the verb."""
    clips = matching_clips(pred, gt)
    distance = None if lpips is None else pretrained.perceptual_distance(lpips)
    source = pretrained.flow_source(flow)
    files = [frame for name in sorted(clips) for kind in clips[name] for frame in kind]
    job = {
        "frames": fingerprint(files),
        "protocol": protocol,
        "flow": flow,
        "flow weights": checkpoint.weights_digest(source) if isinstance(source, RAFT) else None,
        "lpips": None if distance is None else checkpoint.weights_digest(distance),
    }
    with place.begin(job) as store:
        rows = evaluate_folders(clips, protocol, source, distance, store)
        place.write(scores=rows)
    note = f"variant: {VARIANTS[protocol]}; warping error in thousandths, along the flow of the true frames"
    return [Table(note, [*rows, mean_row(rows)])]


def network(
    ckpt: str | None,
    single: str | None,
    flow: str,
    sizes: tuple[int, int, int],
    root: str | None,
    textures: str | None,
    device: str,
    place: Place,
) -> list[Table]:
    """A network on degraded clips. sizes: number of clips, frames, pixels; root: the verb's ``data``; the others are its
    arguments, too."""
    restorer = pretrained.load(ckpt)
    alone = None if single is None else pretrained.load(single)
    source = None if flow == "known" else restorer.flow(flow)
    dataset = held_out(*sizes, root, textures)
    job = {
        "weights": checkpoint.weights_digest(restorer.state_dict()),
        "single": None if alone is None else checkpoint.weights_digest(alone.state_dict()),
        "flow": flow,
        "flow weights": checkpoint.weights_digest(source) if isinstance(source, RAFT) else None,
        "clips, frames, size": sizes,
        "data": root and fingerprint(_images(root)),
        "textures": textures and fingerprint(_images(textures)),
    }
    with place.begin(job) as store:
        where = distributed.choose_device(device)
        if isinstance(source, RAFT):
            source.to(where)
        tables, rows = evaluate_network(restorer, alone, dataset, source, flow=flow, device=where, store=store)
        place.write(scores=rows, summary=tables[0].rows, masks=tables[1].rows)
        if place.out is not None and distributed.rank() == 0:
            figures.comparison(
                Path(place.out) / "comparison.png", sample_of(dataset, 0), restorer.rtn.cpu(), alone and alone.rtn.cpu()
            )
    return tables


def _images(root: str) -> list[Path]:
    return [frame for frames in find_clips(root).values() for frame in frames]
