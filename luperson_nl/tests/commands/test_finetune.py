"""`finetune`: from a pre-trained trunk, on whole data sets and published shares of them, and what it refuses."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from small_training import data, module, trainer

from luperson_nl import pretrained
from luperson_nl.commands.finetune import main
from luperson_nl.data.street import Street

CONFIGS = Path(__file__).parents[2] / "luperson_nl" / "configs"
ARGUMENTS = [
    *("--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "1", "--trainer.log_every_n_steps", "1"),
    *("--data.size", "[32, 16]", "--data.padding", "2", "--data.batch_size", "8", "--trainer.logger", "true"),
]


def write(folder, crops, name):
    for number, (image, person, camera) in enumerate(zip(crops.images, crops.true, crops.cameras, strict=True)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name / f"{person:04d}_c{camera + 1}s1_{number:06d}_00.jpg"), image[..., ::-1])


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    """A data set in the Market layout."""
    root = tmp_path_factory.mktemp("market")
    street = Street(persons=10, cameras=2, size=(32, 16), clip=(2, 3))
    write(root, street.train(), "bounding_box_train")
    for crops, name in zip(street.test(6), ("query", "bounding_box_test"), strict=True):
        write(root, crops, name)
    return root


@pytest.fixture(scope="module")
def trunk(tmp_path_factory):
    """The checkpoint of a pre-training."""
    crops, run = data(), trainer(limit_val_batches=0, max_steps=1)
    run.fit(module(crops), crops)
    place = tmp_path_factory.mktemp("trunk") / "trunk.ckpt"
    run.save_checkpoint(place)
    return place


def test_fine_tuning_begins_with_the_trunk_and_leaves_an_embedder(market, trunk, scratch):
    arguments = ["--data", str(market), "--weights", str(trunk), "--model.freeze_epochs", "1", "--name", "fine"]
    assert main([*ARGUMENTS, *arguments]) == 0
    run = scratch / "runs" / "fine" / "version_0"
    embedder = pretrained.load(run)
    assert embedder.kind == "bot" and embedder.size == (32, 16)
    # Frozen for the only epoch, the trunk is that of the pre-training.
    name, state = pretrained.trunk_weights(trunk)
    assert name == "resnet_mini"
    kept = pretrained.trunk_weights(run)[1]
    assert all(torch.equal(value, kept[name]) for name, value in state.items())
    assert embedder.embed([np.zeros((40, 20, 3), np.uint8)]).shape == (1, 96)
    assert "val_mAP" in (run / "metrics.csv").read_text()


def test_a_share_of_the_persons_is_trained_on_and_its_list_is_kept(market, scratch):
    arguments = ["--data", str(market), "--split", "id:0.50", "--data.split_folder", str(scratch / "lists")]
    assert main([*ARGUMENTS, *arguments, "--trainer.fast_dev_run", "1"]) == 0
    listed = (scratch / "lists" / "few_ids" / "used_ids_0.50.txt").read_text().split()
    assert len(listed) == 5


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--data.batch_size", "64", "--data.instances", "4"], "needs 16 identities, the data has 10"),
        (["--data.instances", "3"], "not a multiple of data.instances 3"),
        (["--split", "id:2"], "id:2"),
        (["--model.trunk", "resnet18", "--weights", "TRUNK"], "set model.trunk to resnet_mini"),
        (["--model.options", '{"extra": 1}'], "extra"),
        (["--model.loss", '{"edge": 1}'], "edge"),
        (["--data", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_work_ends_in_one_line_before_training(argv, message, market, trunk, scratch, capsys):
    argv = [str(trunk) if word == "TRUNK" else word for word in argv]
    assert main([*ARGUMENTS, "--data", str(market), *argv]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(errors) == 1 and message in errors[0]
    assert not list(scratch.rglob("metrics.csv"))


def test_one_camera_is_refused_at_the_start(market, scratch, capsys):
    for path in [*market.glob("*/*_c2s1*")]:
        (scratch / "one" / path.parent.name).mkdir(parents=True, exist_ok=True)
        (scratch / "one" / path.parent.name / path.name).write_bytes(path.read_bytes())
    assert main([*ARGUMENTS, "--data", str(scratch / "one")]) == 2
    assert "has a match from another camera" in capsys.readouterr().err


def test_the_recipes_of_the_four_data_sets_are_configs_that_parse(scratch, capsys):
    assert len(list(CONFIGS.glob("bot_*"))) == 6
    for kind in ("bot", "agw", "mgn"):
        for data_set in ("market", "duke", "msmt17", "cuhk03"):
            content = yaml.safe_load((CONFIGS / f"{kind}_{data_set}.yaml").read_text())
            assert content["model"]["kind"] == kind and content["data"]["name"].startswith(data_set)
    assert main(["--config", "mgn_market.yaml", "--print_config"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["model"]["freeze_epochs"] == 10 and shown["data"]["instances"] == 16
