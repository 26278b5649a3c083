"""import_checkpoint as it is typed, and what it answers to mistakes."""

import numpy as np
import torch

from incomplete_sensing import pretrained
from incomplete_sensing.models import AutoEncoder


def test_published_checkpoint_becomes_one_of_ours(tmp_path, capsys, run):
    network = AutoEncoder(16, 6, width=10).eval()
    torch.save({"epoch": 1, "state_dict": network.state_dict()}, tmp_path / "ckp_1.pth.tar")
    matrices = np.random.default_rng(0).standard_normal((2, 5, 16))
    (tmp_path / "physics").mkdir()
    for g, matrix in enumerate(matrices):
        torch.save([matrix, np.linalg.pinv(matrix)], tmp_path / "physics" / f"forw_cs_5x16_G2_g{g}.pt")
    status = run(
        *("import_checkpoint", "--from", "moi", tmp_path / "ckp_1.pth.tar"),
        *("--operators", tmp_path / "physics", "--out", tmp_path / "imported"),
    )
    assert status == 0 and "8 entries matched" in capsys.readouterr().out
    reconstructor = pretrained.load(tmp_path / "imported")
    y = torch.rand(3, 5)
    expected = network((y @ torch.from_numpy(np.linalg.pinv(matrices[1]).T).float()).reshape(3, 1, 4, 4))
    assert torch.allclose(reconstructor(y, 1), expected, atol=1e-5)


def test_what_is_there_is_replaced_only_on_request(tmp_path, run, fails):
    torch.save(AutoEncoder(16, 6, width=10).state_dict(), tmp_path / "ckp.pth.tar")
    arguments = (tmp_path / "ckp.pth.tar", "--out", tmp_path / "imported")
    assert run("import_checkpoint", *arguments) == 0
    fails("exists: replace it with --overwrite", "import_checkpoint", *arguments)
    assert run("import_checkpoint", *arguments, "--overwrite") == 0


def test_other_files_are_named(tmp_path, fails):
    out = ("--out", tmp_path / "out")
    fails("nothing.pth not found", "import_checkpoint", tmp_path / "nothing.pth", *out)
    torch.save({"state_dict": {}, "reconstructor": 1}, tmp_path / "foreign.pth")
    fails("belong to none of", "import_checkpoint", tmp_path / "foreign.pth", *out)
    assert not (tmp_path / "out").exists()
