"""reconstruct as it is typed: reports, resumption, and what it answers to mistakes."""

import json

import numpy as np
import pytest
from commands import error_of, run

from mrf_unroll.data.phantoms import head_phantom
from mrf_unroll.operators import toeplitz
from shared_utils import checkpoint, files

pytestmark = pytest.mark.usefixtures("undrawn")


def test_a_scan_is_reconstructed_with_a_report(trained, scan, small_dictionary, tmp_path):
    beside = scan.with_name("scan_maps.npz")
    for method in ("unrolled", "unet", "svd_mrf", "low_rank", "llr", "lrtv", "pnp_admm", "mrfresnet"):
        out = tmp_path / method
        own = ("--ckpt", trained, "--method", method, "--reference", beside)
        own += () if method in ("unrolled", "unet") else ("--dictionary", small_dictionary)
        own += ("--options", "{iterations: 20}") if method == "lrtv" else ()
        assert run("reconstruct", "--scan", scan, "--out", out, *own) == 0
        report = json.loads((out / "report.json").read_text())
        assert report["method"] == method and 0 < report["data_consistency"] < 5
        assert report["units"]["T1"] == "ms" and set(report["seconds"]) >= {"read", "operator", "reconstruction"}
        assert report["statistics"]["mask"]["voxels"] > 0 and set(report["statistics"]["T1"]) >= {
            "mean",
            "median",
            "std",
        }
        assert {"T1_NRMSE", "T2_MAPE_percent", "PD_bias"} <= set(report["errors"])
        assert set(report["warnings"]) <= {report["verdict"]}
        maps = np.load(out / "maps.npz")
        assert maps["T1"].shape == (16, 16) and (maps["T2"] <= maps["T1"]).all() and str(maps["unit_t"]) == "ms"
        assert (out / "maps.png").is_file()


def test_nothing_is_overwritten_unasked(trained, scan, tmp_path, capsys):
    arguments = ("reconstruct", "--scan", scan, "--out", tmp_path / "out", "--ckpt", trained)
    assert run(*arguments) == 0
    before = (tmp_path / "out" / "report.json").read_bytes()
    assert run(*arguments) == 2
    line = error_of(capsys)
    assert "--resume" in line and "--overwrite" in line
    assert (tmp_path / "out" / "report.json").read_bytes() == before
    assert run(*arguments, "--overwrite") == 0


@pytest.fixture
def folder(scan, tmp_path):
    """A folder of two scans."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("a.npz", "b.npz"):
        (folder / name).write_bytes(scan.read_bytes())
    return folder


def test_a_folder_of_scans_is_resumed(trained, folder, tmp_path):
    out = tmp_path / "out"
    arguments = ("reconstruct", folder, "--out", out, "--ckpt", trained)
    assert run(*arguments) == 0
    (out / "parts" / "b.npz").unlink()
    (out / "a" / "maps.png").unlink()
    kept = [(out / "a" / name).read_bytes() for name in ("report.json", "maps.npz")]
    assert run(*arguments, "--resume") == 0
    assert [(out / "a" / name).read_bytes() for name in ("report.json", "maps.npz")] == kept
    assert (out / "parts" / "b.npz").is_file() and (out / "a" / "maps.png").is_file()


def test_resume_with_another_method_is_refused_and_names_it(small_dictionary, folder, tmp_path, capsys):
    arguments = ("reconstruct", folder, "--out", tmp_path / "out", "--dictionary", small_dictionary)
    assert run(*arguments, "--method", "svd_mrf") == 0
    assert run(*arguments, "--method", "low_rank", "--resume") == 2
    line = error_of(capsys)
    assert 'method "svd_mrf", now "low_rank"' in line and "--overwrite" in line
    assert json.loads((tmp_path / "out" / "a" / "report.json").read_text())["method"] == "svd_mrf"
    assert run(*arguments, "--method", "low_rank", "--overwrite") == 0
    assert json.loads((tmp_path / "out" / "a" / "report.json").read_text())["method"] == "low_rank"


def test_resume_under_other_settings_is_refused_and_names_them(scan, scratch, capsys):
    """The same for files: their content counts, not their names."""
    t1, t2, density = head_phantom(16, np.random.default_rng(1)).maps
    for name, factor in (("maps.npz", 1), ("other.npz", 2)):
        np.savez(name, T1=t1, T2=t2, PD=factor * density, unit_t="s")
    for name, largest in (("dict.npz", 2000), ("other_dict.npz", 3000)):
        grid = ("--rank", 3, "--grid", "8x8", "--t1_ms", f"[100, {largest}]")
        assert run("dictionary", "jiang:30", "--ti", 18, "--out", name, *grid) == 0

    def reconstruct(*how, **changes):
        own = {"method": "svd_mrf", "rank": 3, "reference": "maps.npz", "dictionary": "dict.npz"} | changes
        flat = [part for name, value in own.items() for part in (f"--{name}", value)]
        return run("reconstruct", scan, "--out", "out", *flat, *how)

    assert reconstruct() == 0 and reconstruct("--resume") == 0
    others = {"options": "{refine: true}", "rank": 2, "density": "none", "gain": 2, "coils": 1, "unit_t": "s"}
    for key, value in (others | {"reference": "other.npz", "dictionary": "other_dict.npz"}).items():
        capsys.readouterr()
        assert reconstruct("--resume", **{key: value}) == 2
        assert f"begun as another job ({key} " in error_of(capsys)


def test_resume_with_another_network_or_another_scan_is_refused(trained, folder, tmp_path, capsys):
    arguments = ("reconstruct", folder, "--out", tmp_path / "out")
    assert run(*arguments, "--ckpt", trained) == 0
    last = trained / "checkpoints" / "last.ckpt"
    content = checkpoint.load_tensors(last)
    content["state_dict"]["reconstructor.network.alpha"] += 1e-3
    checkpoint.save(content, tmp_path / "changed.ckpt")
    assert run(*arguments, "--ckpt", tmp_path / "changed.ckpt", "--resume") == 2
    assert "another job (ckpt " in error_of(capsys)
    _scan_with(folder / "b.npz", folder, noise_std=np.array(0.5)).rename(folder / "b.npz")
    assert run(*arguments, "--ckpt", trained, "--resume") == 2
    assert "another job (scan b.npz " in error_of(capsys)


def test_two_commands_cannot_share_one_output(small_dictionary, scan, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ("reconstruct", scan, "--out", out, "--method", "svd_mrf", "--dictionary", small_dictionary)
    assert run(*arguments) == 0
    with files.lock(out / ".lock", str(out)):
        for how in ("--resume", "--overwrite"):
            assert run(*arguments, how) == 2
            assert "is in use by process" in error_of(capsys)
    assert run("evaluate", "--out", out, "--resume") == 2
    assert "begun as another job" in error_of(capsys)


def test_scans_of_one_name_are_refused(scan, folder, tmp_path, capsys):
    (folder / "a.h5").write_bytes(b"")
    assert run("reconstruct", folder, "--out", tmp_path / "out") == 2
    assert "rename the scan" in error_of(capsys) and not (tmp_path / "out").exists()


def test_scans_that_share_an_acquisition_share_their_kernels(small_dictionary, folder, tmp_path, monkeypatch):
    built = []
    whole = toeplitz.kernels_of
    monkeypatch.setattr(toeplitz, "kernels_of", lambda operator: built.append(1) or whole(operator))
    assert (
        run("reconstruct", folder, "--out", tmp_path / "out", "--method", "svd_mrf", "--dictionary", small_dictionary)
        == 0
    )
    assert len(built) == 1


def test_a_scan_is_reduced_to_virtual_coils(small_dictionary, tmp_path, capsys):
    path, beside = tmp_path / "scan.npz", tmp_path / "scan_maps.npz"
    arguments = ("--schedule", "jiang:30", "--samples", 200, "--turns", 12, "--coils", 6)
    assert run("simulate", "head:16", "--out", path, *arguments) == 0
    errors = {}
    for coils in (6, 4):
        own = ("--method", "low_rank", "--dictionary", small_dictionary, "--coils", coils, "--reference", beside)
        assert run("reconstruct", path, "--out", tmp_path / str(coils), *own) == 0
        errors[coils] = json.loads((tmp_path / str(coils) / "report.json").read_text())["errors"]["T1_NRMSE"]
    assert errors[4] < 1.2 * errors[6]
    own = ("--method", "svd_mrf", "--dictionary", small_dictionary, "--coils", 7)
    assert run("reconstruct", path, "--out", tmp_path / "more", *own) == 2
    assert "--coils 7 is more than there are" in error_of(capsys)


def test_matching_ends_off_the_grid_where_it_is_asked_to(small_dictionary, scan, tmp_path):
    maps = {}
    for refine in ("false", "true"):
        own = ("--method", "low_rank", "--dictionary", small_dictionary, "--options", f"{{refine: {refine}}}")
        assert run("reconstruct", scan, "--out", tmp_path / refine, *own) == 0
        maps[refine] = np.load(tmp_path / refine / "maps.npz")["T1"]
    assert len(np.unique(maps["true"])) > len(np.unique(maps["false"]))


def test_the_gain_of_a_scan_is_found_and_given_back(trained, scan, tmp_path):
    content = dict(np.load(scan))
    np.savez(tmp_path / "loud.npz", **{**content, "kspace": 1000 * content["kspace"]})
    densities = []
    for name, path in (("one", scan), ("loud", tmp_path / "loud.npz")):
        assert run("reconstruct", "--scan", path, "--out", tmp_path / name, "--ckpt", trained) == 0
        densities.append(np.load(tmp_path / name / "maps.npz")["PD"])
    np.testing.assert_allclose(densities[1], 1000 * densities[0], rtol=1e-2, atol=1)


@pytest.mark.parametrize("method", ["unrolled", "low_rank", "llr", "lrtv", "svd_mrf"])
def test_maps_do_not_depend_on_the_unit_of_kspace(trained, scan, small_dictionary, tmp_path, method):
    found = {}
    for unit in (1.0, 1e-16, 1e12):
        path = _scan_with(scan, tmp_path, kspace=unit * np.load(scan)["kspace"].astype(complex))
        own = ("--ckpt", trained) if method == "unrolled" else ("--dictionary", small_dictionary)
        assert run("reconstruct", path, "--out", tmp_path / str(unit), "--method", method, *own) == 0
        found[unit] = dict(np.load(tmp_path / str(unit) / "maps.npz"))
    for unit in (1e-16, 1e12):
        assert (found[unit]["mask"] == found[1.0]["mask"]).mean() > 0.99
        agree = np.isclose(found[unit]["T1"], found[1.0]["T1"], rtol=1e-3).mean()
        assert agree > 0.98, agree  # matching may choose another of two equal atoms
        np.testing.assert_allclose(found[unit]["PD"].sum(), unit * found[1.0]["PD"].sum(), rtol=1e-3)


def test_what_the_maps_do_not_explain_is_said_in_words(scan, small_dictionary, tmp_path, capsys):
    content = dict(np.load(scan))
    rng = np.random.default_rng(0)
    cases = {
        "right": content["kspace"],
        "noise": (rng.normal(size=(1, 30, 20)) + 1j * rng.normal(size=(1, 30, 20))).astype(np.complex64),
        "order": content["kspace"][:, rng.permutation(30)],
    }
    for name, kspace in cases.items():
        path = _scan_with(scan, tmp_path, kspace=kspace)
        own = ("--method", "llr", "--options", "{lam: 0.003}", "--dictionary", small_dictionary)
        assert run("reconstruct", path, "--out", tmp_path / name, *own) == 0
        report = json.loads((tmp_path / name / "report.json").read_text())
        assert report["verdict"] in capsys.readouterr().out
        assert ("do NOT explain" in report["verdict"]) == (name != "right"), report["verdict"]
        assert (report["verdict"] in report["warnings"]) == (name != "right")


@pytest.mark.parametrize(
    ("scale", "said"), [(0.8, "reach 0.38 of the 0.5"), (0.5, "take 8 voxels a side"), (1.0, None)]
)
def test_a_trajectory_that_ends_too_early_is_said(scan, small_dictionary, tmp_path, scale, said):
    path = _scan_with(scan, tmp_path, traj=(scale * np.load(scan)["traj"]).astype(np.float32))
    own = ("--method", "svd_mrf", "--dictionary", small_dictionary)
    assert run("reconstruct", path, "--out", tmp_path / "out", *own) == 0
    warnings = json.loads((tmp_path / "out" / "report.json").read_text())["warnings"]
    warnings = [text for text in warnings if "voxels a side" in text]
    assert len(warnings) == (said is not None) and all(said in text for text in warnings), warnings


def test_a_reference_may_have_any_unit_of_pd(small_dictionary, scan, tmp_path):
    beside = dict(np.load(scan.with_name("scan_maps.npz")))
    np.savez(tmp_path / "loud.npz", **{**beside, "PD": 250 * beside["PD"]})
    errors = {}
    for name, path in (("one", scan.with_name("scan_maps.npz")), ("loud", tmp_path / "loud.npz")):
        own = ("--method", "low_rank", "--dictionary", small_dictionary, "--reference", path)
        assert run("reconstruct", scan, "--out", tmp_path / name, *own) == 0
        report = json.loads((tmp_path / name / "report.json").read_text())
        errors[name] = (report["errors"]["PD_NRMSE"], report["reference_pd_scaled_by"])
    assert errors["loud"][0] == pytest.approx(errors["one"][0], rel=1e-5)
    assert errors["loud"][1] == pytest.approx(errors["one"][1] / 250, rel=1e-5)


def test_a_trajectory_that_differs_by_rounding_is_the_same(trained, scan, tmp_path):
    positions = np.load(scan)["traj"]
    rounded = np.clip(positions + np.random.default_rng(0).uniform(-4e-6, 4e-6, positions.shape), -0.5, 0.5)
    other = np.clip(positions + 2e-4, -0.5, 0.5)
    for name, changed, warned in (("rounded", rounded, False), ("other", other, True)):
        path = _scan_with(scan, tmp_path, traj=changed.astype(np.float32))
        assert run("reconstruct", path, "--out", tmp_path / name, "--ckpt", trained) == 0
        warnings = json.loads((tmp_path / name / "report.json").read_text())["warnings"]
        assert any("trajectory" in text for text in warnings) == warned, name


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


def test_the_bundled_network_works_at_once(tmp_path, monkeypatch):
    monkeypatch.undo()  # its maps are drawn
    path = tmp_path / "scan.npz"
    assert run("simulate", "--maps", "head:48", "--out", path, "--seed", 5) == 0
    beside = tmp_path / "scan_maps.npz"
    assert run("reconstruct", "--scan", path, "--out", tmp_path / "out", "--reference", beside) == 0
    errors = json.loads((tmp_path / "out" / "report.json").read_text())["errors"]
    assert errors["T1_NRMSE"] < 0.17 and errors["T2_NRMSE"] < 0.25
    assert (tmp_path / "out" / "maps.png").stat().st_size > 1000


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
    assert said in error_of(capsys)
    assert not (tmp_path / "out").exists()


def test_the_dictionary_of_another_basis_is_refused(trained, scan, tmp_path, capsys):
    from mrf_unroll.dictionary import Dictionary, log_grid
    from mrf_unroll.schedules import jiang_like_fa
    from mrf_unroll.sequence import Sequence

    def build(path, num_pulses, largest):
        sequence = Sequence.of(jiang_like_fa(num_pulses))
        Dictionary.build(sequence, log_grid(8, 8, (100, largest), (10, 300)), 3).save(path)
        return path

    for num_pulses, said in ((30, "another basis V"), (31, "another schedule")):
        path = build(tmp_path / f"{num_pulses}.npz", num_pulses, 3000)
        assert run("reconstruct", "--scan", scan, "--out", tmp_path / "o", "--ckpt", trained, "--dictionary", path) == 2
        assert said in error_of(capsys)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--method", "magic"), "no method magic here: there are unrolled, unet"),
        (("--method", "lrtv", "--options", "{lam: 1, steps: 3}"), "lrtv takes lam, iterations, refine, not steps"),
        (("--options", "{lam: 1}"), "unrolled takes no options, got lam"),
        (("--gain", "0"), "gain"),
        (("--density", "hexagonal"), "density"),
    ],
)
def test_mistakes_in_arguments_of_reconstruct_are_named(trained, scan, tmp_path, capsys, arguments, said):
    assert run("reconstruct", "--scan", scan, "--out", tmp_path / "out", "--ckpt", trained, *arguments) == 2
    assert said in error_of(capsys)
