"""Measure mAP, mINP, CMC, TPR@FPR or re-association of a model, or of features that are there already."""

from typing import Literal

from shared_utils import cli


def evaluate(
    ckpt: str | None = None,
    data: str | None = None,
    features: str | None = None,
    protocol: Literal["fastreid", "market-trapezoid", "single-shot"] = "fastreid",
    same_camera: Literal["drop", "keep"] = "drop",
    rerank: bool = False,
    rerank_distance: Literal["cosine", "euclidean"] = "cosine",
    aqe: bool = False,
    roc: bool = False,
    reassociation: bool = False,
    gap: int = 30,
    max_rank: int = 50,
    worst: int = 30,
    out: str = "runs/evaluation",
    device: str = "auto",
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Evaluate a retrieval: no distance matrix is kept, memory grows with the gallery alone.

    Writes metrics.json, table.csv and .md, queries.csv, cmc.png and ranking.html.

    Args:
        ckpt: the model; the bundled one where not given.
        data: a data set of the Market-1501 family, raw MSMT17, id/picture folders, a CSV list or a store; the procedural
            street where not given. Without a query of its own, the first picture of each person and camera asks.
        features: an .npz of extract instead of a model and data.
        protocol: fastreid; market-trapezoid of the pre-training script: trapezoid AP over all queries, id -1 is junk;
            single-shot, CUHK03's old one: the CMC is of ten drawn galleries with one picture a person.
        same_camera: pictures of the person from the query's own camera are dropped, or kept.
        rerank: also k-reciprocal re-ranking.
        rerank_distance: what it squares, as fast-reid or as the first script.
        aqe: also average query expansion; with re-ranking it can lower the scores.
        roc: also TPR at FPR 1e-4, 1e-3 and 1e-2.
        reassociation: instead: is a person found again among all crops of the video from --gap frames later on?
        gap: frames.
        max_rank: length of the CMC.
        worst: so many queries are shown in ranking.html, worst first; 0 writes none.
        out: folder to write.
        device: auto, cpu, cuda, mps.
        seed: of the galleries of single-shot.
        resume: continue the same job: pictures that are embedded are not embedded again.
        overwrite: begin again although out exists.
    """
    from luperson_nl import evaluation
    from shared_utils import UserError, distributed, logging

    if features is not None and (ckpt is not None or data is not None):
        raise UserError("--features are of a model and of data already: leave out --ckpt and --data")
    options = evaluation.Options(
        protocol, same_camera, rerank, rerank_distance, aqe, roc, reassociation, gap, max_rank, seed
    )
    with distributed.process_group():
        place = distributed.choose_device(device)
        if features is not None:
            given = evaluation.of_features(features, options)
        else:
            given = evaluation.of_model(ckpt, data, options, place)
        result = evaluation.finish(given, options, out, worst, place, resume=resume, overwrite=overwrite)
        if result is not None:
            print(logging.table(result.table(), given.title))
            print(f"wrote {out}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(evaluate, argv)
