"""AP against pycocotools itself on the real annotations with their crowds, and by hand on small sets."""

import contextlib
import copy
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from rmoe.evaluation.detection import category_ids, encode_mask, evaluate, to_results
from shared_utils import UserError

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "rmoe" / "coco" / "annotations"
# pycocotools' own arrays warn under numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
BACKENDS = ["faster_coco_eval", "pycocotools"]


@pytest.fixture(scope="module")
def real():
    path = REAL / "instances_val2017.json"
    if not path.is_file():
        pytest.skip("no ../shared/data/rmoe/coco beside the workspace")
    return json.loads(path.read_text())


def spoilt_truth(annotations):
    """Detections made from the truth: moved boxes, shifted masks, some missed, some of another class, random scores."""
    mask_tools = pytest.importorskip("pycocotools.mask")
    rng, ids = np.random.default_rng(0), category_ids(annotations)
    sizes = {image["id"]: (image["height"], image["width"]) for image in annotations["images"]}
    results = []
    for annotation in annotations["annotations"]:
        if rng.random() < 0.2:
            continue
        height, width = sizes[annotation["image_id"]]
        code = annotation["segmentation"]
        if isinstance(code, list):
            code = mask_tools.merge(mask_tools.frPyObjects(code, height, width))
        elif isinstance(code["counts"], list):
            code = mask_tools.frPyObjects(code, height, width)
        moved = np.roll(mask_tools.decode(code), rng.integers(-3, 4, 2), (0, 1))
        x, y, w, h = annotation["bbox"]
        dx, dy = rng.normal(0, 0.08, 2) * (w, h)
        category = annotation["category_id"] if rng.random() < 0.9 else ids[rng.integers(len(ids))]
        results.append(
            {
                "image_id": annotation["image_id"],
                "category_id": category,
                "bbox": [x + dx, y + dy, w, h],
                "score": float(rng.random()),
                "segmentation": encode_mask(moved),
            }
        )
    return results


@pytest.fixture(scope="module")
def by_pycocotools(real):
    """(detections, {kind: pycocotools' own summary})."""
    results = spoilt_truth(real)
    return results, {kind: reference(real, results, kind) for kind in ("bbox", "segm")}


def reference(annotations, results, kind):
    """pycocotools as its own demo calls it."""
    coco_module = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco_module.COCO()
        truth.dataset = copy.deepcopy(annotations)
        truth.createIndex()
        other = "bbox" if kind == "segm" else "segmentation"
        found = truth.loadRes([{k: v for k, v in r.items() if k != other} for r in results])
        run = evaluation.COCOeval(truth, found, kind)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return 100 * run.stats


@pytest.mark.parametrize("backend", BACKENDS)
def test_both_back_ends_equal_pycocotools_on_real_annotations_with_crowds(real, by_pycocotools, backend):
    pytest.importorskip(backend)
    assert any(annotation["iscrowd"] for annotation in real["annotations"])
    results, references = by_pycocotools
    scores = evaluate(real, results, backend=backend)
    for kind, wanted in references.items():
        assert 5 < wanted[0] < 95
        np.testing.assert_allclose(list(scores[kind].summary.values()), wanted, atol=1e-6)
        by_class = np.array([value for value in scores[kind].by_class.values()])
        np.testing.assert_allclose(np.nanmean(by_class), wanted[0], atol=1e-6)
        assert len(by_class) == 80 and np.isnan(by_class).any()


def small(**change):
    """One image, two objects of category 7 and one of 3, and category 20 that does not occur."""
    annotations = [
        {"id": 1, "image_id": 5, "category_id": 7, "bbox": [10, 10, 40, 40], "area": 1600, "iscrowd": 0},
        {"id": 2, "image_id": 5, "category_id": 7, "bbox": [60, 60, 30, 30], "area": 900, "iscrowd": 0},
        {"id": 3, "image_id": 5, "category_id": 3, "bbox": [0, 60, 30, 30], "area": 900, "iscrowd": 0},
    ]
    annotations[1].update(change)
    categories = [{"id": 20, "name": "cat"}, {"id": 7, "name": "dog"}, {"id": 3, "name": "cow"}]
    return {
        "images": [{"id": 5, "height": 100, "width": 100}],
        "annotations": annotations,
        "categories": categories,
    }


def found(boxes, labels, scores):
    return {"boxes": torch.tensor(boxes), "labels": torch.tensor(labels), "scores": torch.tensor(scores)}


@pytest.mark.parametrize("backend", BACKENDS)
def test_perfect_boxes_of_one_class_are_100_and_of_the_missed_class_0(backend):
    pytest.importorskip(backend)
    truth = small()
    # ids in order are 3, 7, 20: label 2 is category 7
    detection = found([[10.0, 10, 50, 50], [60, 60, 90, 90]], [2, 2], [0.9, 0.8])
    scores = evaluate(truth, to_results(5, detection, category_ids(truth)), ["bbox"], backend=backend)["bbox"]
    assert scores.by_class[7] == pytest.approx(100) and scores.by_class[3] == 0 and math.isnan(scores.by_class[20])
    assert scores.summary["AP"] == pytest.approx(50)
    assert scores.rows({3: "cow", 7: "dog", 20: "cat"})[1]["class"] == "dog"


@pytest.mark.parametrize("backend", BACKENDS)
def test_detections_on_a_crowd_are_neither_right_nor_wrong(backend):
    pytest.importorskip(backend)
    detection = found([[60.0, 60, 90, 90], [10, 10, 50, 50]], [2, 2], [0.9, 0.8])
    ids = category_ids(small())
    as_object = evaluate(small(), to_results(5, detection, ids), ["bbox"], backend=backend)["bbox"]
    as_crowd = evaluate(small(iscrowd=1), to_results(5, detection, ids), ["bbox"], backend=backend)["bbox"]
    assert as_object.by_class[7] == pytest.approx(100) and as_crowd.by_class[7] == pytest.approx(100)
    elsewhere = small(iscrowd=1, bbox=[0, 0, 5, 5], area=25)
    wrong = evaluate(elsewhere, to_results(5, detection, ids), ["bbox"], backend=backend)["bbox"]
    assert wrong.by_class[7] == pytest.approx(50)


def test_masks_become_codes_that_json_can_hold_and_decode_to_themselves():
    mask_tools = pytest.importorskip("pycocotools.mask")
    masks = torch.rand(2, 30, 40) > 0.7
    detection = {**found([[0.0, 0, 9, 9], [1, 1, 5, 5]], [1, 2], [0.5, 0.4]), "masks": masks}
    results = json.loads(json.dumps(to_results(5, detection, [3, 7, 20])))
    assert [result["category_id"] for result in results] == [3, 7]
    assert results[1]["bbox"] == [1, 1, 4, 4]
    for result, mask in zip(results, masks, strict=True):
        assert np.array_equal(mask_tools.decode(result["segmentation"]), mask.numpy())


def test_areas_of_masks_decide_what_is_small_not_those_of_boxes():
    # a thin diagonal has a large box and a small mask
    annotations, side = small(), 100
    line = np.eye(side, dtype=np.uint8)
    annotations["annotations"] = [
        {
            "id": 1,
            "image_id": 5,
            "category_id": 7,
            "bbox": [0, 0, side, side],
            "area": side,
            "iscrowd": 0,
            "segmentation": encode_mask(line),
        }
    ]
    detection = {**found([[0.0, 0, side, side]], [2], [0.9]), "masks": torch.from_numpy(line)[None]}
    scores = evaluate(annotations, to_results(5, detection, category_ids(annotations)), ["segm"])["segm"]
    assert scores.summary["APs"] == pytest.approx(100) and math.isnan(scores.summary["APl"])


def test_no_detection_at_all_is_zero_where_there_are_objects():
    scores = evaluate(small(), [])["segm"]
    assert scores.summary["AP"] == 0 and scores.by_class[7] == 0 and math.isnan(scores.by_class[20])


def test_only_images_that_were_looked_at_count():
    truth = small()
    truth["images"].append({"id": 6, "height": 100, "width": 100})
    truth["annotations"].append({**truth["annotations"][0], "id": 4, "image_id": 6})
    detection = found([[10.0, 10, 50, 50], [60, 60, 90, 90]], [2, 2], [0.9, 0.8])
    results = to_results(5, detection, category_ids(truth))
    assert evaluate(truth, results, ["bbox"], image_ids=[5])["bbox"].by_class[7] == pytest.approx(100)
    assert evaluate(truth, results, ["bbox"])["bbox"].by_class[7] < 70


def test_detections_of_another_data_set_are_refused():
    with pytest.raises(UserError, match="image 99 and category 7"):
        evaluate(small(), [{"image_id": 99, "category_id": 7, "bbox": [0, 0, 1, 1], "score": 1.0}])


def test_annotations_without_categories_are_refused():
    with pytest.raises(UserError, match="no `categories`"):
        category_ids({"images": [], "annotations": []})
