"""Measure restorations: a network on clips whose truth is known, or restored frames in a folder."""

from typing import Literal

from shared_utils import cli


def evaluate(
    ckpt: str | None = None,
    single: str | None = None,
    pred: str | None = None,
    gt: str | None = None,
    data: str | None = None,
    textures: str | None = None,
    out: str | None = None,
    protocol: Literal["script", "paper"] = "script",
    flow: str = "dis",
    clips: int = 32,
    frames: int = 7,
    size: int = 64,
    lpips: list[str] | None = None,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Print tables of scores, and with --out write them, a row a clip, and a figure.

    Two ways: --pred restored --gt clean compares folders of frames; --ckpt compares a network with the input and the
    temporal median on degraded clips (made ones, or --data), and its mask with the classical residual detector.

    Args:
        ckpt: what restore takes as --ckpt; the bundled network where neither it nor pred is given.
        single: a run of the same network trained on single frames (model.single_frame), to compare with.
        pred: restored frames: a folder, or a folder of clip folders.
        gt: the true frames, in the same layout.
        data: clean clips to degrade, instead of made ones.
        textures: scratch templates for them; drawn defects where not given.
        out: a folder for scores.csv and scores.md (a row a clip) and, of a network, summary, masks and comparison.png.
        protocol: script (8-bit colour, Gaussian window 11) or paper (grey, uniform window 21), for pred and gt.
        flow: dis, raft:FILE, checkpoint, none, or known (of made clips).
        clips: how many degraded clips.
        frames: of each of them.
        size: height and width of made clips, crop of others; a multiple of 16.
        lpips: for pred and gt, the files of AlexNet and of LPIPS, [alexnet-owt-7be5be79.pth, alex.pth]; without them the
            column says that it is not available.
        device: auto, cpu, cuda, mps.
        resume: continue an interrupted evaluation into the same folder.
        overwrite: replace what is there.
    """
    from shared_utils import UserError

    if (pred is None) != (gt is None):
        raise UserError("--pred and --gt go together: the restored frames and the true ones")
    if clips < 1 or frames < 1 or size < 16 or size % 16:
        raise UserError("clips and frames must be at least 1, size a multiple of 16")
    from old_films_rtn.evaluation import report
    from shared_utils import distributed, logging

    with distributed.process_group():
        place = report.Place(out, resume, overwrite)
        if pred is not None and gt is not None:
            tables = report.folders(pred, gt, protocol, flow, lpips, place)
        else:
            tables = report.network(ckpt, single, flow, (clips, frames, size), data, textures, device, place)
        if distributed.rank() == 0:
            print("\n\n".join(logging.table(table.rows, table.title) for table in tables))
            print(f"wrote {out}" if out else "give --out to keep the scores of every clip")


def main(argv: list[str] | None = None) -> int:
    return cli.run(evaluate, argv)
