"""Adapters of the golden cases of the tracker and of the evaluation."""

import os
from pathlib import Path

import numpy as np
import pytest

from mot_occlusion.data.mot_format import read_gt, read_results
from mot_occlusion.detections import Detections
from mot_occlusion.evaluation import evaluate_sequence
from mot_occlusion.evaluation.accumulator import evaluate_like
from mot_occlusion.tracking import PUBLISHED, Tracker, association, kalman, occlusion


def _to_xyxy(boxes):
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:4]], axis=1)


def kalman_filter(case):
    inputs = case.inputs()
    position = case.config.get("std_weight_position", kalman.STD_POSITION)
    velocity = case.config.get("std_weight_velocity", kalman.STD_VELOCITY)
    mean, blocks = kalman.initiate(inputs["init"].astype(np.float64), position, velocity)
    outputs = {name: [] for name in case.spec["outputs"]}
    for step, measurements in enumerate(inputs["measurements"].astype(np.float64)):
        mean, blocks = kalman.predict(mean, blocks, position, velocity)
        expected, variance = kalman.project(mean[:1], blocks[:1], position)
        outputs["projected_mean"].append(expected[0])
        outputs["projected_cov"].append(np.diag(variance[0]))
        outputs["gating"].append(kalman.gating_distance(mean, blocks, measurements, std_position=position))
        outputs["gating_position"].append(kalman.gating_distance(mean, blocks, measurements, True, position))
        if step % 4 == 3:  # as the case's note says: no measurement there, and the height keeps still
            mean[:, 7] = 0
        else:
            mean, blocks = kalman.update(mean, blocks, measurements, position)
        outputs["mean"].append(mean)
        outputs["covariance"].append(kalman.covariance_matrices(blocks))
    return {name: np.array(values) for name, values in outputs.items()}


def matching(case):
    inputs, config = case.inputs(), case.config
    track, detection = (inputs[name].astype(np.float64) for name in ("track_tlwh", "det_tlwh"))

    def measurements(boxes):
        return np.column_stack([boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2] / boxes[:, 3], boxes[:, 3]])

    mean, blocks = kalman.predict(*kalman.initiate(measurements(track)))
    size = np.column_stack([mean[:, 2] * mean[:, 3], mean[:, 3]])
    predicted = np.concatenate([mean[:, :2] - size / 2, mean[:, :2] + size / 2], axis=1)
    detected = _to_xyxy(detection)
    iou = association.iou_distance(predicted, detected)
    embedding = association.embedding_distance(inputs["track_feat"], inputs["det_feat"])
    gating = kalman.gating_distance(mean, blocks, measurements(detection))
    fused = association.fuse_motion(embedding, gating, 1 - config["lambda_"])
    outputs = {"iou_distance": iou, "embedding_distance": embedding, "fused": np.where(np.isinf(fused), 1e6, fused)}
    for name, cost in (("fused", fused), ("iou", iou)):
        rows, columns = association.assign(cost, config[f"thresh_{name}"])
        outputs[f"match_{name}"] = np.column_stack([rows, columns])
        outputs[f"unmatched_track_{name}"] = np.setdiff1d(np.arange(len(track)), rows)
        outputs[f"unmatched_det_{name}"] = np.setdiff1d(np.arange(len(detection)), columns)
    # Published code takes 1 from where box i meets box i, which is only right when both sets are the same one.
    share = occlusion.overlap_of_smaller(predicted, detected)
    outputs["overlap_min"] = share - np.eye(len(track), len(detection)) * (share > 0)
    return outputs


def recovery(case):
    inputs = {name: value.astype(np.float64) for name, value in case.inputs().items()}
    known, lost, centre = inputs["known"], inputs["lost"], inputs["centre"]
    thresholds = {name: case.config.get(name, occlusion.MIN_OVERLAP) for name in ("thr", "iou_thr", "min_overlap")}
    probability = occlusion.centre_probability(known, lost, centre)
    radii = case.expected("gaussian_radius")[1].astype(np.float64)
    return {
        "prob": probability,
        "valid": probability >= thresholds["thr"],
        "refined": occlusion.refine_lost(known, lost, centre),
        "overlap_boxes": occlusion.overlap_boxes(np.concatenate([known, lost]), thresholds["iou_thr"]),
        "gaussian_radius": np.column_stack(
            [radii[:, :2], occlusion.gaussian_radius(*radii[:, :2].T, thresholds["min_overlap"])]
        ),
    }


def tracker_sequence(case):
    inputs, config = case.inputs(), case.config
    outputs = {}
    for variant, changes in config["variants"].items():
        options = config["defaults"] | changes
        tracker = Tracker(
            (config["image_height"], config["image_width"]),
            options["frame_rate"],
            conf_threshold=options["conf_thres"],
            reid_threshold=options["reid_thres"],
            reid=not options["not_reid"],
            occlusion=options["occlusion"],
            track_buffer=options["track_buffer"],
            occlusion_threshold=options["occlusion_thres"],
            min_box_area=options["min_box_area"],
            clip_boxes=options["clip_box"],
            **(PUBLISHED | {"recovery_window": options["lost_frame_range"]}),
        )
        assert options["reid_feat_type"] == "momentum"
        lines = []
        for frame in range(1, config["frames"] + 1):
            found = inputs["detections"][:, 0] == frame
            centres = inputs["occlusion_centres"][inputs["occlusion_centres"][:, 0] == frame]
            public = None
            if options["track_type"] == "public_track":
                public = inputs["public_detections"]
                public = _to_xyxy(public[public[:, 0] == frame, 2:6])
            rows = inputs["detections"][found]
            detections = Detections(
                rows[:, 1:5], rows[:, 5], inputs["embeddings"][found], centres[:, 1:3], centres[:, 3]
            )
            tracks = tracker.update(detections, public)
            size = tracks.boxes[:, 2:] - tracks.boxes[:, :2]
            lines.append(
                np.column_stack(
                    [
                        np.full(len(tracks.ids), frame),
                        tracks.ids,
                        tracks.boxes[:, :2],
                        size,
                        tracks.scores,
                        tracks.states,
                    ]
                )
            )
        outputs[variant] = np.concatenate(lines)
        published = case.expected(variant)[1]
        # Frame, id and state must be equal, whatever tolerance the boxes have.
        assert np.array_equal(outputs[variant][:, [0, 1, 7]], published[:, [0, 1, 7]]), variant
    return outputs


def mot_metrics(case):
    data = Path(os.environ.get("MOT_DATA", Path(__file__).parents[3] / "shared" / "data" / "mot_occlusion"))
    if not data.is_dir():
        pytest.skip("the ground truth of this case is real data, which is not beside the workspace")
    config, outputs = case.config, {}
    for name, kits in config["names"].items():
        benchmark, tracker = ("MOT17", "MPNTrack") if name.startswith("MOT17") else ("MOT15", "sample_tracker")
        gt = read_gt(data / benchmark / "train" / name / "gt" / "gt.txt")
        results = read_results(data / "results" / tracker / f"{name}.txt")
        preset = "mot17" if config["preprocessing"][name] else "mot15"
        length = config["lengths"][name]
        ours = {"trackeval": evaluate_sequence(gt, results, length, preset)}
        ours |= {
            "motmetrics": evaluate_like("motmetrics", gt, results, length, preset),
            "published_evaluator": evaluate_like("published", gt, results, length, preset),
        }
        for curve, values in ours["trackeval"].pop("curves").items():
            outputs[f"{name}.{curve}"] = values
        for kit, keys in kits.items():
            found = np.array([ours[kit][key.removesuffix("_mean")] for key in keys], dtype=np.float64)
            outputs[f"{name}.{kit}"] = found
            if kit == "trackeval":  # the case's note: these are exact to 1e-9
                np.testing.assert_allclose(found, [case.spec["values"][name][kit][key] for key in keys], 1e-9, 1e-9)
    # Counts stand beside fractions in one array: each number is compared on its own scale, not to the largest.
    for name, values in outputs.items():
        np.testing.assert_allclose(values, case.expected(name)[1], case.spec["tolerance"], 1e-7, err_msg=name)
    return outputs


ADAPTERS = {
    "HOTA, CLEAR, Identity (TrackEval); motmetrics; published Evaluator": mot_metrics,
    "tracking_utils.kalman_filter.KalmanFilter": kalman_filter,
    "tracker.matching": matching,
    "utils.box.check_occ_center(thr=0.7), occlusion_box_inv, occlusion_boxes(iou_type=1, iou_thr=0.7 on known+lost "
    "stacked), utils.image.gaussian_radius (min_overlap 0.7)": recovery,
    "tracker.occ_tracker.JDETracker.update over a sequence, network replaced by a stub that renders the given detections "
    "into head maps": tracker_sequence,
}
