"""The golden-case machinery itself: it must be able to fail."""

import json
import os

import numpy as np
import pytest

from shared_utils import testing

FILLED = {
    "conv.weight": [[0.46799221634864807, -0.7159111499786377]],
    "bn.running_var": [1.020931363105774, 1.0024579763412476],
    "clouds": [0.6266390681266785, -0.8065736889839172],
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("GOLDEN_DIR", raising=False)
    spec = {
        "module": "net:Net",
        "shapes": {"fc.weight": [2, 3], "fc.bias": [2]},
        "gain": 2.0,
        "inputs": {
            "x": {"make_input": "x", "shape": [4], "low": 0, "high": 1},
            "mask": {"make_input": "m", "shape": [100], "low": 0, "high": 1, "less_than": 0.25},
            "index": {"make_input": "i", "shape": [100], "low": 0, "high": 1, "floor_of": 7},
            "given": {"npz": "given", "dtype": "int64"},
            "plain": {"value": [1, 2]},
            "words": {"note": "nothing"},
        },
        "outputs": {"y": [2, 2], "big": [10]},
        "tolerance": 0.01,
    }
    (tmp_path / "case.json").write_text(json.dumps(spec))
    np.savez(
        tmp_path / "case.npz",
        given=np.ones(2, np.float32),
        y=np.array([[1.0, 2], [3, 100]], np.float32),
        big__index=np.array([2, 5]),
        big__value=np.array([2.0, 5.0], np.float32),
    )
    return tmp_path


def test_weights_and_inputs_are_filled_by_the_rule(folder):
    (case,) = testing.golden_cases(folder)
    # numbers of the rule, drawn once with numpy's frozen legacy generator
    np.testing.assert_allclose(testing.fill("conv.weight", (1, 2)), FILLED["conv.weight"], rtol=1e-6)
    np.testing.assert_allclose(testing.fill("bn.running_var", (2,)), FILLED["bn.running_var"], rtol=1e-6)
    np.testing.assert_allclose(testing.make_input("clouds", (2,)), FILLED["clouds"], rtol=1e-6)
    np.testing.assert_array_equal(case.state_dict()["fc.weight"].numpy(), testing.fill("fc.weight", (2, 3), gain=2.0))
    inputs = case.inputs()
    assert set(inputs) == {"x", "mask", "index", "given", "plain"}
    assert set(np.unique(inputs["mask"])) == {0.0, 1.0} and 0.1 < inputs["mask"].mean() < 0.4
    assert set(np.unique(inputs["index"])) == set(range(7))
    assert inputs["given"].dtype == np.int64 and inputs["plain"] == [1, 2]


def good():
    return {"y": np.array([[1.0, 2], [3, 100]]), "big": np.arange(10.0)}


def test_a_case_passes_within_its_tolerance_and_fails_beyond(folder):
    (case,) = testing.golden_cases(folder)
    case.check(good())
    near, far = good(), good()
    near["y"][0, 0] += 0.9
    far["y"][0, 0] += 1.1
    case.check(near)
    with pytest.raises(AssertionError, match="case/y"):
        case.check(far)
    case.check(far, exempt={"y": np.array([[True, False], [False, False]])})


@pytest.mark.parametrize("spoil", ["missing", "shape", "nan", "stored"])
def test_a_case_fails_for_what_is_missing_misshapen_or_nan(folder, spoil):
    (case,) = testing.golden_cases(folder)
    ours = good()
    if spoil == "missing":
        del ours["big"]
    elif spoil == "shape":
        ours["y"] = ours["y"].reshape(4)
    elif spoil == "nan":
        ours["y"][0, 0] = np.nan
    else:
        ours["big"][5] = 6
    with pytest.raises(AssertionError):
        case.check(ours)


def test_a_module_that_differs_in_its_settings_alone_finds_its_adapter(folder):
    (case,) = testing.golden_cases(folder)
    case.spec["module"] = "pkg.Layer (3x3, stride 2), forward"
    assert testing.adapter_for(case, {"pkg.Layer (3x3, stride 1), forward": len, "pkg.Layers": str}) is len
    with pytest.raises(AssertionError, match="no adapter"):
        testing.adapter_for(case, {"pkg.Layer (a)": len, "pkg.Layer (b)": str})


def test_a_case_without_an_adapter_fails_and_an_empty_folder_too(folder, tmp_path, monkeypatch):
    (case,) = testing.golden_cases(folder)
    assert testing.adapter_for(case, {"net": len}) is len
    with pytest.raises(AssertionError, match="no adapter"):
        testing.adapter_for(case, {"other": len})
    (tmp_path / "none").mkdir()
    monkeypatch.setenv("GOLDEN_DIR", str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError):
        testing.golden_cases(folder)


def test_what_is_undefined_in_both_agrees_and_in_one_fails(folder):
    case = testing.golden_cases(folder)[0]
    case.stored["y"] = np.array([[1.0, np.nan], [3, 100]], np.float32)
    ours = good()
    with pytest.raises(AssertionError, match="y"):
        case.check(ours)
    ours["y"] = np.array(ours["y"], np.float64)
    ours["y"][0, 1] = np.nan
    case.check(ours)
    ours["y"][0, 0] = np.nan
    with pytest.raises(AssertionError, match="y"):
        case.check(ours)


def test_processes_are_fresh_know_their_rank_and_report_their_status(tmp_path, monkeypatch):
    monkeypatch.setenv("OF_THIS_TEST", "seen")
    processes = testing.Processes(["numpy"], tmp_path)
    code = "import os, sys; print(os.environ['OF_THIS_TEST'], os.getcwd(), 'numpy' in sys.modules); sys.exit(len(sys.argv))"
    process = processes.start(code, 1, 2, cwd=tmp_path)
    process.join()
    assert process.exitcode == 3 and process.pid != os.getpid()
    assert processes.printed(process) == f"seen {tmp_path} True\n"
    code = "import os, sys; open(sys.argv[1] + os.environ['RANK'], 'x').close()"
    processes.group(code, tmp_path / "rank")
    assert (tmp_path / "rank0").is_file() and (tmp_path / "rank1").is_file()
    with pytest.raises(AssertionError, match="NoSuchModule"):
        processes.group("import NoSuchModule")
