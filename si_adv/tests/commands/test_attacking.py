"""``attack`` and ``claim``: what they leave, and what becomes of it when they are interrupted or repeated."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from result_tables import stripped, table

from shared_utils import files, work
from shared_utils.claim import Claim
from si_adv.commands import attack, claim, evaluate, predict
from si_adv.evaluation import experiment
from si_adv.victim import Victim

# How figures look in the end is proved by ``compared``, which renders them.
pytestmark = pytest.mark.usefixtures("scratch", "unrendered")


def test_attack_leaves_tables_clouds_and_figures(compared):
    folder, printed = compared
    assert "si_ifgm" in printed and f"results: {folder}" in printed
    rows = table(folder)
    assert [row["attack"] for row in rows] == attack.COMPARED.split(",")
    rows = [row for row in rows if row["attack"] in ("si_ifgm", "ifgm")]
    assert len(rows) == 2 and all(
        float(row["asr"]) >= 0.8 and float(row["asr_low"]) < float(row["asr"]) for row in rows
    )
    for name in (
        "table.json",
        "table.md",
        "displacement.png",
        "success_against_surface.png",
        "success_over_steps.png",
    ):
        assert (folder / name).stat().st_size > 100, name
    (clouds,) = (folder / "clouds").glob("*-si_ifgm-0.npz")
    with np.load(clouds) as arrays:
        assert arrays["adv"].shape == (6, 1024, 3) and arrays["adv"].dtype == np.float32
        text = clouds.with_suffix("") / f"{arrays['name'][0]}.txt"
    assert np.loadtxt(text).shape == (1024, 6)
    assert text.with_suffix(".ply").is_file()


def test_compare_prints_the_claim_and_its_verdict(compared, capsys):
    verdict = "1 runs pooled, "
    assert verdict in compared.printed and "of I-FGM's distance from the true surface" in compared.printed
    shutil.copytree(compared.folder, "c")
    assert claim.main(["c"]) == 0
    assert verdict in capsys.readouterr().out
    judged = Claim.read("c")
    assert not judged.holds  # six clouds show nothing
    assert judged.tables[0].rows[0]["true_surface si/ifgm"] < 1 and judged.seeds == [0] and len(judged.figures) == 3
    assert {row["against"] for row in judged.tables[1].rows} >= {"ifgm", "pgd"}
    assert claim.main(["c"]) == 2
    assert "c/claim.json exists" in capsys.readouterr().err
    assert claim.main(["c", "--out", "elsewhere"]) == 0
    assert all((Path("elsewhere") / figure.file).is_file() for figure in judged.figures)


def test_the_compared_clouds_lie_on_their_true_surface(compared):
    """Without noise: what is off the surface afterwards, the attack did."""
    for row in table(compared.folder):
        assert float(row["true_surface_clean"]) < 1e-6 < float(row["true_surface"]) < float(row["true_surface_p99"])
        assert float(row["true_surface_p99"]) < float(row["true_surface_max"])
    assert (compared.folder / "paired.csv").is_file()


def test_saved_clouds_are_as_adversarial_as_the_table_says(compared, capsys):
    """Of every format the same predictions come back, to the cloud."""
    (clouds,) = (compared.folder / "clouds").glob("*-ifgm-0.npz")
    with np.load(clouds) as arrays:
        names, classes = arrays["name"].tolist(), arrays["class_names"]
        expected = {name: classes[number] for name, number in zip(names, arrays["prediction"], strict=True)}
        assert len(expected) == 6 and arrays["success"].all()
        fooled_again = arrays["success_normalised"][~arrays["initial_success"]].mean()
    row = next(row for row in table(compared.folder) if row["attack"] == "ifgm")
    assert float(row["asr_normalised"]) == pytest.approx(fooled_again)
    assert predict.main([str(clouds), "--top", "1"]) == 0
    assert {line.split()[1]: line.split()[2] for line in capsys.readouterr().out.splitlines()} == expected
    for suffix in (".ply", ".txt"):
        for name, prediction in expected.items():
            assert predict.main([str(clouds.with_suffix("") / f"{name}{suffix}"), "--top", "1"]) == 0
            assert capsys.readouterr().out.split()[1] == prediction
    assert evaluate.main(["--data", str(clouds)]) == 0
    assert float(capsys.readouterr().out.splitlines()[1].split()[2]) == 0


def test_clouds_for_other_programs_are_made_with_a_margin():
    few = ["--attack", "fgm", "--limit", "2", "--num_points", "128"]
    for formats, more, margin in (
        ("npz", [], 0),
        ("ply", [], attack.EXPORT_CONFIDENCE),
        ("ply", ["--confidence", "0.5"], 0.5),
    ):
        assert attack.main([*few, "--save", formats, *more, "--out", f"{formats}{len(more)}"]) == 0
        assert files.read_json(Path(f"{formats}{len(more)}") / work.DESCRIPTION)["job"]["confidence"] == margin


FEW = ["--attack", "si_ifgm,pgd", "--limit", "8", "--batch_size", "2", "--num_points", "256", "--steps", "10"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of an attack by one process, from its beginning to its end."""
    folder = tmp_path_factory.mktemp("one_process") / "whole"
    assert attack.main([*FEW, "--out", str(folder)]) == 0
    return folder


def test_an_interrupted_attack_resumes_to_the_same_table(whole, monkeypatch, capsys):
    calls, real = [], work.Work.write

    def interrupted(self, name, /, **arrays):
        calls.append(name)
        if len(calls) == 4:
            raise KeyboardInterrupt
        real(self, name, **arrays)

    monkeypatch.setattr(work.Work, "write", interrupted)
    assert attack.main([*FEW, "--out", "broken"]) == 130
    assert not Path("broken/table.csv").exists()
    finished = {path: path.stat().st_mtime_ns for path in Path("broken/parts").rglob("*.npz")}
    assert len(finished) == 3
    monkeypatch.setattr(work.Work, "write", real)
    assert attack.main([*FEW, "--out", "broken", "--resume"]) == 0
    assert all(path.stat().st_mtime_ns == made for path, made in finished.items())
    assert stripped("broken") == stripped(whole)
    with (
        np.load(next((whole / "clouds").glob("*pgd*.npz"))) as a,
        np.load(next(Path("broken/clouds").glob("*pgd*.npz"))) as b,
    ):
        np.testing.assert_array_equal(a["adv"], b["adv"])


def test_two_processes_make_the_table_of_one(whole, processes):
    """The root script, as torchrun starts it, its arguments in a file."""
    Path("run.yaml").write_text(
        "".join(f"{name.removeprefix('--')}: {value}\n" for name, value in zip(FEW[::2], FEW[1::2], strict=True))
    )
    script = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    processes.group(script, Path(__file__).parents[2] / "attack.py", "--config", "run.yaml", "--out", "two")
    for ours, theirs in zip(stripped(whole), stripped("two"), strict=True):
        for key, value in ours.items():
            try:
                assert float(value) == pytest.approx(float(theirs[key]), rel=1e-4), key
            except ValueError:
                assert value == theirs[key]


def test_a_sweep_draws_success_over_the_budget():
    few = ["--limit", "4", "--steps", "10", "--num_points", "512"]
    assert attack.main(["--attack", "si_ifgm,ifgm", "--sweep", "eps:0.001,0.16", *few, "--out", "s"]) == 0
    rates = {row["attack"]: float(row["asr"]) for row in table("s")}
    assert rates["si_ifgm eps=0.001"] < rates["si_ifgm eps=0.16"]
    assert Path("s/sweep.png").is_file()


def test_small_steps_go_less_far():
    few = ["--limit", "4", "--num_points", "256"]
    assert attack.main([*few, "--out", "published"]) == 0
    assert attack.main(["--config", "small_step.yaml", *few, "--out", "small"]) == 0
    (published,), (small,) = table("published"), table("small")
    assert small["asr"] == published["asr"]
    assert float(small["l2"]) < float(published["l2"]) and float(small["steps"]) > float(published["steps"])


def test_a_targeted_attack_through_a_defence():
    few = ["--limit", "4", "--steps", "20", "--num_points", "512", "--out", "t"]
    assert attack.main(["--target", "next", "--defence", "sor", *few]) == 0
    (clouds,) = Path("t/clouds").glob("*.npz")
    with np.load(clouds) as arrays:
        reached = arrays["prediction"] == (arrays["label"] + 1) % 10
        np.testing.assert_array_equal(reached, arrays["success"])


def test_a_random_defence_repeats_itself_after_an_interruption():
    few = ["--limit", "4", "--batch_size", "2", "--steps", "3"]
    arguments = ["--defence", "srs", "--draws", "2", *few]
    assert attack.main([*arguments, "--out", "a"]) == 0
    assert attack.main([*arguments, "--out", "b"]) == 0
    for path in Path("b/parts").rglob("*-000002.npz"):
        path.unlink()
    assert attack.main([*arguments, "--out", "b", "--resume"]) == 0
    assert stripped("a") == stripped("b")


def quick(*arguments):
    return attack.main(["--limit", "2", "--steps", "2", "--num_points", "128", *arguments])


def test_results_are_not_overwritten_and_not_mixed(capsys):
    Victim("pointnet_small", 10).save_pretrained("other")
    assert quick("--out", "a") == 0
    made = (Path("a") / "table.csv").read_bytes()
    assert quick("--out", "a") == 2
    assert "a exists: continue it with --resume, replace it with --overwrite" in capsys.readouterr().err
    for changed, named in (
        (["--limit", "3"], "limit 2, now 3"),
        (["--eps", "0.1"], "eps 0.16, now 0.1"),
        (["--ckpt", "pointnet_procedural=other"], "victims "),
        (["--defence", "sor"], "defence null, now"),
        (["--options", "{si_ifgm: {normal_every: 2}}"], "options null, now"),
    ):
        assert quick("--out", "a", "--resume", *changed) == 2
        assert named in " ".join(capsys.readouterr().err.split()), changed
    assert quick("--out", "a", "--resume", "--overwrite") == 2
    assert "give one of them" in capsys.readouterr().err
    assert (Path("a") / "table.csv").read_bytes() == made
    assert quick("--out", "a", "--resume") == 0
    assert (Path("a") / "table.csv").read_bytes() == made


def test_changed_clouds_are_another_experiment(capsys):
    points = np.random.default_rng(0).standard_normal((4, 128, 3)).astype(np.float32)
    np.savez("data.npz", test_points=points, test_label=np.arange(4))
    assert quick("--data", "data.npz", "--out", "a") == 0
    np.savez("data.npz", test_points=points + 0.01 * points**2, test_label=np.arange(4))
    assert quick("--data", "data.npz", "--out", "a", "--resume") == 2
    assert "clouds {" in capsys.readouterr().err


def test_overwriting_leaves_nothing_of_the_old_results_and_keeps_other_files():
    assert quick("--attack", "si_ifgm,ifgm", "--out", "a") == 0
    assert Path("a/success_against_surface.png").is_file()
    Path("a/notes.txt").write_text("mine")
    Path("a/claim.json").write_text("old")
    assert quick("--attack", "fgm", "--out", "a", "--overwrite") == 0
    assert [row["attack"] for row in table("a")] == ["fgm"]
    assert [path.name for path in Path("a/clouds").iterdir()] == ["pointnet_procedural-fgm-0.npz"]
    assert not Path("a/success_against_surface.png").exists() and not Path("a/claim.json").exists()
    assert Path("a/notes.txt").read_text() == "mine"


def test_overwriting_a_folder_of_other_things_deletes_none_of_them(capsys):
    Path("mine/clouds").mkdir(parents=True)
    Path("mine/clouds/cumulus.txt").write_text("white")
    assert quick("--out", "mine") == 2
    assert "mine exists" in capsys.readouterr().err
    assert quick("--out", "mine", "--overwrite") == 0
    assert Path("mine/clouds/cumulus.txt").read_text() == "white"


def test_two_commands_on_one_folder_do_not_meet(monkeypatch, capsys):
    real, second = experiment.attack_batch, []

    def meanwhile(*arguments):
        if not second:
            second.append(None)
            for flag in ("--resume", "--overwrite", None):
                assert quick("--out", "a", *([flag] if flag else [])) == 2
                second.append(" ".join(capsys.readouterr().err.split()))
        return real(*arguments)

    monkeypatch.setattr(experiment, "attack_batch", meanwhile)
    assert quick("--out", "a") == 0
    _, resumed, overwritten, plain = second
    assert f"a is in use by process {os.getpid()}" in resumed and "is in use by process" in overwritten
    assert "a exists" in plain
    assert len(table("a")) == 1


def test_a_claim_needs_a_finished_comparison(capsys):
    assert quick("--out", "a") == 0
    assert claim.main(["a"]) == 2
    assert "the claim is about si_ifgm, ifgm, random_tangent" in capsys.readouterr().err
    Path("empty").mkdir()
    assert claim.main(["empty"]) == 2
    assert "job.json not found" in capsys.readouterr().err
    assert not Path("a/claim.json").exists()
