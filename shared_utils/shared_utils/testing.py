"""Golden cases: hold an implementation to the numbers of a published one (for tests; no other module imports this).

A case is ``<case>.json`` beside ``<case>.npz``: what was run, on which weights and inputs, and what came out. Weights
and inputs are not stored but filled from their own names (``fill``, ``make_input``), so the same numbers can be made
anywhere. In a project's ``tests/test_golden.py``::

    @pytest.mark.parametrize("case", golden_cases(Path(__file__).parent / "golden"), ids=str)
    def test_golden(case):
        case.check(adapter_for(case, ADAPTERS)(case))

where an adapter takes the case and returns ``{output name: tensor or array}``. The folder that the environment
variable ``GOLDEN_DIR`` names is used instead of the given one. A case without an adapter fails.

``Processes`` runs code in processes of their own of which none loads the project's modules again.
"""

from __future__ import annotations

import inspect
import json
import multiprocessing
import os
import re
import socket
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np


def _generator(name: str) -> np.random.RandomState:
    return np.random.RandomState(zlib.crc32(name.encode()))


def fill(name: str, shape: Sequence[int], gain: float = 1.0) -> np.ndarray:
    """The float32 value of the state-dict entry ``name``, drawn from the name alone.

    With n standard normal: ``1 + 0.1 |n|`` for ``*running_var``; ``0.1 n`` for ``*running_mean``, ``*bias`` and other
    1-d entries; ``1 + 0.1 n`` for 1-d ``*weight``; ``gain * n / sqrt(fan_in)`` for the rest, where ``fan_in`` is the
    product of all dimensions but the first.
    """
    shape = tuple(int(size) for size in shape)
    noise = _generator(name).standard_normal(int(np.prod(shape)) if shape else 1).reshape(shape)
    if name.endswith("running_var"):
        value = 1 + 0.1 * np.abs(noise)
    elif name.endswith(("running_mean", "bias")):
        value = 0.1 * noise
    elif len(shape) <= 1:
        value = 1 + 0.1 * noise if name.endswith("weight") else 0.1 * noise
    else:
        value = gain * noise / np.sqrt(np.prod(shape[1:]))
    return value.astype(np.float32)


def make_input(stream: str, shape: Sequence[int], low: float = -1.0, high: float = 1.0) -> np.ndarray:
    """A float32 array uniform in [low, high), drawn from the name of its stream alone."""
    uniform = _generator("input:" + stream).random_sample(tuple(int(size) for size in shape))
    return (low + (high - low) * uniform).astype(np.float32)


@dataclass(frozen=True)
class GoldenCase:
    """One stored case: ``spec`` is the whole JSON, ``stored`` the arrays of the npz beside it in ``folder``."""

    name: str
    folder: Path
    spec: dict[str, Any]
    stored: dict[str, np.ndarray]

    def __str__(self) -> str:
        return self.name

    @property
    def module(self) -> str:
        """What was run, in the published code's own words."""
        return self.spec["module"]

    @property
    def config(self) -> dict[str, Any]:
        return self.spec.get("config") or {}

    def state_dict(self) -> dict:
        """The filled weights, under the published names: ``{name: float32 tensor}``."""
        import torch

        gain = self.spec.get("gain") or 1.0
        return {name: torch.from_numpy(fill(name, shape, gain)) for name, shape in self.spec["shapes"].items()}

    def inputs(self, operations: Mapping[str, Callable[[dict], Any]] | None = None) -> dict[str, Any]:
        """The inputs by name, as numpy arrays (values given in place as they are; notes are left out).

        ``operations`` makes the project's own ``{"op": name}`` inputs: each takes the entry and returns the value.
        """
        made = {}
        for name, entry in (self.spec.get("inputs") or {}).items():
            if not isinstance(entry, dict):
                made[name] = entry
            elif "op" in entry:
                made[name] = (operations or {})[entry["op"]](entry)
            elif "make_input" in entry or "fill" in entry or "npz" in entry or "value" in entry:
                made[name] = self._input(entry)
        return made

    def _input(self, entry: dict[str, Any]) -> Any:
        if "value" in entry:
            value = entry["value"]
            return np.asarray(value, dtype=entry["dtype"]) if "dtype" in entry else value
        if "npz" in entry:
            value = self.stored[entry["npz"]]
        elif "fill" in entry:
            value = fill(entry["fill"], entry["shape"], entry.get("gain", 1.0))
        else:
            value = make_input(entry["make_input"], entry["shape"], entry.get("low", -1.0), entry.get("high", 1.0))
        if "less_than" in entry:
            value = (value < entry["less_than"]).astype(np.float32)
        if "floor_of" in entry:
            value = np.floor(entry["floor_of"] * value).astype(np.int64)
        # Some cases say more than the type: "int64 (stored as float32)".
        return value.astype(entry["dtype"].split(" ")[0]) if "dtype" in entry else value

    def expected(self, output: str) -> tuple[np.ndarray | None, np.ndarray]:
        """Flat positions (``None``: the whole output) and the published values there."""
        if f"{output}__value" in self.stored:
            return self.stored[f"{output}__index"].reshape(-1), self.stored[f"{output}__value"].reshape(-1)
        return None, self.stored[output]

    def check(
        self,
        ours: Mapping[str, Any],
        exempt: Mapping[str, np.ndarray] | None = None,
        tolerances: Mapping[str, float] | None = None,
    ) -> None:
        """Assert ``max|ours - published| <= tolerance * max|published|`` for every output of the case.

        ours: the outputs by name; an output that is missing fails the case.
        exempt: boolean masks (shape of the output) of entries that the case's note excepts, with ours free there.
        tolerances: per output, where the case's note gives one of its own.
        """
        missing = [name for name in self.spec["outputs"] if name not in ours]
        assert not missing, f"{self.name}: no value for {', '.join(missing)}"
        for name, shape in self.spec["outputs"].items():
            value = ours[name]
            value = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
            assert list(value.shape) == list(shape), f"{self.name}/{name}: shape {value.shape}, published {shape}"
            tolerance = tolerances[name] if tolerances and name in tolerances else self.spec["tolerance"]
            index, published = self.expected(name)
            free = (exempt or {}).get(name)
            if index is not None:
                value = value.reshape(-1)[index]
                free = None if free is None else np.asarray(free).reshape(-1)[index]
            value = value.astype(np.complex128 if np.iscomplexobj(value) else np.float64)
            # What is undefined in both agrees (the IoU of a class that does not occur); in one of them it fails below.
            undefined = np.isnan(published)
            error = np.where(undefined & np.isnan(value), 0.0, np.abs(value - published))
            if free is not None:
                error = np.where(free, 0.0, error)
            worst = float(np.max(error, initial=0.0))
            scale = float(np.max(np.abs(published), initial=0.0, where=~undefined))
            assert worst <= tolerance * scale, (
                f"{self.name}/{name}: differs by {worst:.3g}, allowed {tolerance:g} x {scale:.3g}"
            )


def golden_cases(folder: str | Path) -> list[GoldenCase]:
    """Every case of ``folder`` (or of ``$GOLDEN_DIR``), sorted by name; an empty folder is an error."""
    folder = Path(os.environ.get("GOLDEN_DIR") or folder)
    cases = []
    for path in sorted(folder.glob("*.json")):
        arrays = path.with_suffix(".npz")
        stored = {}
        if arrays.is_file():
            with np.load(arrays, allow_pickle=False) as archive:
                stored = {key: archive[key] for key in archive.files}
        cases.append(GoldenCase(path.stem, folder, json.loads(path.read_text()), stored))
    if not cases:
        raise FileNotFoundError(f"no golden case (*.json) in {folder}")
    return cases


def adapter_for(case: GoldenCase, adapters: Mapping[str, Callable[[GoldenCase], dict]]) -> Callable[[GoldenCase], dict]:
    """The adapter of the case: by its ``module``, else by the part of the module before the colon, else by the name that
    the module begins with (up to a bracket, comma or colon: the rest tells settings), where one adapter alone has it.

    Raises AssertionError, naming the case and what is known, where there is none: a case is never skipped.
    """
    for key in (case.module, case.module.split(":")[0]):
        if key in adapters:
            return adapters[key]
    named = {key for key in adapters if _leading_name(key) == _leading_name(case.module)}
    if len(named) == 1:
        return adapters[named.pop()]
    raise AssertionError(f"no adapter for module {case.module!r} of case {case.name}; known: {', '.join(adapters)}")


def _leading_name(module: str) -> str:
    return re.split("[(:,;]", module)[0].strip()


def _execute(code: str, arguments: Sequence[str], environment: Mapping[str, str], cwd: str, output: str) -> None:
    with Path(output).open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(environment)
    os.chdir(cwd)
    sys.path[0] = ""
    sys.argv = ["-c", *arguments]
    exec(code, {"__name__": "__main__"})


_RANK = """
import importlib.util, os, sys
import torch
spec = importlib.util.spec_from_file_location("ranked", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
torch.set_num_threads(1)
torch.distributed.init_process_group("gloo")
state = getattr(module, sys.argv[2])(int(os.environ["RANK"]), 2)
torch.save(state, os.environ["RANK"] + ".pt")
torch.distributed.destroy_process_group()
"""


class Processes:
    """Processes of their own, forked from a fresh interpreter that has loaded some modules and run nothing.

    Loading torch takes seconds of every process that is started; here it is loaded once a session.

    Args:
        modules: what to load before the first process is forked.
        folder: where what they print goes, a file for each.
    """

    def __init__(self, modules: Sequence[str], folder: str | Path) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(modules))
        self._folder = Path(folder)
        self._outputs: dict[BaseProcess, Path] = {}

    def start(
        self, code: str, *arguments: object, cwd: str | Path = ".", environment: Mapping[str, str] | None = None
    ) -> BaseProcess:
        """What ``python -c code arguments`` does, in a process of its own; it is not waited for.

        Args:
            code: Python; it finds the arguments in ``sys.argv[1:]``, and ``sys.exit`` is its status.
            *arguments: of the code.
            cwd: the folder that it runs in.
            environment: variables that are set besides this process's.

        Returns:
            The process, with ``pid``, ``join()``, ``kill()`` and ``exitcode``.
        """
        output = self._folder / f"{len(self._outputs)}.txt"
        variables = {**os.environ, **(environment or {})}
        given = (code, [str(argument) for argument in arguments], variables, str(Path(cwd).absolute()), str(output))
        process = self._context.Process(target=_execute, args=given)
        process.start()
        self._outputs[process] = output
        return process

    def printed(self, process: BaseProcess) -> str:
        """Everything that a process has printed so far, errors too."""
        output = self._outputs[process]
        return output.read_text() if output.exists() else ""

    def group(self, code: str, *arguments: object, cwd: str | Path = ".") -> None:
        """Run code in two processes of one group, described as ``torchrun`` describes it; both have to end well."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        group = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        running = [
            self.start(code, *arguments, cwd=cwd, environment={**group, "RANK": str(rank), "LOCAL_RANK": str(rank)})
            for rank in range(2)
        ]
        for process in running:
            process.join()
        assert [process.exitcode for process in running] == [0, 0], "\n".join(map(self.printed, running))

    def equal_one(
        self, train: Callable[[int, int], dict], cwd: str | Path, rtol: float = 1e-5, atol: float = 1e-5
    ) -> dict:
        """Assert that two gloo processes come to what one comes to, both of them to the same bits.

        Args:
            train: a function of a test file, ``train(rank, processes)`` -> tensors by name, after some steps on this rank's
                share of every batch.
            cwd: the folder that the ranks run in.
            rtol: relative tolerance between two processes and one.
            atol: absolute tolerance.

        Returns:
            What ``train(0, 1)`` gives.
        """
        import torch

        self.group(_RANK, inspect.getfile(train), train.__name__, cwd=cwd)
        alone = train(0, 1)
        first, second = (torch.load(Path(cwd) / f"{rank}.pt", weights_only=True) for rank in range(2))
        assert set(first) == set(second) == set(alone)
        for name, value in alone.items():
            message = f"{name}: {{}}".format
            torch.testing.assert_close(first[name], value, rtol=rtol, atol=atol, msg=message)
            assert torch.equal(first[name], second[name]), f"{name}: the processes differ"
        return alone
