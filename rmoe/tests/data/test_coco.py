"""COCO: ids, crowds, run-length codes, boxes without area, class maps from instances, and what is refused."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rmoe.data import coco, mosaic_coco
from rmoe.data.mosaic import Mosaic
from shared_utils import UserError

SQUARE = np.zeros((8, 10), np.uint8)
SQUARE[2:6, 3:7] = 1
POLYGON = [[3, 2, 7, 2, 7, 6, 3, 6]]
SAMPLES = Path(__file__).parents[3].parent / "shared" / "data" / "rmoe" / "coco"


def annotation(number=1, **changes):
    entry = {"id": number, "image_id": 5, "category_id": 7, "bbox": [3, 2, 4, 4], "area": 16, "iscrowd": 0}
    return {**entry, "segmentation": POLYGON, **changes}


@pytest.fixture
def written(tmp_path):
    """Write a json of one image with the given annotations; its path."""

    def write(*annotations, **changes):
        Image.fromarray(np.zeros((8, 10, 3), np.uint8)).save(tmp_path / "a.png")
        content = {
            "images": [{"id": 5, "file_name": "a.png", "height": 8, "width": 10}],
            "annotations": list(annotations),
            "categories": [{"id": 90, "name": "last"}, {"id": 7, "name": "middle"}, {"id": 2, "name": "first"}],
            **changes,
        }
        path = tmp_path / "instances.json"
        path.write_text(json.dumps(content))
        return path

    return write


def sample(path, **options):
    return coco.CocoDetection(coco.read_annotations(path), path.parent, **options)[0]


def test_labels_are_ranks_of_sorted_ids(written):
    path = written(annotation(), annotation(2, category_id=90))
    assert coco.read_annotations(path).names == ["first", "middle", "last"]
    assert sample(path).target["labels"].tolist() == [2, 3]


@pytest.mark.parametrize("kind", ["polygon", "list", "compressed"])
def test_polygons_and_both_run_length_codes_give_the_same_mask(written, kind):
    lengths = mosaic_coco.run_lengths(SQUARE.astype(bool))
    compressed = coco.mask_api().frPyObjects(lengths, 8, 10)
    text = {"size": [8, 10], "counts": compressed["counts"].decode()}
    found = sample(written(annotation(segmentation={"polygon": POLYGON, "list": lengths, "compressed": text}[kind])))
    assert (found.target["masks"][0].numpy() == SQUARE).all()
    assert found.target["boxes"].tolist() == [[3, 2, 7, 6]]


def test_run_lengths_are_read_back():
    rng = np.random.default_rng(0)
    for mask in (*(rng.random((5, 7, 6)) < 0.4), np.zeros((4, 4), bool), np.ones((4, 4), bool)):
        assert (coco.decode(mosaic_coco.run_lengths(mask), *mask.shape) == mask).all()


def test_a_run_length_code_that_is_no_crowd_trains_like_its_polygon(written):
    lengths = mosaic_coco.run_lengths(SQUARE.astype(bool))
    polygon, code = (sample(written(annotation(segmentation=s)), training=True) for s in (POLYGON, lengths))
    assert all(torch.equal(value, code.target[name]) for name, value in polygon.target.items())


def test_crowds_count_in_evaluation_and_do_not_train(written):
    path = written(annotation(), annotation(2, iscrowd=1))
    assert sample(path).target["iscrowd"].tolist() == [0, 1]
    assert len(sample(path, training=True).target["labels"]) == 1
    objects = sample(path, training=True, crowd_as_objects=True)
    assert objects.target["iscrowd"].tolist() == [0, 0]


def test_everything_a_crowd_is_an_error_that_names_the_way_on(written):
    path = written(annotation(iscrowd=1), annotation(2, iscrowd=1))
    with pytest.raises(UserError, match="2 of 2 annotations are crowd, none can train; --crowd-as-objects"):
        sample(path, training=True)


def test_boxes_without_area_are_counted_and_left_out(written, caplog):
    path = written(annotation(), annotation(2, bbox=[3, 2, 0, 4]), annotation(3, bbox=[30, 2, 4, 4]))
    assert coco.read_annotations(path).without_area == 2
    assert "2 annotations whose box has no area" in caplog.text and len(sample(path).target["labels"]) == 1


def test_class_maps_are_painted_larger_objects_first(written):
    large = annotation(2, category_id=2, segmentation=[[0, 0, 10, 0, 10, 7, 0, 7]], bbox=[0, 0, 10, 7], area=70)
    annotations = coco.read_annotations(written(annotation(), large))
    label = coco.CocoSegmentation(annotations, annotations.path.parent)[0].label
    assert label[3, 4] == 1 and label[0, 0] == 0 and label[7, 0] == 255
    classes = coco.CocoSegmentation(annotations, annotations.path.parent, "class")
    assert classes.names[-1] == "background" and classes[0].label[7, 0] == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"categories": None}, "has no list 'categories'"),
        ({"categories": []}, "'categories' is empty"),
        ({"annotations": [annotation(category_id=4)]}, "annotation 1 has the category 4"),
        ({"annotations": [annotation(image_id=4)]}, "annotation 1 is of the image 4"),
        ({"annotations": [{"id": 3, "image_id": 5, "category_id": 7}]}, "annotation 3 has no bbox"),
    ],
)
def test_what_is_not_coco_is_named(written, changes, message):
    with pytest.raises(UserError, match=message):
        coco.read_annotations(written(annotation(), **changes))


def test_a_segmentation_that_is_none_is_named(written):
    with pytest.raises(UserError, match="annotation 1: its segmentation is neither"):
        sample(written(annotation(segmentation={"size": [8, 10]})))
    with pytest.raises(UserError, match="annotation 1 has no segmentation"):
        sample(written(annotation(segmentation=[])))


def test_the_procedural_instances_are_a_coco_data_set(tmp_path):
    mosaic = Mosaic(seed=1)
    root = mosaic_coco.write(mosaic, tmp_path, {"train": 4, "val": 2})
    path, images = coco.locate(root, "train")
    dataset = coco.CocoDetection(coco.read_annotations(path), images, training=True)
    for number, entry in enumerate(dataset.entries):
        pixels, objects = mosaic.instances("train", entry["id"] - 1)
        found = dataset[number]
        assert (found.image.permute(1, 2, 0).numpy() == pixels).all()
        assert (found.target["masks"].bool().numpy() == np.stack([each.mask for each in objects])).all()
        assert (found.target["labels"] - 1).tolist() == [each.label for each in objects]


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the COCO samples of ../shared/data/rmoe are not here")
def test_the_samples_of_coco_load():
    for split, count, objects in (("train", 54, 536), ("val", 34, 459)):
        path, images = coco.locate(SAMPLES, split)
        annotations = coco.read_annotations(path)
        dataset = coco.CocoDetection(annotations, images)
        assert len(dataset) == count and len(annotations.names) == 80
        assert sum(map(len, annotations.of_image.values())) + annotations.without_area == objects
        for number in range(0, count, 9):
            target = dataset[number].target
            areas = target["masks"].sum((1, 2)).float()
            assert (areas[target["iscrowd"] == 0] > 0).all()


def test_annotations_are_not_changed(written):
    path = written(annotation())
    annotations = coco.read_annotations(path)
    before = copy.deepcopy(annotations.of_image)
    coco.CocoDetection(annotations, path.parent)[0]
    assert annotations.of_image == before
