"""Restore a film."""

from typing import Literal

from shared_utils import cli


def restore(
    film: str,
    out: str | None = None,
    ckpt: str | None = None,
    flow: str = "auto",
    passes: int | None = None,
    strength: float = 1.0,
    mask: str | None = None,
    mask_threshold: float | None = None,
    everywhere: bool = False,
    protect: str | None = None,
    max_change: float | None = None,
    grain: float = 0.0,
    preview: int | None = None,
    masks: str | None = None,
    side_by_side: str | None = None,
    report: str | None = None,
    cuts: str = "auto",
    dedup: Literal["auto", "off"] = "auto",
    frames: str | None = None,
    short_side: int | None = None,
    windowing: Literal["streaming", "published"] = "streaming",
    chunk: int | None = None,
    lookahead: int | None = None,
    tile: int | None = None,
    memory: float = 4.0,
    precision: Literal["fp32", "bf16", "fp16"] = "fp32",
    device: str = "auto",
    workers: int = 1,
    codec: str | None = None,
    crf: int = 16,
    rate: float | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Restore a film: same size, frames, timing, sound, colour tags; only its luma is changed.

    Args:
        film: a video file or a folder of frames.
        out: video file (mp4, mkv, mov, webm, avi, ts) or folder; FILM_restored beside the film where not given.
        ckpt: a run of train.py or a checkpoint of it, a released net_G_*.pth, an imported or exported folder, a
            .safetensors, or a hub id; the small bundled network where not given.
        flow: auto (RAFT where the checkpoint has it, else dis), checkpoint, raft:FILE, dis (OpenCV) or none.
        passes: how often the film is restored, each time with the flow of what the last one restored; 1 for the bundled
            network, which fills in defects before, and the authors' checkpoints, 2 for others where not given.
        strength: share of the change that is made, 0 to 1.
        mask: where to restore, instead of where the network finds defects: what --masks wrote, corrected by hand; an image,
            white on defects, or a folder of one for every frame.
        mask_threshold: from which probability on a pixel is a defect; 0.5 where not given. For networks without a detector:
            from which change on, as a share of the range from black to white; 0.08 where not given.
        everywhere: make what the network changes outside defects, too: grain and flicker go.
        protect: an image, white where nothing may change, or a folder of one for every frame.
        max_change: largest change of a pixel, as a share of the range from black to white.
        grain: with everywhere, share of the removed grain that is put back outside defects, 0 to 1.
        preview: write only this frame, before, after and its defect map, as one image to out; in seconds.
        masks: write the defect maps to this video or folder, white where the picture was changed.
        side_by_side: write a video or folder of before and after, side by side.
        report: write a CSV with the defects of every frame.
        cuts: auto, off, or a CSV of first frames; what auto finds is written beside the report as REPORT.cuts.csv.
        dedup: auto restores a repeated frame once; off restores every frame by itself.
        frames: a part of the film, first:end, for example 100:200.
        short_side: write a smaller, grey film, its shorter side scaled to this (the published script: 368).
        windowing: streaming, or the published windows of 20 frames every 10, for comparison.
        chunk: frames whose states are in memory; the result does not depend on it. Chosen by memory where not given.
        lookahead: frames behind a chunk that the backward recurrence sees; to the end of the shot where not given. Needs
            no room on disk for the states of long shots.
        tile: side of the tiles of the transformer, in pixels; exact. Chosen by memory where not given.
        memory: GB that states and transformer may take together.
        precision: of the network; flow and coordinates are always fp32.
        device: auto, cpu, cuda, mps.
        workers: processes that share the shots, each with its own memory and, where there are several, its own GPU; the film
            is the same.
        codec: an encoder of FFmpeg's; libx264 where not given. ffv1 (in mkv) is lossless.
        crf: quality of the encoder, lower is better.
        rate: pictures a second of a video made from a folder; 24 where not given.
        resume: go on with an interrupted run.
        overwrite: replace what is at the output.
    """
    arguments = dict(locals())
    from old_films_rtn.inference import plan as plans
    from old_films_rtn.inference.extras import Extras
    from old_films_rtn.video.io import open_film

    plan = plans.Plan.of(arguments)
    plans.check_choice(everywhere, grain, mask, mask_threshold)
    source = open_film(film)
    target = plans.output_of(source, out, "restored" if preview is None else f"preview_{preview}.png")
    extras = Extras(masks, side_by_side, report)
    extras.check(source, overwrite or resume)
    if plans.nothing_to_do(target, source, plan, image=preview is not None):
        return

    from old_films_rtn import pretrained
    from old_films_rtn.compositing import Compositing
    from old_films_rtn.inference.pipeline import process_film
    from old_films_rtn.inference.preview import preview as show
    from old_films_rtn.inference.restoration import Restoration
    from old_films_rtn.inference.source import Clip

    how = Compositing(strength, mask_threshold, everywhere, max_change, grain)
    restorer, clip = pretrained.load(ckpt), Clip(source, *plan.span, short_side)
    if preview is not None:
        print(show(restorer, clip, preview, target, how, passes, flow, device))
        return
    process = Restoration(
        restorer,
        how,
        passes=passes,
        protect=protect,
        mask=mask,
        extras=extras,
        repeats=dedup == "auto",
        published_windows=windowing == "published",
    )
    process_film(process, clip, target, plan)


def main(argv: list[str] | None = None) -> int:
    return cli.run(restore, argv)
