"""train, evaluate, reconstruct, import_checkpoint and export as they are typed, and what they answer to mistakes."""

import csv
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from mrf_unroll import evaluation
from mrf_unroll.data.phantoms import head_phantom
from mrf_unroll.evaluation import ORDER, judge
from mrf_unroll.reconstructor import Reconstructor
from shared_utils import UserError, checkpoint

PROJECT = Path(__file__).parents[1]
REAL = PROJECT.parents[1] / "shared" / "data" / "mrf_unroll"
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
                "class_path": "mrf_unroll.comparison.RivalNetworks",
                "init_args": {
                    "rivals": {"unet": {"iterations": 1, "encoder": {"name": "unet", "widths": [4, 8]}}},
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
    """The verb's ``main`` in this process; its exit status."""
    spec = importlib.util.spec_from_file_location(f"verb_{verb}", PROJECT / f"{verb}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main([str(argument) for argument in arguments])


def train(root, *arguments, rivals=False):
    config = json.loads(json.dumps(CONFIG))
    if not rivals:
        del config["trainer"]["callbacks"]
    root.mkdir(parents=True, exist_ok=True)
    path = root / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return run("train", "--config", path, "--trainer.default_root_dir", root, *arguments)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a short training with a rival."""
    root = tmp_path_factory.mktemp("runs")
    assert train(root, "--trainer.max_epochs", 20, "--model.learning_rate", 0.01, rivals=True) == 0
    return root / "small" / "version_0"


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A scan with the schedule and trajectory of ``trained``, and the maps beside it."""
    path = tmp_path_factory.mktemp("scans") / "scan.npz"
    arguments = ("--schedule", "jiang:30", "--samples", 20, "--turns", 2)
    assert run("simulate", "--maps", "head:16", "--out", path, *arguments) == 0
    return path


def _error(capsys):
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines and ": error: " in lines[-1]
    return lines[-1]


# Training -----------------------------------------------------------------------------------------------------------------


def test_training_leaves_a_run_that_can_be_used_by_itself(trained):
    for name in ("training.png", "steps.png", "fingerprints.png", "maps.png", "iterations.png", "agreement.png"):
        assert (trained / "figures" / name).stat().st_size > 1000
    network = Reconstructor.load(trained)
    assert network.sequence.hash == network.sequence.of(network.sequence.fa_deg).hash
    assert network.basis.shape == (30, 3) and float(network.network.decoder.scale) > 0
    assert network.options["trajectory_sha256"] and network.options["operator_norm"] > 0
    assert network.options["data"]["protocol"]["samples"] == 20


def test_the_learnt_steps_are_logged_every_epoch(trained):
    with (trained / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["alpha_1"]]
    assert len(rows) == 20 and all(float(row["step_0"]) > 0 for row in rows)
    assert rows[0]["alpha_0"] != rows[1]["alpha_0"]


def test_every_method_stands_in_the_table(trained):
    with (trained / "methods.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == [
        "true time series + DM (floor)",
        "zero-filled + DM",
        "low-rank CG + DM",
        "LRTV + DM",
        "PnP-ADMM + DM",
        "low-rank CG + MRF-ResNet",
        "U-Net, end to end",
        "unrolled",
    ]
    assert all(0 <= float(row["T1 NRMSE"]) < 5 and float(row["|Ax-y|/|y|"]) >= 0 for row in rows)
    assert rows[-1]["training steps"] == "40" and int(rows[-2]["parameters"]) > 0


def _curve(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return [row["train_total"] for row in csv.DictReader(file) if row["train_total"]]


def test_training_is_the_same_twice_and_after_an_interruption(tmp_path):
    whole = ("--model.one_cycle", "false")
    assert train(tmp_path / "a", *whole) == 0
    assert train(tmp_path / "b", *whole, "--trainer.max_epochs", 1) == 0
    assert train(tmp_path / "b", *whole, "--resume") == 0
    one, other = (
        Reconstructor.load(tmp_path / name / "small" / "version_0" / "checkpoints" / "last.ckpt").state_dict()
        for name in ("a", "b")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert _curve(tmp_path / "a" / "small" / "version_0") == _curve(tmp_path / "b" / "small" / "version_0")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"samples": 24}, "another trajectory"),
        ({"schedule": "jiang:31"}, "another schedule"),
        ({"t2_ms": [10, 400]}, "another basis V"),
    ],
)
def test_a_checkpoint_is_not_resumed_on_another_acquisition(trained, tmp_path, capsys, changes, said):
    target = tmp_path / "small" / "version_0" / "checkpoints" / "last.ckpt"
    target.parent.mkdir(parents=True)
    target.write_bytes((trained / "checkpoints" / "last.ckpt").read_bytes())
    protocol = json.dumps({**PROTOCOL, **changes})
    assert train(tmp_path, "--data.protocol", protocol, "--resume", "--trainer.max_epochs", 3) == 2
    assert said in _error(capsys)


def test_training_on_own_maps_that_do_not_say_their_unit_is_refused(tmp_path, capsys):
    for number in range(4):
        t1, t2, density = head_phantom(16, np.random.default_rng(number)).maps
        np.savez(tmp_path / f"{number}.npz", T1=t1, T2=t2, PD=density)
    own = ("--data.root", tmp_path, "--data.num_val", 1, "--data.num_test", 1)
    assert train(tmp_path / "runs", *own) == 2
    assert "unit" in _error(capsys)
    assert train(tmp_path / "runs", *own, "--data.unit_t", "ms") == 2
    assert "ms" in _error(capsys)
    assert train(tmp_path / "runs", *own, "--data.unit_t", "s", "--trainer.max_epochs", 1) == 0


def test_complex_time_series_are_trained_with_coils(tmp_path):
    protocol = json.dumps({**PROTOCOL, "num_coils": 3})
    changes = ("--data.complex_valued", "true", "--data.protocol", protocol, "--trainer.max_epochs", 1)
    assert train(tmp_path, *changes) == 0
    assert Reconstructor.load(tmp_path / "small").network.complex_valued


def test_the_published_recipe_runs(tmp_path):
    """The released network, loss and step rule on masks of gridded spirals, at a small size."""
    config = yaml.safe_load((PROJECT / "configs" / "published.yaml").read_text())
    small = {"schedule": "ramp:12", "rank": 4, "grid": [12, 12], "image_size": 16, "samples": 30}
    config["data"] |= {"protocol": config["data"]["protocol"] | small, "num_train": 4, "num_val": 1, "num_test": 1}
    config["model"] |= {"decoder_steps": 20, "encoder": {"name": "resnet", "hidden": 8, "blocks": 2}}
    config["trainer"] |= {"max_epochs": 1, "accelerator": "cpu", "default_root_dir": str(tmp_path), "devices": 1}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert run("train", "--config", tmp_path / "config.yaml") == 0
    network = Reconstructor.load(tmp_path / "published").network
    assert network.step_rule == "relu_plus_one" and network.iterations == 2


# Reconstruction -----------------------------------------------------------------------------------------------------------


def test_a_scan_is_reconstructed_with_a_report(trained, scan, tmp_path):
    beside = scan.with_name("scan_maps.npz")
    for method in ("unrolled", "unet", "svd_mrf", "low_rank", "lrtv", "pnp_admm", "mrfresnet"):
        out = tmp_path / method
        assert (
            run(
                "reconstruct",
                "--scan",
                scan,
                "--out",
                out,
                "--ckpt",
                trained,
                "--method",
                method,
                "--reference",
                beside,
            )
            == 0
        )
        report = json.loads((out / "report.json").read_text())
        assert report["method"] == method and 0 < report["data_consistency"] < 5
        assert report["units"]["T1"] == "ms" and set(report["seconds"]) >= {"read", "operator", "reconstruction"}
        assert report["statistics"]["mask"]["voxels"] > 0 and set(report["statistics"]["T1"]) >= {
            "mean",
            "median",
            "std",
        }
        assert {"T1_NRMSE", "T2_MAPE_percent", "PD_bias"} <= set(report["errors"]) and report["warnings"] == []
        maps = np.load(out / "maps.npz")
        assert maps["T1"].shape == (16, 16) and (maps["T2"] <= maps["T1"]).all() and str(maps["unit_t"]) == "ms"
        assert (out / "maps.png").stat().st_size > 1000


def test_nothing_is_overwritten_without_force(trained, scan, tmp_path, capsys):
    arguments = ("reconstruct", "--scan", scan, "--out", tmp_path / "out", "--ckpt", trained)
    assert run(*arguments) == 0
    before = (tmp_path / "out" / "report.json").read_bytes()
    assert run(*arguments) == 2
    assert "--force" in _error(capsys)
    assert (tmp_path / "out" / "report.json").read_bytes() == before
    assert run(*arguments, "--force") == 0


def test_a_folder_of_scans_is_resumed(trained, scan, tmp_path, capsys):
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("a.npz", "b.npz"):
        (folder / name).write_bytes(scan.read_bytes())
    arguments = ("reconstruct", "--scan", folder, "--out", tmp_path / "out", "--ckpt", trained)
    assert run(*arguments) == 0
    (tmp_path / "out" / "b" / "report.json").unlink()
    kept = (tmp_path / "out" / "a" / "report.json").stat().st_mtime_ns
    assert run(*arguments, "--resume") == 0
    assert (tmp_path / "out" / "a" / "report.json").stat().st_mtime_ns == kept
    assert (tmp_path / "out" / "b" / "report.json").is_file()


def test_the_gain_of_a_scan_is_found_and_given_back(trained, scan, tmp_path):
    content = dict(np.load(scan))
    np.savez(tmp_path / "loud.npz", **{**content, "kspace": 1000 * content["kspace"]})
    densities = []
    for name, path in (("one", scan), ("loud", tmp_path / "loud.npz")):
        assert run("reconstruct", "--scan", path, "--out", tmp_path / name, "--ckpt", trained) == 0
        densities.append(np.load(tmp_path / name / "maps.npz")["PD"])
    np.testing.assert_allclose(densities[1], 1000 * densities[0], rtol=1e-2, atol=1)


def test_another_trajectory_is_reconstructed_without_retraining_and_reported(trained, tmp_path):
    path = tmp_path / "other.npz"
    changes = ("--schedule", "jiang:30", "--samples", 33, "--turns", 3)
    assert run("simulate", "--maps", "head:16", "--out", path, *changes) == 0
    assert run("reconstruct", "--scan", path, "--out", tmp_path / "out", "--ckpt", trained) == 0
    assert any("trajectory" in text for text in json.loads((tmp_path / "out" / "report.json").read_text())["warnings"])


def test_an_object_with_a_phase_is_noticed(trained, tmp_path):
    head = head_phantom(16, np.random.default_rng(0))
    t1, t2, density = head.maps
    row, column = np.meshgrid(*[np.linspace(-2, 2, 16)] * 2)
    np.savez(tmp_path / "maps.npz", T1=t1, T2=t2, PD=density, unit_t="s", phase=row + column)
    path = tmp_path / "scan.npz"
    arguments = ("--schedule", "jiang:30", "--samples", 60, "--turns", 2, "--use_phase")
    assert run("simulate", "--maps", tmp_path / "maps.npz", "--out", path, *arguments) == 0
    assert run("reconstruct", "--scan", path, "--out", tmp_path / "out", "--ckpt", trained) == 0
    assert any("phase" in text for text in json.loads((tmp_path / "out" / "report.json").read_text())["warnings"])


def test_the_travelling_network_works_at_once(tmp_path):
    path = tmp_path / "scan.npz"
    assert run("simulate", "--maps", "head:48", "--out", path, "--seed", 5) == 0
    beside = tmp_path / "scan_maps.npz"
    assert run("reconstruct", "--scan", path, "--out", tmp_path / "out", "--reference", beside) == 0
    errors = json.loads((tmp_path / "out" / "report.json").read_text())["errors"]
    assert errors["T1_NRMSE"] < 0.1 and errors["T2_NRMSE"] < 0.1


def _scan_with(scan, tmp_path, **changes):
    content = {**dict(np.load(scan)), **changes}
    np.savez(tmp_path / "bad.npz", **{name: value for name, value in content.items() if value is not None})
    return tmp_path / "bad.npz"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kspace": None}, "kspace"),
        ({"traj": np.full((30, 20, 2), 1.5, np.float32)}, "radians"),
        ({"kspace": np.zeros((1, 30, 21), np.complex64)}, "kspace"),
        ({"fa_deg": np.full(30, 11.0)}, "another schedule"),
        ({"te_ms": np.full(30, 13.0)}, "TE"),
        ({"kspace": np.full((1, 30, 20), np.nan, np.complex64)}, "finite"),
    ],
)
def test_mistakes_in_a_scan_are_named(trained, scan, tmp_path, capsys, changes, said):
    path = _scan_with(scan, tmp_path, **changes)
    assert run("reconstruct", "--scan", path, "--out", tmp_path / "out", "--ckpt", trained) == 2
    assert said in _error(capsys)
    assert not (tmp_path / "out").exists()


def test_the_dictionary_of_another_basis_is_refused(trained, scan, tmp_path, capsys):
    from mrf_unroll.dictionary import Dictionary, log_grid
    from mrf_unroll.schedules import Sequence, jiang_like_fa

    def build(path, num_pulses, largest):
        sequence = Sequence.of(jiang_like_fa(num_pulses))
        Dictionary.build(sequence, log_grid(8, 8, (100, largest), (10, 300)), 3).save(path)
        return path

    for num_pulses, said in ((30, "another basis V"), (31, "another schedule")):
        path = build(tmp_path / f"{num_pulses}.npz", num_pulses, 3000)
        assert run("reconstruct", "--scan", scan, "--out", tmp_path / "o", "--ckpt", trained, "--dictionary", path) == 2
        assert said in _error(capsys)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--method", "magic"), "no method magic here: there are unrolled, unet"),
        (("--method", "lrtv", "--options", "{lam: 1, steps: 3}"), "lrtv takes lam, iterations, not steps"),
        (("--gain", "0"), "gain"),
        (("--density", "hexagonal"), "density"),
    ],
)
def test_mistakes_in_arguments_of_reconstruct_are_named(trained, scan, tmp_path, capsys, arguments, said):
    assert run("reconstruct", "--scan", scan, "--out", tmp_path / "out", "--ckpt", trained, *arguments) == 2
    assert said in _error(capsys)


# Evaluation ---------------------------------------------------------------------------------------------------------------


def test_evaluation_averages_seeds_and_judges_the_claim(trained, tmp_path):
    methods = "svd_mrf,low_rank,unet,unrolled"
    assert run("evaluate", "--ckpt", f"{trained},{trained}", "--methods", methods, "--out", tmp_path, "--limit", 1) == 0
    claim = json.loads((tmp_path / "claim.json").read_text())
    assert set(claim) == {"claim", "holds", "verdict", "tables", "figures", "seeds"}
    assert claim["holds"] is False and "does not hold" in claim["verdict"]  # so short a training is not enough
    assert all((tmp_path / figure["file"]).is_file() for figure in claim["figures"])
    with (tmp_path / "scores.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2 * 4


def test_the_claim_holds_only_in_the_order_that_it_states():
    errors = dict(zip(ORDER, (0.05, 0.1, 0.2, 0.4), strict=True))
    rows = [{"method": name, "T1 NRMSE": value, "T2 NRMSE": value} for name, value in errors.items()]
    assert judge([rows, rows], [0, 1], rows)["holds"]
    spoilt = [{**row, "T2 NRMSE": 0.01} if row["method"] == "low_rank" else row for row in rows]
    claim = judge([rows, spoilt], [0, 1], rows)
    assert not claim["holds"] and "T2" in claim["verdict"] and "T1:" not in claim["verdict"]
    with pytest.raises(UserError, match="needs unet"):
        judge([[row for row in rows if row["method"] != "unet"]] * 2, [0, 1], rows)


def test_other_anatomy_and_another_trajectory_are_evaluated_without_retraining(trained, tmp_path):
    t1, t2, density = head_phantom(40, np.random.default_rng(9)).maps
    np.savez(tmp_path / "maps.npz", T1=t1, T2=t2, PD=density, unit_t="s")
    angle = np.linspace(0, 4 * np.pi, 25)
    interleaf = np.stack([np.sin(angle), np.cos(angle)]) * np.linspace(0, 0.49, 25)
    np.savez(tmp_path / "spiral.npz", Coords=interleaf)
    options = ("--maps", tmp_path / "maps.npz", "--protocol", f"{{trajectory: {tmp_path / 'spiral.npz'}}}")
    assert (
        run("evaluate", "--ckpt", trained, *options, "--methods", "low_rank,unrolled", "--out", tmp_path / "out") == 0
    )
    with (tmp_path / "out" / "methods.csv").open(newline="") as file:
        assert [row["method"] for row in csv.DictReader(file)] == ["low-rank CG + DM", "unrolled"]


def test_a_sweep_makes_a_table_and_a_figure(trained, tmp_path):
    arguments = ("--sweep", "samples:20,30", "--methods", "svd_mrf,unrolled", "--limit", 1)
    assert run("evaluate", "--ckpt", trained, *arguments, "--out", tmp_path) == 0
    with (tmp_path / "sweep.csv").open(newline="") as file:
        assert [row["samples"] for row in csv.DictReader(file)] == ["20", "20", "30", "30"]
    assert (tmp_path / "figures" / "sweep.png").stat().st_size > 1000


def test_two_processes_do_between_them_what_one_does(trained, monkeypatch):
    def records(rank, world):
        monkeypatch.setattr(evaluation.distributed, "share", lambda items: items[rank::world])
        study = evaluation.open_study(trained)
        methods = evaluation.build_methods(study, ["svd_mrf", "unrolled"])
        return evaluation.run_methods(study, methods, study.data.slices["test"])[0]

    whole, halves = records(0, 1), [*records(0, 2), *records(1, 2)]
    key = lambda record: (record.subject, record.method)  # noqa: E731
    for one, other in zip(sorted(whole, key=key), sorted(halves, key=key), strict=True):
        assert key(one) == key(other) and torch.equal(one.sums, other.sums)
        assert one.consistency == other.consistency


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--methods", "lrtv,magic"), "no method magic here: there are floor, svd_mrf"),
        (("--protocol", "{schedule: jiang:40}"), "another schedule"),
        (("--protocol", "{smaples: 3}"), "no such option of the protocol: 'smaples'"),
        (("--sweep", "samples"), "as samples:24,32,48"),
        (("--limit", "0"), "limit must be at least 1"),
        (("--noise", "-1"), "noise must not be negative"),
    ],
)
def test_mistakes_in_arguments_of_evaluate_are_named(trained, tmp_path, capsys, arguments, said):
    assert run("evaluate", "--ckpt", trained, "--out", tmp_path, *arguments) == 2
    assert said in _error(capsys)


# Import and export --------------------------------------------------------------------------------------------------------


def test_an_exported_folder_is_the_network_with_its_rivals(trained, tmp_path):
    assert run("export", "--ckpt", trained, "--out", tmp_path / "net") == 0
    one, other = Reconstructor.load(trained).state_dict(), Reconstructor.load(tmp_path / "net").state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (
        run("evaluate", "--ckpt", tmp_path / "net", "--methods", "unet,unrolled", "--out", tmp_path / "e", "--limit", 1)
        == 0
    )


def test_an_exported_program_is_checked_and_the_published_form_asks_for_its_network(trained, tmp_path, capsys):
    assert run("export", "--ckpt", trained, "--out", tmp_path / "net.pt2", "--to", "pt2") == 0
    assert (tmp_path / "net.pt2").stat().st_size > 1000
    assert run("export", "--ckpt", trained, "--out", tmp_path / "net.pt", "--to", "published") == 2
    assert "step_rule relu_plus_one" in _error(capsys) and not (tmp_path / "net.pt").exists()


@pytest.mark.skipif(not REAL.is_dir(), reason="the released weights are not beside this checkout")
def test_released_weights_are_imported_and_begin_a_training(tmp_path, capsys, scan):
    released = REAL / "pgdnet_released"
    bloch = released / "miccai_bloch_gen_200210-180246.pt"
    assert (
        run(
            "import_checkpoint",
            "--src",
            released / "PGD_NET_Spiral_T_1.pt",
            "--bloch",
            bloch,
            "--out",
            tmp_path / "net",
        )
        == 0
    )
    said = capsys.readouterr().out
    assert "18 tensors matched; 80 left out" in said and "not released" in said
    assert run("reconstruct", "--scan", scan, "--out", tmp_path / "out", "--ckpt", tmp_path / "net") == 2
    assert "without its basis and schedule" in _error(capsys)
    protocol = json.dumps({**PROTOCOL, "rank": 10})
    network = ("--model.encoder", "{name: resnet, hidden: 32, blocks: 2, head_hidden: 32}", "--data.protocol", protocol)
    assert train(tmp_path, *network, "--model.initial_weights", tmp_path / "net", "--trainer.max_epochs", 1) == 0


@pytest.mark.skipif(not REAL.is_dir(), reason="the published file is not beside this checkout")
def test_the_published_subspace_is_imported_and_its_networks_are_explained(tmp_path, capsys):
    assert run("import_checkpoint", "--src", REAL / "MRFResnet_AE.mat", "--out", tmp_path) == 0
    assert "MATLAB objects" in capsys.readouterr().out
    assert np.load(tmp_path / "subspace.npz")["basis"].shape == (880, 10)


def test_a_run_without_checkpoints_and_a_foreign_one_are_named(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run("evaluate", "--ckpt", tmp_path / "empty", "--out", tmp_path / "o") == 2
    assert "no checkpoint in" in _error(capsys)
    checkpoint.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    assert run("export", "--ckpt", tmp_path / "foreign.ckpt", "--out", tmp_path / "o") == 2
    assert "no checkpoint of ours" in _error(capsys)


@pytest.mark.parametrize("verb", ["train", "evaluate", "reconstruct", "import_checkpoint", "export"])
def test_help_answers_before_torch_is_loaded(verb):
    code = f"import runpy, sys; sys.argv = ['{verb}.py', '--help']\ntry: runpy.run_path('{verb}.py', run_name='__main__')\n"
    code += "except SystemExit as stop: assert not stop.code\nassert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0 and "usage" in done.stdout.lower(), done.stderr
