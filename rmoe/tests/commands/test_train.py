"""train as it is typed: every config is read, runs and resumes; mistakes end in one line."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from rmoe.commands.pipeline import main as pipeline
from rmoe.commands.train import main, task_of, with_task
from rmoe.data.mosaic import Mosaic, to_pixels
from rmoe.lightning_module import DetectionModule

PROJECT = Path(__file__).parents[2]
DATA = PROJECT.parents[1] / "shared" / "data" / "rmoe"
SHORT = ("--trainer.max_epochs", "1", "--data.num_train", "64", "--data.num_val", "32")
NO_PRETRAINING = ("--trainer.callbacks", "null")
SMALL_SWIN = "{name: swin_t, embed_dim: 12, depths: [1, 1, 2, 2], num_heads: [1, 2, 3, 6]}"


def train(root, *arguments):
    return main([*map(str, arguments), "--trainer.default_root_dir", str(root)])


@pytest.fixture
def fails(capsys):
    """Check that training ends with status 2 and one line that holds ``message``."""

    def check(message, *arguments):
        assert main([str(argument) for argument in arguments]) == 2
        error = capsys.readouterr().err
        assert message in error and "Traceback" not in error
        assert len([line for line in error.splitlines() if "error: " in line]) == 1

    return check


def test_the_default_pre_trains_converts_and_fine_tunes(tmp_path, caplog):
    config = tmp_path / "short.yaml"
    short = "{steps: 2, images: 64, scene_steps: 2, scenes: 32}"
    callback = f"{{class_path: rmoe.pretraining.DensePretraining, init_args: {short}}}"
    config.write_text(f"trainer: {{callbacks: [{callback}]}}\n")
    assert train(tmp_path, "--config", "default.yaml", "--config", config, *SHORT) == 0
    run = tmp_path / "default" / "version_0"
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert list(content["rmoe"]["layers"]) == ["backbone.blocks.1.mlp"]
    assert content["network"]["class_names"][:2] == ["class 0", "class 1"]


def test_a_run_that_is_continued_is_the_run_that_was_not_interrupted(tmp_path):
    config = ("--config", "default.yaml", *NO_PRETRAINING, *SHORT[2:], "--model.recipe.schedule", "constant")
    epochs = "--trainer.max_epochs"
    assert train(tmp_path / "whole", *config, epochs, 2) == 0
    assert train(tmp_path / "parts", *config, epochs, 1) == 0
    assert train(tmp_path / "parts", *config, epochs, 2, "--resume") == 0
    whole, parts = (
        torch.load(tmp_path / name / "default" / "version_0" / "checkpoints" / "last.ckpt", weights_only=True)[
            "state_dict"
        ]
        for name in ("whole", "parts")
    )
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())


@pytest.mark.parametrize("name", ["upstream_default", "detection_default"])
def test_the_other_tasks_of_the_procedural_default_run(tmp_path, name):
    quick = (*NO_PRETRAINING, "--trainer.fast_dev_run", "true", "--data.num_train", 32, "--data.num_val", 8)
    assert train(tmp_path, "--config", f"{name}.yaml", *quick) == 0


def test_the_detector_sees_the_textures_that_its_backbone_was_pre_trained_on(fails, tmp_path):
    config = yaml.safe_load((PROJECT / "rmoe" / "configs" / "detection_default.yaml").read_text())
    mosaic = Mosaic(**config["data"]["mosaic"])
    values = mosaic.upstream("train", 8).images
    pictures = torch.from_numpy(to_pixels(values)).float() / 255
    model = DetectionModule(
        config["model"]["backbone"], None, None, "mask_rcnn", config["model"]["detector_options"], 8
    )
    seen = torch.stack([model.model.transform.normalize(picture) for picture in pictures])
    # Rounding to 8 bits is half of 1 / 40; the largest of the values are cut.
    torch.testing.assert_close(seen, torch.from_numpy(values).clamp(-3.2, 3.175), rtol=0, atol=0.5 / 40 + 1e-5)
    # A mirrored texture is another texture, which no image shows.
    assert config["data"]["policy"] == "none"
    published = ("--model.detector_options.mean", "[123.675, 116.28, 103.53]")
    arguments = ("--config", "detection_default.yaml", *published, "--data.num_train", 8, "--data.num_val", 2)
    fails("would see other colours than in pre-training", *arguments, "--trainer.default_root_dir", tmp_path)


def test_tasks_follow_from_names():
    assert task_of("coco_mask_rcnn_swin_t_1x") == "detection" and task_of("swin_moe_in22k") == "upstream"
    assert with_task(["--config", "configs/default.yaml"])[0] == "segmentation"
    assert with_task(["--task", "detection", "--config", "own.yaml"]) == ("detection", ["--config", "own.yaml"])


@pytest.mark.parametrize("name", sorted(path.stem for path in (PROJECT / "rmoe" / "configs").glob("*.yaml")))
def test_every_config_is_understood(name, capsys, tmp_path):
    assert main(["--config", f"{name}.yaml", "--print_config"]) == 0
    assert "recipe:" in capsys.readouterr().out


@pytest.mark.skipif(not DATA.is_dir(), reason="the samples of ../shared/data/rmoe are not here")
def test_the_published_recipes_train_on_the_real_samples(tmp_path):
    alone = ("--trainer.accelerator", "cpu", "--trainer.devices", 1, "--data.num_workers", 0)
    quick = ("--trainer.fast_dev_run", "true", "--model.backbone", SMALL_SWIN, "--data.batch_size", 2)
    ade = ("--data.root", DATA / "ade", "--data.crop", 64, "--data.short", 64, "--model.head_channels", 8)
    assert (
        train(tmp_path, "--config", "ade20k_swin_t.yaml", *alone, *quick, *ade, "--trainer.sync_batchnorm", "false")
        == 0
    )
    options = "{train_sizes: [], channels: 8, width: 16, min_size: 64, max_size: 96, proposals: 20, rpn_samples: 16, samples: 8}"
    coco = ("--data.root", DATA / "coco", "--data.short_sides", "[64]", "--data.long", 96)
    arguments = (*alone, *quick, *coco, "--model.detector_options", options)
    assert train(tmp_path, "--config", "coco_mask_rcnn_swin_t_1x.yaml", *arguments) == 0


def test_mistakes_are_answered_in_one_line(fails, tmp_path):
    config = ("--config", "default.yaml", *NO_PRETRAINING, "--trainer.default_root_dir", tmp_path)
    fails("data.root nowhere not found", *config, "--data.root", "nowhere")
    (tmp_path / "empty").mkdir()
    fails("has none of the layouts", *config, "--data.root", tmp_path / "empty")
    fails("block", *config, "--model.mixture.blocks", "[[5]]")
    fails("k = 9 experts a token of 8", *config, "--model.mixture.k", 9)
    fails("'resnet' is unknown", *config, "--model.backbone", "{name: resnet}")
    fails("make no batch of 32", *config, "--data.num_train", 8)
    fails("did you mean", *config, "--model.recipe.learning_rat", 1)
    assert main(["--task", "nothing"]) == 2


def test_data_of_ones_own_train(tmp_path):
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (tmp_path / "data" / kind / split).mkdir(parents=True)
        for number in range(2):
            pixels = rng.integers(256, size=(32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / "images" / split / f"{number}.png")
            mask = rng.integers(3, size=(32, 32)).astype(np.uint16) * 300
            Image.fromarray(mask).save(tmp_path / "data" / "masks" / split / f"{number}.png")
    (tmp_path / "data" / "classes.json").write_text(json.dumps({"0": "road", "300": "car", "600": "ignore"}))
    sizes = ("--data.crop", 32, "--data.short", 32, "--data.batch_size", 2, "--data.eval_batch_size", 1)
    arguments = (*NO_PRETRAINING, *sizes, "--trainer.max_epochs", 1, "--data.root", tmp_path / "data")
    assert train(tmp_path / "runs", "--config", "default.yaml", *arguments) == 0


def test_everything_a_crowd_can_be_trained_on_when_asked(tmp_path, fails):
    from rmoe.data import mosaic_coco
    from rmoe.data.mosaic import Mosaic

    root = mosaic_coco.write(Mosaic(), tmp_path / "data", {"train": 4, "val": 2})
    path = root / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        annotation["iscrowd"] = 1
    path.write_text(json.dumps(content))
    arguments = ("--config", "detection_default.yaml", *NO_PRETRAINING, "--data.root", root)
    arguments = (*arguments, "--trainer.fast_dev_run", "true")
    arguments = (*arguments, "--data.batch_size", 2, "--trainer.default_root_dir", tmp_path)
    fails("annotations are crowd, none can train; --crowd-as-objects", *arguments)
    assert main([*map(str, arguments), "--crowd-as-objects"]) == 0


def test_pipelines_are_refused_before_they_start(tmp_path, capsys):
    for arguments, message in (
        (("--which", "best"), "the pipeline 'best' is unknown"),
        (("--rates", "fast"), "give numbers with commas"),
        (("--tuning", "9"), "must be some of the seeds"),
    ):
        assert pipeline(["--out", str(tmp_path / "out"), *arguments]) == 2
        assert message in capsys.readouterr().err and not (tmp_path / "out").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    assert pipeline(["--out", str(tmp_path / "full")]) == 2 and "--overwrite" in capsys.readouterr().err


def test_the_script_answers_without_loading_torch():
    code = "import sys; from rmoe.commands.train import main; main(['--help']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "train" in done.stdout
