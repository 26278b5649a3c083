"""The data of both trainings: views of stores and lists, what is decoded, what is unreadable, statistics of the pixels."""

import logging

import lmdb
import numpy as np
import pytest
import stores_on_disk
import torch
from small_training import data, module, trainer

from luperson_nl.data.finetuning import FinetuningData
from luperson_nl.data.transforms import WeakView
from luperson_nl.data.viewing import Views
from shared_utils import UserError

STREET = {"persons": 8, "cameras": 2, "clip": [2, 3]}


def first_batch(source):
    loader = source.train_dataloader()
    return source.on_after_batch_transfer(next(iter(loader)), 0)


def test_a_batch_of_the_street_is_ready_for_the_model():
    crops = data()
    batch = first_batch(crops)
    assert [tuple(view.shape) for view in batch["views"]] == [(8, 3, 32, 16)] * 2
    assert batch["label"].tolist() == crops.labels[batch["index"].numpy()].tolist()
    pixels = crops.crops.images.reshape(-1, 3) / 255
    assert crops.mean == pytest.approx(pixels.mean(0).tolist()) and crops.std == pytest.approx(pixels.std(0).tolist())
    assert crops.retrieval.num_query < len(crops.retrieval) and len(crops.true) == len(crops.labels)


def test_the_authors_store_is_trained_on_as_it_is(tmp_path):
    crops = data(root=str(stores_on_disk.published(tmp_path)), statistics="lmdb_200_20")
    assert crops.num_classes == 10 and crops.true is None and crops.mean == [0.3452, 0.3070, 0.3114]
    assert crops.val_dataloader() == [] and crops.test_dataloader() == []
    run = trainer()
    run.fit(module(crops), crops)
    run.test(module(crops), crops, verbose=False)
    assert torch.isfinite(run.callback_metrics.get("labels_changed", torch.zeros(())))


def test_an_unreadable_crop_is_named_and_skipped(tmp_path, caplog):
    root = stores_on_disk.published(tmp_path, 200)  # the store looks at 32 of them when it is opened, not at this one
    crops = data(root=str(root))
    key = bytes(crops.keys[5])
    assert crops.train_dataloader().dataset[(5, 0)]["index"] == 5
    del crops
    with lmdb.open(str(root / "lmdb"), map_size=1 << 26) as environment, environment.begin(write=True) as transaction:
        transaction.put(key, b"\xff\xd8 no picture")
    views = data(root=str(root)).train_dataloader().dataset
    with caplog.at_level(logging.WARNING):
        sample = views[(5, 0)]
    assert sample["index"] == 6 and key.decode() in caplog.text


def test_data_that_cannot_be_read_at_all_is_an_error():
    def read(index):
        raise UserError("it is empty")

    with pytest.raises(UserError, match="20 crops in a row"):
        Views(read, np.zeros(50, int), [WeakView((8, 8))])[(0, 0)]


def test_a_view_depends_on_seed_epoch_and_crop():
    crops = data()
    views = crops.train_dataloader().dataset

    def weak(seed, epoch, index):
        views.seed = seed
        return views[(index, epoch)]["views"][0].image.tolist()

    assert weak(0, 1, 2) == weak(0, 1, 2)
    assert len({str(weak(*where)) for where in ((0, 1, 2), (1, 1, 2), (0, 2, 2), (0, 1, 3))}) == 4


def test_fine_tuning_takes_the_true_persons_of_the_street(scratch):
    persons = FinetuningData(size=(32, 16), batch_size=8, street=STREET, held=6, sampler="balanced")
    batch = first_batch(persons)
    assert persons.num_classes == 8 and len(batch["views"]) == 1
    assert (np.unique(batch["label"].numpy(), return_counts=True)[1] == 4).all()
    half = FinetuningData(size=(32, 16), batch_size=8, street=STREET, split="id:0.50", split_folder=str(scratch))
    assert half.num_classes == 4 and (scratch / "few_ids" / "used_ids_0.50.txt").is_file()
    few = {"split": "im:0.50", "split_folder": str(scratch), "repeat": 2}
    repeated = FinetuningData(size=(32, 16), batch_size=8, street=STREET, **few)
    assert repeated.num_classes == 8 and len(repeated.train[1]) % 2 == 0


def test_validation_needs_query_and_gallery(tmp_path):
    with pytest.raises(UserError, match="no query and gallery"):
        (tmp_path / "bounding_box_train").mkdir()
        (tmp_path / "bounding_box_train" / "0001_c1s1_000001_00.jpg").write_bytes(stores_on_disk.picture(1))
        _ = data(validation=str(tmp_path)).retrieval
