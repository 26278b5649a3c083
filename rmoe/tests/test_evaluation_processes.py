"""Scores of a set that two processes share equal those of one process, also where one of them has nothing."""

import pytest
import small_models
import torch
import torch.distributed as dist
import two_ranks

from rmoe.evaluation import detection
from rmoe.evaluation.experts import ExpertStatistics
from rmoe.evaluation.segmentation import ConfusionMatrix
from rmoe.moe import convert


def annotations():
    boxes = [[10, 10, 40, 40], [50, 50, 30, 30]]
    objects = [
        {"id": i + 1, "image_id": i, "category_id": 1, "bbox": box, "area": 900, "iscrowd": 0}
        for i, box in enumerate(boxes)
    ]
    return {
        "images": [{"id": i, "height": 100, "width": 100} for i in range(2)],
        "annotations": objects,
        "categories": [{"id": 1, "name": "dog"}],
    }


def results(image):
    return [{"image_id": image, "category_id": 1, "bbox": [50, 50, 30, 30], "score": 0.5 + image / 4}]


@torch.no_grad()
def scores(images):
    """mIoU, AP and the load of the experts over these images of two."""
    torch.manual_seed(0)
    matrix, network = ConfusionMatrix(3), small_models.backbone()
    convert(network, experts=4)
    statistics = ExpertStatistics(network.eval())
    generator = torch.Generator().manual_seed(1)
    pictures = torch.randn(2, 3, 64, 64, generator=generator)
    truth, prediction = torch.randint(0, 3, (2, 2, 50), generator=generator)
    for image in images:
        matrix.update(prediction[image], truth[image])
        network(pictures[image : image + 1])
        statistics.update()
    found = [result for image in images for result in results(image)]
    precision = detection.evaluate(annotations(), found, ["bbox"], image_ids=images)["bbox"].summary["AP"]
    return [matrix.scores().mean_iou, precision, *(row["load"] for row in statistics.expert_rows())]


SHARES = (([0], [1]), ([0, 1], []))


def work(rank, folder):
    dist.init_process_group("gloo", rank=rank, world_size=2)
    torch.save([[float(each) for each in scores(images[rank])] for images in SHARES], folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_score_as_one(tmp_path):
    two_ranks.run(work, tmp_path)
    found = [scored for rank in range(2) for scored in torch.load(tmp_path / f"{rank}.pt", weights_only=True)]
    one = scores([0, 1])
    assert len(found) == 4 and all(scored == pytest.approx(one) for scored in found)
