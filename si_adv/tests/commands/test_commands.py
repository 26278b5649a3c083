"""The commands, in process, on the bundled victim; one subprocess proves the shell."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from shared_utils import work
from shared_utils.claim import Claim
from si_adv import load_victim
from si_adv.commands import (
    attack,
    claim,
    defend,
    evaluate,
    export,
    import_checkpoint,
    predict,
    query,
    sensitivity,
    train,
    train_punet,
    transfer,
)
from si_adv.data.procedural import ProceduralShapes
from si_adv.data.writers import write_npz, write_ply

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("scratch")


def table(folder):
    return list(csv.DictReader((Path(folder) / "table.csv").open()))


def stripped(folder):
    """The table without what is timed."""
    return [{key: value for key, value in row.items() if "seconds" not in key} for row in table(folder)]


def test_attack_leaves_tables_clouds_and_figures(capsys):
    assert attack.main(["--limit", "10", "--out", "a", "--save", "npz,ply,txt", "--attack", "si_ifgm,ifgm"]) == 0
    printed = capsys.readouterr().out
    assert "si_ifgm" in printed and "results: a" in printed
    rows = table("a")
    assert [row["attack"] for row in rows] == ["si_ifgm", "ifgm"]
    assert all(float(row["asr"]) >= 0.8 and float(row["asr_low"]) < float(row["asr"]) for row in rows)
    for name in (
        "table.json",
        "table.md",
        "displacement.png",
        "success_against_surface.png",
        "success_over_steps.png",
    ):
        assert (Path("a") / name).stat().st_size > 100, name
    (clouds,) = Path("a/clouds").glob("*-si_ifgm-0.npz")
    with np.load(clouds) as arrays:
        assert arrays["adv"].shape == (10, 1024, 3) and arrays["adv"].dtype == np.float32
        text = clouds.with_suffix("") / f"{arrays['name'][0]}.txt"
    assert np.loadtxt(text).shape == (1024, 6)
    assert text.with_suffix(".ply").is_file()


def test_compare_prints_the_claim_and_its_verdict(capsys):
    assert attack.main(["--compare", "--limit", "10", "--seeds", "0", "--out", "c"]) == 0
    printed = capsys.readouterr().out
    assert "1 of 1 runs show it" in printed and "random_tangent" in printed
    assert claim.main(["c"]) == 0
    assert "1 of 1 runs show it" in capsys.readouterr().out
    judged = Claim.read("c")
    assert judged.tables[0].rows[0]["surface si/ifgm"] < 1 and judged.seeds == [0] and len(judged.figures) == 3
    assert claim.main(["c"]) == 2
    assert "c/claim.json exists" in capsys.readouterr().err
    assert claim.main(["c", "--out", "elsewhere"]) == 0
    assert all((Path("elsewhere") / figure.file).is_file() for figure in judged.figures)


def test_an_interrupted_attack_resumes_to_the_same_table(monkeypatch, capsys):
    arguments = ["--attack", "si_ifgm,pgd", "--limit", "8", "--batch_size", "2"]
    assert attack.main([*arguments, "--out", "whole"]) == 0
    calls, real = [], work.Work.write

    def interrupted(self, name, **arrays):
        calls.append(name)
        if len(calls) == 4:
            raise KeyboardInterrupt
        real(self, name, **arrays)

    monkeypatch.setattr(work.Work, "write", interrupted)
    assert attack.main([*arguments, "--out", "broken"]) == 130
    assert not Path("broken/table.csv").exists()
    finished = {path: path.stat().st_mtime_ns for path in Path("broken/parts").rglob("*.npz")}
    assert len(finished) == 3
    monkeypatch.setattr(work.Work, "write", real)
    assert attack.main([*arguments, "--out", "broken", "--resume"]) == 0
    assert all(path.stat().st_mtime_ns == made for path, made in finished.items())
    assert stripped("broken") == stripped("whole")
    with (
        np.load(next(Path("whole/clouds").glob("*pgd*"))) as a,
        np.load(next(Path("broken/clouds").glob("*pgd*"))) as b,
    ):
        np.testing.assert_array_equal(a["adv"], b["adv"])


def test_two_processes_make_the_table_of_one():
    arguments = ["--attack", "si_ifgm,pgd", "--limit", "8", "--batch_size", "2"]
    assert attack.main([*arguments, "--out", "one"]) == 0
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    done = subprocess.run(
        [*launch, ROOT / "attack.py", *arguments, "--out", "two"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for ours, theirs in zip(stripped("one"), stripped("two"), strict=True):
        for key, value in ours.items():
            try:
                assert float(value) == pytest.approx(float(theirs[key]), rel=1e-4), key
            except ValueError:
                assert value == theirs[key]


def test_a_sweep_draws_success_over_the_budget():
    assert attack.main(["--attack", "si_ifgm,ifgm", "--sweep", "eps:0.001,0.16", "--limit", "6", "--out", "s"]) == 0
    rates = {row["attack"]: float(row["asr"]) for row in table("s")}
    assert rates["si_ifgm eps=0.001"] < rates["si_ifgm eps=0.16"]
    assert Path("s/sweep.png").is_file()


def test_a_targeted_attack_through_a_defence():
    assert attack.main(["--target", "next", "--limit", "4", "--defence", "sor", "--steps", "20", "--out", "t"]) == 0
    (clouds,) = Path("t/clouds").glob("*.npz")
    with np.load(clouds) as arrays:
        reached = arrays["prediction"] == (arrays["label"] + 1) % 10
        np.testing.assert_array_equal(reached, arrays["success"])


def test_queries_are_drawn_and_tabled():
    assert query.main(["--limit", "4", "--max_queries", "200", "--out", "q"]) == 0
    rows = {row["attack"]: row for row in table("q")}
    assert set(rows) == {"si_query", "simba", "simba_pp"}
    assert all(float(row["queries"]) <= 200 for row in rows.values())
    assert Path("q/success_over_queries.png").is_file() and Path("q/queries.png").is_file()


def test_transfer_to_itself_is_the_success_of_the_attack():
    load_victim().save_pretrained("v")
    assert transfer.main(["--surrogates", "v,b=v", "--limit", "6", "--out", "m"]) == 0
    rows = table("m")
    assert len(rows) == 4 and len({row["transfer"] for row in rows}) == 1
    assert float(rows[0]["transfer"]) >= 0.8
    assert Path("m/matrix_si_ifgm.png").is_file()


def test_defences_are_tabled_for_clouds_that_an_attack_wrote(capsys):
    assert attack.main(["--limit", "6", "--out", "a"]) == 0
    (clouds,) = Path("a/clouds").glob("*.npz")
    assert defend.main(["--clouds", str(clouds), "--out", "d"]) == 0
    rows = {row["defence"]: row for row in table("d")}
    assert set(rows) == {"none", "srs", "sor"}
    assert float(rows["none"]["asr"]) >= 0.8


def test_predict_evaluate_and_sensitivity(capsys):
    sample = ProceduralShapes("test", 20)[3]
    Path("folder").mkdir()
    write_ply("folder/a.ply", sample.points, sample.normals)
    assert predict.main(["folder"]) == 0
    assert capsys.readouterr().out.startswith("folder/a.ply  ")
    assert evaluate.main(["--limit", "50"]) == 0
    accuracy = float(capsys.readouterr().out.splitlines()[1].split()[2])
    assert 0.8 <= accuracy <= 1
    assert sensitivity.main(["--cloud", "folder/a.ply", "--out", "map.png"]) == 0
    assert Path("map.png").is_file() and Path("map.ply").is_file()


def test_what_is_exported_comes_back_with_the_same_outputs():
    victim, clouds = load_victim(), torch.rand(1, 3, 1024)
    with torch.no_grad():
        expected = victim(clouds)
        assert export.main(["--to", "pretrained", "--out", "folder"]) == 0
        torch.testing.assert_close(load_victim("folder")(clouds), expected)
        assert export.main(["--to", "pt2", "--out", "a.pt2"]) == 0
        torch.testing.assert_close(torch.export.load("a.pt2").module()(clouds), expected)


def test_onnx_computes_the_same_outputs():
    reference = pytest.importorskip("onnx.reference", reason="onnx is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    assert export.main(["--to", "onnx", "--out", "a.onnx"]) == 0
    clouds = torch.rand(1, 3, 1024)
    (scores,) = reference.ReferenceEvaluator("a.onnx").run(None, {"clouds": clouds.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(scores, load_victim()(clouds).numpy(), atol=1e-5)


def test_a_published_checkpoint_is_imported_and_exported_back():
    from si_adv import build_victim

    model = build_victim("dgcnn", 3).eval()
    torch.save({"model_state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, "best.pth")
    Path("names.txt").write_text("a\nb\nc\n")
    assert import_checkpoint.main(["best.pth", "--out", "ours", "--class_names", "names.txt"]) == 0
    assert load_victim("ours").class_names == ["a", "b", "c"]
    assert export.main(["--to", "published", "--ckpt", "ours", "--out", "again.pth"]) == 0
    again = torch.load("again.pth", weights_only=True)["model_state_dict"]
    assert all(torch.equal(again[name], value) for name, value in model.state_dict().items())


def test_training_then_attacking_what_was_trained(capsys):
    small = ["--data.procedural_sizes", "[40,20,20]", "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"]
    assert train.main(["--config", *small, "--trainer.enable_progress_bar", "false"]) == 0
    assert "python attack.py --compare --ckpt runs/default/version_0" in capsys.readouterr().out
    assert Path("runs/default/version_0/figures/training.png").is_file()
    assert evaluate.main(["--ckpt", "runs/default", "--limit", "10"]) == 0
    assert load_victim(next(Path("runs/default/version_0/checkpoints").glob("best*"))).class_names[0] == "bathtub"


def test_an_upsampler_is_trained_and_attacked_through(capsys):
    small = ["--data.procedural_sizes", "[8,2,2]", "--data.num_points", "256", "--trainer.max_epochs", "1"]
    quiet = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
    assert train_punet.main(["--config", *small, *quiet]) == 0
    weights = "runs/punet/version_0/punet.pth"
    assert f"--defence dupnet --punet {weights}" in capsys.readouterr().out
    attacked = ["--limit", "1", "--steps", "2", "--out", "d"]
    assert attack.main(["--defence", "dupnet", "--punet", weights, *attacked]) == 0
    assert attack.main(["--defence", "dupnet", *attacked]) == 2
    assert "pu-in_1024-up_4.pth" in capsys.readouterr().err


def test_a_random_defence_repeats_itself_after_an_interruption():
    arguments = ["--defence", "srs", "--draws", "2", "--limit", "4", "--batch_size", "2", "--steps", "5"]
    assert attack.main([*arguments, "--out", "a"]) == 0
    assert attack.main([*arguments, "--out", "b"]) == 0
    for path in Path("b/parts").rglob("*-000002.npz"):
        path.unlink()
    assert attack.main([*arguments, "--out", "b", "--resume"]) == 0
    assert stripped("a") == stripped("b")


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        (attack, ["--attack", "si_ifmg"], "unknown attack 'si_ifmg': choose from si_ifgm"),
        (attack, ["--ckpt", "absent.pth"], "absent.pth not found"),
        (attack, ["--ckpt", "page.pth"], "page.pth is a web page"),
        (attack, ["--ckpt", "empty"], "no good checkpoint in empty"),
        (attack, ["--data", "absent"], "absent"),
        (attack, ["--data", "empty"], "empty"),
        (attack, ["--data", "many.npz"], "knows 10 classes, the data has a cloud of class 11"),
        (attack, ["--num_points", "2048", "--data", "many.npz"], "2048"),
        (attack, ["--sweep", "epsilon:1,2"], "--sweep is eps:"),
        (attack, ["--seeds", "a"], "seeds are whole numbers"),
        (attack, ["--target", "spaceship", "--limit", "2"], "unknown target class spaceship"),
        (attack, ["--defence", "shield"], "shield"),
        (attack, ["--options", "{cw: {}}"], "options are given for cw"),
        (attack, ["--options", "{si_ifgm: {stps: 3}}"], "no option 'stps'"),
        (attack, ["--stps", "3"], "unknown argument stps: did you mean steps?"),
        (predict, ["absent.ply"], "absent.ply"),
        (predict, ["empty"], "empty holds no cloud"),
        (predict, ["short.txt"], "short.txt"),
        (predict, ["nan.txt"], "nan.txt, line 3"),
        (predict, ["flat.xyz"], "flat.xyz"),
        (predict, ["columns.txt"], "columns.txt, line 2"),
        (defend, ["--clouds", "many.npz"], "many.npz has no adv"),
        (import_checkpoint, ["page.pth", "--out", "x"], "page.pth is a web page"),
    ],
)
def test_bad_input_gives_one_line_and_status_2(command, arguments, message, capsys):
    Path("empty").mkdir()
    Path("page.pth").write_text("<html>quota</html>")
    rng = np.random.default_rng(0)
    points = rng.standard_normal((24, 1024, 3)).astype(np.float32)
    write_npz(
        "many.npz",
        test_points=points,
        test_label=np.arange(24) % 12,
        train_points=points,
        train_label=np.arange(24) % 12,
    )
    np.savetxt("short.txt", points[0, :100], delimiter=",")
    np.savetxt("flat.xyz", np.ones((1024, 3)))
    cloud = points[0].copy()
    np.savetxt("columns.txt", cloud)
    lines = Path("columns.txt").read_text().splitlines()
    Path("columns.txt").write_text("\n".join([lines[0], lines[1] + " 7 8", *lines[2:]]))
    cloud[2, 1] = np.nan
    np.savetxt("nan.txt", cloud)
    before = set(Path().rglob("*"))
    assert command.main(arguments) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(errors) == 1 and message in errors[0], errors
    assert {
        path for path in set(Path().rglob("*")) - before if path.suffix in (".npz", ".csv", ".png", ".safetensors")
    } == set()


def test_results_are_not_overwritten_and_not_mixed(capsys):
    assert attack.main(["--limit", "2", "--out", "a"]) == 0
    made = (Path("a") / "table.csv").read_bytes()
    assert attack.main(["--limit", "2", "--out", "a"]) == 2
    assert "a exists: continue it with --resume" in capsys.readouterr().err
    assert attack.main(["--limit", "3", "--out", "a", "--resume"]) == 2
    assert "limit 2, now 3" in capsys.readouterr().err
    assert (Path("a") / "table.csv").read_bytes() == made


@pytest.mark.parametrize(
    "name", ["attack", "query", "transfer", "defend", "sensitivity", "predict", "evaluate", "export"]
)
def test_help_is_quick_and_does_not_load_torch(name):
    code = f"import sys; from si_adv.commands.{name} import main; main(['--help']); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--ckpt" in done.stdout or name == "transfer"


def test_the_shell_runs_a_command():
    done = subprocess.run(
        [sys.executable, ROOT / "attack.py", "--limit", "2", "--steps", "3", "--out", "a"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "results: a" in done.stdout and Path("a/table.csv").is_file()


def test_importing_the_package_and_attacking_needs_torch_alone():
    code = (
        "import sys, torch; from si_adv import ShapeInvariantIFGM, load_victim; victim = load_victim();"
        "ShapeInvariantIFGM(victim, steps=1)(torch.rand(1, 1024, 3), torch.tensor([0]));"
        "heavy = {'pytorch_lightning', 'torchmetrics', 'torchvision', 'matplotlib', 'pytorch3d', 'open3d'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
