"""The commands as they are typed, in this process, and a small training that many tests share."""

import importlib
import json

import yaml

PROTOCOL = {"schedule": "jiang:30", "rank": 3, "grid": [12, 12], "image_size": 16, "samples": 20, "turns": 2.0}
CONFIG = {
    "name": "small",
    "trainer": {
        "max_epochs": 2,
        "accelerator": "cpu",
        "gradient_clip_val": 1.0,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "log_every_n_steps": 1,
        "callbacks": [
            {
                "class_path": "mrf_unroll.baselines.BaselineNetworks",
                "init_args": {
                    "networks": {"unet": {"iterations": 1, "encoder": {"name": "unet", "widths": [4, 8]}}},
                    "mrfresnet_steps": 20,
                    "denoiser_steps": 5,
                },
            }
        ],
    },
    "model": {"encoder": {"name": "resnet", "hidden": 8, "blocks": 1}, "iterations": 2, "decoder_steps": 60},
    "data": {"protocol": PROTOCOL, "num_train": 8, "num_val": 2, "num_test": 2},
}


def run(verb, *arguments):
    """The command's ``main`` in this process; its exit status."""
    return importlib.import_module(f"mrf_unroll.commands.{verb}").main([str(argument) for argument in arguments])


def train(root, *arguments, baselines=False):
    config = json.loads(json.dumps(CONFIG))
    if not baselines:
        del config["trainer"]["callbacks"]
    root.mkdir(parents=True, exist_ok=True)
    path = root / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return run("train", "--config", path, "--trainer.default_root_dir", root, *arguments)


def error_of(capsys):
    """The line that a command has ended with."""
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines and ": error: " in lines[-1]
    return lines[-1]
