"""The sweep engine: exact where the theory is, the same however it is cut up, and nothing lost by a kill."""

import csv
import json
import time

import numpy as np
import pytest
import torch

from incomplete_sensing.identifiability import consistent_set, invariant_consistent_dimension, subspace_rows
from incomplete_sensing.irreps import irreps, named_action
from incomplete_sensing.phase_diagrams.diagram import Diagram
from incomplete_sensing.phase_diagrams.draws import draw
from incomplete_sensing.phase_diagrams.rates import wilson_interval
from incomplete_sensing.phase_diagrams.results import read_results, summary
from incomplete_sensing.phase_diagrams.solvers import SOLVERS, trial_bytes
from incomplete_sensing.phase_diagrams.sweep import solve, sweep, units
from incomplete_sensing.phase_diagrams.theory import invariant_multiplicities, theory
from shared_utils import UserError

SMALL = {
    "subspace": {"solvers": ("closed_form", "varpro", "als", "nuclear_norm", "direct_test")},
    "matrix_completion": {
        "operators": "masks",
        "criterion": "signals",
        "solvers": ("closed_form", "als", "nuclear_norm"),
    },
    "invariant": {"n": 6, "G": (1, 2, 3, 6), "solvers": ("closed_form", "als")},
    "dictionary": {"k": (1,), "atoms": 8, "threshold": 0.01, "samples": 20, "solvers": ("mod",)},
    "generator": {"hidden": 4, "threshold": 0.1, "samples": 40, "solvers": ("mc", "moi", "supervised")},
}
FEW = {
    "als": {"iterations": 20, "starts": 2},
    "varpro": {"iterations": 8, "starts": 2},
    "nuclear_norm": {"iterations": 30},
    "mod": {"iterations": 8, "starts": 2},
    **{method: {"steps": 10, "width": 8} for method in ("mc", "moi", "supervised")},
}


def small(family="subspace", **changes):
    settings = {"family": family, "n": 6, "m": (2, 4, 5), "G": (1, 3, 5), "k": (2,), "samples": 4, "trials": 5}
    settings |= SMALL[family] | changes
    return Diagram(**settings, options={name: FEW[name] for name in settings["solvers"] if name in FEW})


def test_closed_form_is_exactly_zero_below_and_one_above_the_exact_curve(tmp_path):
    diagram = Diagram(
        n=20, m=tuple(range(1, 21)), G=(1, 2, 3, 5, 10, 20), trials=10, solvers=("closed_form", "direct_test")
    )
    rates = sweep(diagram, tmp_path)
    for place, G in enumerate(diagram.G):
        expected = (np.array(diagram.m) >= subspace_rows(20, 2, G)).astype(float)
        np.testing.assert_array_equal(rates.rates[:, place], np.stack([expected, expected]))
    assert rates.disagreements("closed_form") == []


def test_invariant_models_too_and_over_k(tmp_path):
    diagram = Diagram("invariant", n=12, m=tuple(range(1, 13)), G=(1, 2, 3, 4, 6, 12), k=(3,), solvers=("closed_form",))
    assert sweep(diagram, tmp_path / "group").disagreements("closed_form") == []
    over_k = Diagram(n=10, m=tuple(range(1, 11)), G=(4,), k=(1, 2, 5, 8), trials=5, solvers=("closed_form",))
    assert sweep(over_k, tmp_path / "k").disagreements("closed_form") == []


@pytest.mark.parametrize("family", SMALL)
def test_results_are_the_same_for_every_batch_size(family):
    diagram = small(family)
    for unit in units(diagram):
        alone, together = (solve(diagram, unit, batch_size=size) for size in (1, 50))
        # To rounding, for MKL's bits depend on where a matrix lies in memory; the command forbids it that (below).
        np.testing.assert_allclose(alone, together, rtol=1e-5, atol=1e-9)
        assert alone.shape == (len(unit.cells), 5)


def test_every_cell_is_in_one_unit_of_its_solver():
    for family in SMALL:
        diagram = small(family)
        for solver in diagram.solvers:
            cells = [cell for unit in units(diagram) if unit.solver == solver for cell in unit.cells]
            assert sorted(cells) == sorted((m, G, diagram.k[0]) for m in diagram.m for G in diagram.G)
        assert len({unit.name for unit in units(diagram)}) == len(list(units(diagram)))


def test_an_interrupted_sweep_keeps_its_cells_and_ends_the_same(tmp_path, monkeypatch):
    diagram = small()
    whole = sweep(diagram, tmp_path / "whole")
    computed = []

    def fail_later(*arguments):
        if len(computed) == 6:
            raise KeyboardInterrupt
        computed.append(arguments[1].name)
        return solve(*arguments)

    monkeypatch.setattr("incomplete_sensing.phase_diagrams.sweep.solve", fail_later)
    with pytest.raises(KeyboardInterrupt):
        sweep(diagram, tmp_path / "cut")
    before = list(computed)
    assert sorted(path.stem for path in (tmp_path / "cut" / "parts").glob("*.npz")) == sorted(before)
    computed.clear()
    monkeypatch.setattr(
        "incomplete_sensing.phase_diagrams.sweep.solve", lambda *a: computed.append(a[1].name) or solve(*a)
    )
    resumed = sweep(diagram, tmp_path / "cut", resume=True)
    assert not set(before) & set(computed)
    assert np.array_equal(resumed.errors, whole.errors)


def test_a_killed_sweep_continues_where_it_was_and_no_bit_depends_on_the_batch(
    tmp_path, project, run, processes, script
):
    arguments = ["--quick", "--trials", "6", "--m", "[4,8]", "--G", "[5,20]"]
    options = {"als": {"iterations": 60}, "nuclear_norm": {"iterations": 60}}
    arguments += ["--solvers", "[closed_form,als,nuclear_norm]", "--options", json.dumps(options)]
    killed = [*arguments, "--out", str(tmp_path / "killed"), "--batch_size", "1"]
    parts = tmp_path / "killed" / "parts"
    running = processes.start(script, "phase_transition.py", *killed, cwd=project)
    while running.exitcode is None and len(list(parts.glob("*.npz"))) < 4:
        time.sleep(0.002)
    running.kill()
    running.join()
    kept = {path: path.stat().st_mtime_ns for path in parts.glob("*.npz")}
    assert run("phase_transition", *killed, "--resume") == 0
    assert run("phase_transition", *arguments, "--out", tmp_path / "whole", "--batch_size", "50") == 0
    assert len(kept) >= 4 and all(path.stat().st_mtime_ns == written for path, written in kept.items())
    results = [np.load(tmp_path / name / "rates.npz") for name in ("killed", "whole")]
    assert np.array_equal(results[0]["errors"], results[1]["errors"])
    assert 0 < results[0]["rates"].mean() < 1
    assert (tmp_path / "killed" / "diagram.png").read_bytes()[:4] == b"\x89PNG"


def test_another_diagram_is_not_mixed_in(tmp_path):
    sweep(small(solvers=("closed_form",)), tmp_path)
    with pytest.raises(UserError, match="exists: continue it with --resume, replace it with --overwrite"):
        sweep(small(solvers=("closed_form",)), tmp_path)
    with pytest.raises(UserError, match=r"begun as another job \(seed 0, now 1; trials 5, now 6\)"):
        sweep(small(solvers=("closed_form",), seed=1, trials=6), tmp_path, resume=True)


def test_overwrite_begins_again(tmp_path):
    first = sweep(small(solvers=("closed_form",)), tmp_path)
    second = sweep(small(solvers=("closed_form",), seed=1), tmp_path, overwrite=True)
    assert not np.array_equal(first.errors, second.errors)
    assert np.array_equal(read_results(tmp_path).errors, second.errors)


def test_a_damaged_part_is_named_and_computed_again(tmp_path, caplog):
    diagram = small(solvers=("closed_form",))
    whole = sweep(diagram, tmp_path)
    part = sorted((tmp_path / "parts").glob("*.npz"))[1]
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 255
    part.write_bytes(content)
    assert np.array_equal(sweep(diagram, tmp_path, resume=True).errors, whole.errors)
    assert part.name in caplog.text


def test_two_sweeps_do_not_share_a_folder(tmp_path):
    from shared_utils import work

    with work.begin(tmp_path / "run", {}), pytest.raises(UserError, match="in use by process"):
        sweep(small(solvers=("closed_form",)), tmp_path / "run", overwrite=True)


def test_results_that_are_not_whole_are_named(tmp_path):
    with pytest.raises(UserError, match="diagram.json not found"):
        read_results(tmp_path)
    sweep(small(solvers=("closed_form",)), tmp_path)
    (tmp_path / "rates.npz").write_bytes((tmp_path / "rates.npz").read_bytes()[:100])
    with pytest.raises(UserError, match="holds no whole diagram"):
        read_results(tmp_path)


def test_trials_are_nested_over_the_diagram():
    diagram, device = small(n=8, m=(8,)), torch.device("cpu")
    large, some = draw(diagram, 8, 5, 4, [0, 1], device), draw(diagram, 3, 2, 2, [1], device)
    assert torch.equal(some.operators[0], large.operators[1, :2, :3])
    assert torch.equal(some.truth[0], large.truth[1, :, :2])
    masks = small("matrix_completion", n=8, m=(8,))
    few, more = (draw(masks, m, 3, 2, [0], device).operators for m in (3, 5))
    assert (few.sum(3) == 1).all() and (few.sum((2, 3)) == 3).all()
    assert ((few.sum(2) > 0) <= (more.sum(2) > 0)).all()


@pytest.mark.parametrize("order", [1, 2, 3, 4, 6, 12])
def test_invariant_draws_are_invariant_and_have_the_multiplicities_they_claim(order):
    diagram = Diagram("invariant", n=12, m=(5,), G=(order,), k=(4,), trials=1, solvers=("closed_form",))
    problem = draw(diagram, 5, order, 4, [0], torch.device("cpu"))
    basis = problem.truth[0]
    shifted = torch.roll(basis, 12 // order, 0)
    torch.testing.assert_close(basis @ (basis.mT @ shifted), shifted)
    torch.testing.assert_close(problem.samples[0], problem.samples[0, :1].expand(order, -1, -1))
    inside = list(invariant_multiplicities(order, 12 // order, 4).values())
    assert sum(inside) == 4 and inside[1:] == inside[1:][::-1]
    # Frequencies all have s = 1 and c = n/G, so their order does not matter.
    group = irreps(named_action("shift", [12], 12 // order))
    expected = invariant_consistent_dimension(group, inside, 5)
    assert consistent_set(list(problem.operators[0].numpy()), basis.numpy()).dimension == expected
    assert (expected == 4) == (theory(diagram, order)["exact"] <= 5)


def test_what_is_written_can_be_read(tmp_path):
    rates = sweep(small(), tmp_path)
    text = summary(rates)
    assert "exactly 0 below and 1 above the exact curve in every cell" in text
    with (tmp_path / "rates.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(rates.rates) * 3 * 3
    stored = np.load(tmp_path / "rates.npz")
    assert {"necessary", "sufficient", "exact"} <= set(stored.files)
    for row in rows:
        place = small().solvers.index(row["solver"]), small().G.index(int(row["G"])), small().m.index(int(row["m"]))
        assert float(row["low"]) <= float(row["rate"]) == stored["rates"][place] <= float(row["high"])


def test_the_picture_shows_measured_rates_under_the_three_curves(tmp_path, monkeypatch):
    from incomplete_sensing import figures

    drawn = []
    monkeypatch.setattr(figures, "save_figure", lambda figure, path: drawn.append(figure))
    rates = sweep(small(), tmp_path)
    panels = drawn[0].axes[: len(rates.rates)]
    for panel, plane in zip(panels, rates.rates, strict=True):
        lines = {line.get_label().split()[0]: line.get_xdata() for line in panel.get_lines()}
        for name in ("necessary", "sufficient", "exact"):
            assert list(lines[name][::2]) == [theory(rates.diagram, G)[name] for G in rates.diagram.G]
        assert np.array_equal(panel.collections[0].get_array().reshape(plane.shape), plane)


def test_wilson_interval():
    low, high = wilson_interval(0.5, 10)
    assert (round(low, 3), round(high, 3)) == (0.237, 0.763)
    assert wilson_interval(0.0, 25)[0] == pytest.approx(0) and wilson_interval(1.0, 25)[1] == pytest.approx(1)


def test_trials_at_once_are_bounded_by_memory(monkeypatch):
    sizes = []

    def record(diagram, cells, trials, device):
        sizes.append(len(trials))
        return torch.zeros(len(cells), len(trials))

    monkeypatch.setitem(SOLVERS, "als", record)
    diagram = Diagram(n=30, k=(5,), G=(20,), m=(10,), trials=40, solvers=("als",))
    (unit,) = units(diagram)
    solve(diagram, unit, memory_mb=64)
    assert sum(sizes) == 40 and max(sizes) == 64 * 2**20 // trial_bytes(diagram, "als", unit.cells)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "sphere"}, "unknown family sphere: one of subspace"),
        ({"solvers": ("mod",)}, "unknown solver mod for subspace"),
        ({"options": {"als": {"steps": 3}}}, "unknown option als.steps"),
        ({"m": (3, 3)}, "each once"),
        ({"m": ()}, "at least one value"),
        ({"G": (1, 2), "k": (1, 2)}, "both G and k"),
        ({"m": (21,)}, "m = .21. with n = 20"),
        ({"k": (20,)}, "k = .20. with n = 20"),
        ({"G": (0, 1)}, "at least one operator"),
        ({"trials": 0}, "trials = 0"),
        ({"operators": "blur"}, "gaussian or masks"),
        ({"family": "matrix_completion"}, "its operators are masks"),
        ({"criterion": "loss"}, "projector or signals"),
        ({"threshold": 0}, "threshold = 0"),
        ({"family": "invariant", "G": (3,)}, "G divides n = 20"),
        ({"family": "dictionary", "solvers": ("mod",), "atoms": 1}, "as many atoms"),
        ({"family": "generator", "solvers": ("moi",)}, "hidden units"),
    ],
)
def test_impossible_diagrams_are_named(changes, message):
    with pytest.raises(UserError, match=message):
        Diagram(**changes)


def test_groups_without_a_real_invariant_subspace_are_named():
    with pytest.raises(UserError, match="no real subspace of dimension 2"):
        invariant_multiplicities(order=1, copies=1, k=2)
