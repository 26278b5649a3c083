import importlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

# Set before torch loads, as the commands do: MKL's last bits then do not depend on where a matrix lies in memory.
os.environ.setdefault("MKL_CBWR", "AUTO")


@pytest.fixture(scope="session")
def project():
    """The project's folder."""
    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def run():
    """Run a verb in this process, ``run("train", "--config", ...)``; its exit status."""

    def call(verb, *arguments):
        module = importlib.import_module(f"incomplete_sensing.commands.{verb}")
        return module.main([str(argument) for argument in arguments])

    return call


@pytest.fixture(scope="session")
def short():
    """Arguments of a short training on few digits whose runs are kept below ``root``."""

    def arguments(root, epochs=3):
        return (
            *("--trainer.default_root_dir", root, "--trainer.max_epochs", epochs),
            *("--data.num_train", 200, "--data.num_test", 40, "--model.network", "{name: mlp, hidden: [32]}"),
        )

    return arguments


@pytest.fixture(scope="session")
def trained(tmp_path_factory, run, short):
    """The folder of a short training on few digits."""
    root = tmp_path_factory.mktemp("runs")
    assert run("train", "--config", "configs/digits_cs.yaml", *short(root)) == 0
    return root / "digits_cs" / "version_0"


@pytest.fixture
def fails(run, capsys):
    """Check that a command ends with status 2 and one line that holds ``message``."""

    def check(message, verb, *arguments):
        before = capsys.readouterr()
        assert run(verb, *arguments) == 2, before
        error = capsys.readouterr().err
        assert message in error and "Traceback" not in error
        assert len([line for line in error.splitlines() if ": error: " in line]) == 1

    return check


@pytest.fixture
def two_processes(project):
    """Run a script of the project in two processes of one group, described as torchrun describes it."""

    def launch(*arguments):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
        running = [
            subprocess.Popen(
                [sys.executable, *map(str, arguments)],
                cwd=project,
                env={**os.environ, **group, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank in range(2)
        ]
        printed = [process.communicate()[0] for process in running]
        assert [process.returncode for process in running] == [0, 0], "\n".join(printed)

    return launch
