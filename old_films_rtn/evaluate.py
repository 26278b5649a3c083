"""Quality of restorations: of a network on clips whose truth is known, or of restored frames in a folder."""

import sys
from typing import Literal

from old_films_rtn import commands


def evaluate(
    ckpt: str | None = None,
    single: str | None = None,
    pred: str | None = None,
    gt: str | None = None,
    data: str | None = None,
    textures: str | None = None,
    csv: str | None = None,
    protocol: Literal["script", "paper"] = "script",
    flow: str = "dis",
    clips: int = 32,
    frames: int = 7,
    size: int = 64,
    lpips: list[str] | None = None,
    figure: str | None = None,
    device: str = "auto",
) -> None:
    """Print a table of scores, and write a row a clip as CSV.

    Two ways: --pred restored --gt clean compares folders of frames; --ckpt compares a network with the input and the
    temporal median on degraded clips (made ones, or --data), and its mask with the classical residual detector.

    Args:
        ckpt: a checkpoint, or the folder of a run; the network that comes with the package where neither it nor pred is given.
        single: a checkpoint of the same network trained on single frames (model.single_frame), to compare with.
        pred: restored frames: a folder, or a folder of clip folders.
        gt: the true frames, in the same layout.
        data: clean clips to degrade, instead of made ones.
        textures: scratch templates for them; drawn defects where not given.
        csv: where to write a row a clip.
        protocol: script (8-bit colour, Gaussian window 11) or paper (grey, uniform window 21), for pred and gt.
        flow: dis, raft:FILE, checkpoint, none, or known (of made clips).
        clips: how many degraded clips.
        frames: of each of them.
        size: height and width of made clips, crop of others; a multiple of 16.
        lpips: for pred and gt, the files of AlexNet and of LPIPS, [alexnet-owt-7be5be79.pth, alex.pth]; without them the
            column says that it is not available.
        figure: where to draw a comparison of the first degraded clip.
        device: auto, cpu, cuda, mps.
    """
    from logging import getLogger

    from old_films_rtn import evaluation
    from old_films_rtn.flow import flow_source
    from shared_utils import UserError, distributed, logging

    if (pred is None) != (gt is None):
        raise UserError("--pred and --gt go together: the restored frames and the true ones")
    if clips < 1 or frames < 1 or size < 16 or size % 16:
        raise UserError("clips and frames must be at least 1, size a multiple of 16")
    with distributed.process_group():
        if pred is not None:
            distance = None if lpips is None else evaluation.perceptual_distance(lpips)
            rows = folder_rows(pred, gt, protocol, flow_source(flow), distance)
            if distributed.rank() == 0:
                write_rows(csv, rows)
                print(logging.table([*rows, evaluation.mean_row(rows)]))
                print(f"variant: {VARIANTS[protocol]}; warping error in thousandths, along the flow of the true frames")
            return
        from old_films_rtn import published

        place = distributed.choose_device(device)
        loaded = published.load(ckpt or published.TRAVELLING)
        rtn = loaded.rtn.to(place)
        methods = {
            "input": lambda clip, forward_flow, backward_flow: clip,
            "temporal median": evaluation.temporal_median,
        }
        if single is not None:
            methods["single frames"] = evaluation.single_frames(published.load(single).rtn.to(place))
        methods["recurrent"] = recurrent = evaluation.Recurrent(rtn)
        detectors = {**recurrent.masks(), "residual": evaluation.residual_map}
        source = None if flow == "known" else flow_source(flow, loaded.raft)
        judged = evaluation.Evaluation(methods, detectors, source, place)
        dataset = evaluation.held_out(clips, frames, size, data, textures)
        for index in logging.progress(distributed.share(range(len(dataset))), "clips"):
            judged.add(dataset[0, index])
        judged.gather()
        if distributed.rank() == 0:
            write_rows(csv, judged.rows)
            if judged.is_undecided("mask"):
                getLogger(__name__).warning(
                    "the mask is near 0.5 everywhere: this network does not tell defects from the film"
                )
            print(
                logging.table(
                    judged.summary(),
                    f"{len(dataset)} clips of {frames} frames, flow: {flow}; 8-bit SSIM, window 11; warping error in thousandths",
                )
            )
            print(logging.table(judged.masks(), "maps against the true defects, all interior pixels"))
            if figure is not None:
                from old_films_rtn import figures

                figures.comparison(figure, dataset[0, 0], rtn.cpu(), single and published.load(single).rtn)
                print(f"wrote {figure}")


VARIANTS = {
    "script": "script (8-bit colour, SSIM with a Gaussian window of 11)",
    "paper": "paper's protocol (grey, data range 1, SSIM with a uniform window of 21)",
}


def folder_rows(pred, gt, protocol, source, distance):
    """A row a clip; under torchrun each process takes its share of the clips."""
    from old_films_rtn import evaluation
    from shared_utils import distributed, logging

    pairs = evaluation.matching_clips(pred, gt)
    own = [
        {"clip": name, **evaluation.score_folder(pairs[name], protocol, source, distance)}
        for name in logging.progress(distributed.share(sorted(pairs)), "clips")
    ]
    return sorted((row for rows in distributed.gather_objects(own) for row in rows), key=lambda row: row["clip"])


def write_rows(path, rows):
    """A CSV file that is whole or not there; nothing without a path."""
    import csv

    from shared_utils import checkpoint

    if path is None:
        return
    with checkpoint.replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def main(argv: list[str] | None = None) -> int:
    return commands.run(evaluate, argv)


if __name__ == "__main__":
    sys.exit(main())
