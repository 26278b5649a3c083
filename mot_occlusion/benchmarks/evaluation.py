"""Evaluation of MOT17 sequences, CLEAR, identity and HOTA: our evaluator beside TrackEval, on the same files.

    python benchmarks/evaluation.py --data FOLDER [--trackeval PYTHON]

One thread, CPU time of the process, files read included, imports not. TrackEval is not a dependency of ours: PYTHON is the
interpreter of an environment that has it (``pip install trackeval``); it runs there on the same files in turns with ours.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from shared_utils import cli

OURS = """
import json, sys, time
from mot_occlusion.evaluation import benchmark
gt, results = sys.argv[1:]
start = time.process_time()
scored = benchmark.score(benchmark.find_pairs(gt, results, allow_missing=True))
seconds = time.process_time() - start
keys = ("HOTA", "DetA", "AssA", "MOTA", "IDF1", "IDSW", "Frag", "MT")
print(json.dumps({"seconds": seconds, "scores": {n: {k: v[k] for k in keys} for n, v in scored.items()}}))
"""

THEIRS = """
import contextlib, io, json, pathlib, sys, time
import numpy, trackeval
gt, results = map(pathlib.Path, sys.argv[1:])
names = {path.stem: None for path in sorted(results.glob("*.txt")) if (gt / path.stem).is_dir()}
config = trackeval.datasets.MotChallenge2DBox.get_default_dataset_config() | {
    "GT_FOLDER": str(gt), "TRACKERS_FOLDER": str(results.parent), "TRACKERS_TO_EVAL": [results.name],
    "TRACKER_SUB_FOLDER": "", "SKIP_SPLIT_FOL": True, "SEQ_INFO": names, "BENCHMARK": "MOT17", "PRINT_CONFIG": False,
}
with contextlib.redirect_stdout(io.StringIO()):
    start = time.process_time()
    data = trackeval.datasets.MotChallenge2DBox(config)
    metrics = [trackeval.metrics.HOTA(), trackeval.metrics.CLEAR({"PRINT_CONFIG": False}),
               trackeval.metrics.Identity({"PRINT_CONFIG": False})]
    scored = {}
    for name in names:
        sequence = data.get_preprocessed_seq_data(data.get_raw_seq_data(results.name, name), "pedestrian")
        scored[name] = [metric.eval_sequence(sequence) for metric in metrics]
    scored["COMBINED"] = [
        metric.combine_sequences({name: parts[index] for name, parts in scored.items()})
        for index, metric in enumerate(metrics)
    ]
    seconds = time.process_time() - start
keys = ("HOTA", "DetA", "AssA", "MOTA", "IDF1", "IDSW", "Frag", "MT")
flat = {name: {key: float(numpy.mean(value)) for part in parts for key, value in part.items() if key in keys}
        for name, parts in scored.items()}
print(json.dumps({"seconds": seconds, "scores": flat}))
"""


def run(python: str, program: str, gt: Path, results: Path) -> dict:
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    done = subprocess.run(
        [python, "-c", program, str(gt), str(results)], capture_output=True, text=True, env=os.environ | threads
    )
    if done.returncode:
        sys.exit(f"{python} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def evaluation(data: str, trackeval: str | None = None, rounds: int = 3) -> None:
    """Compare the time of evaluations of MOT17 result files.

    Args:
        data: a folder with MOT17/train and results/MPNTrack.
        trackeval: the Python of an environment with TrackEval; only ours is timed where not given.
        rounds: how often each is run, in turns; the fastest counts.
    """
    root = Path(data).resolve()
    gt, results = root / "MOT17" / "train", root / "results" / "MPNTrack"
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        # TrackEval wants a seqinfo.ini of every sequence under the ground truth, which MOT17 has.
        link = Path(folder) / "MPNTrack"
        link.symlink_to(results)
        for _ in range(rounds):
            ours.append(run(sys.executable, OURS, gt, link))
            if trackeval:
                theirs.append(run(trackeval, THEIRS, gt, link))
    best = min(one["seconds"] for one in ours)
    print(f"{len(ours[0]['scores']) - 1} sequences, CLEAR + identity + HOTA, one thread, CPU seconds")
    print(f"ours       {best:8.3f}")
    if theirs:
        other = min(one["seconds"] for one in theirs)
        print(f"TrackEval  {other:8.3f}    ratio {other / best:.1f}")
        worst = max(
            abs(value - theirs[0]["scores"][name][key]) / max(1.0, abs(value))
            for name, values in ours[0]["scores"].items()
            for key, value in values.items()
        )
        print(f"largest difference of any score: {worst:.1e}")


if __name__ == "__main__":
    sys.exit(cli.run(evaluation))
