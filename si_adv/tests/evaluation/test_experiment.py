"""An experiment knows what it depends on, and refuses what it cannot do."""

import pytest
import torch

from shared_utils import UserError, work
from si_adv.attacks import budgets
from si_adv.defences import InFront
from si_adv.evaluation.clouds import load_draws
from si_adv.evaluation.experiment import Experiment
from si_adv.victim import Victim


@pytest.fixture
def parts():
    torch.manual_seed(0)
    victims = {"v": Victim("pointnet_small", 10).eval()}
    return victims, budgets.makers(["ifgm"], {"steps": 1}, {}), load_draws([0, 1], None, "test", 64, 3)


def test_the_arrays_of_a_run_are_those_of_its_batches_in_order(parts, tmp_path):
    made = Experiment(*parts, batch_size=2)
    with work.begin(tmp_path / "out", made.description({"steps": 1})) as store:
        runs = made.run(store)
    assert list(runs) == [("v", "ifgm", 0), ("v", "ifgm", 1)]
    for (_, _, seed), arrays in runs.items():
        assert arrays["id"].tolist() == parts[2][seed].ids.tolist()
        assert arrays["adv"].shape == (3, 64, 3)


def test_its_description_follows_weights_clouds_and_settings(parts):
    victims, attacks, clouds = parts
    described = Experiment(*parts).description({"steps": 1})
    assert described == Experiment(*parts).description({"steps": 1})
    other = Experiment({"v": Victim("pointnet_small", 10)}, attacks, clouds)
    assert other.description({"steps": 1})["victims"] != described["victims"]
    fewer = Experiment(victims, attacks, load_draws([0, 1], None, "test", 64, 2))
    assert fewer.description({"steps": 1})["clouds"] != described["clouds"]
    assert InFront("sor").description() != InFront("srs").description()


def test_what_it_cannot_do_is_refused_at_once(parts):
    victims, attacks, clouds = parts
    with pytest.raises(UserError, match="n takes normals"):
        Experiment({"n": Victim("pointnet_small", 10, with_normals=True)}, attacks, clouds)
    with pytest.raises(UserError, match="few knows 2 classes"):
        Experiment({"few": Victim("pointnet_small", 2)}, attacks, clouds)
    with pytest.raises(UserError, match="unknown target class spaceship"):
        Experiment(victims, attacks, clouds, target="spaceship")
    with pytest.raises(UserError, match="batch_size is at least 1, got 0"):
        Experiment(victims, attacks, clouds, batch_size=0)


def test_a_random_defence_draws_by_its_seed():
    victim, clouds = Victim("pointnet_small", 4).eval(), torch.rand(2, 3, 600)
    front = InFront("srs", draws=2)
    with torch.no_grad():
        first, again, other = (front(victim, seed)(clouds) for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)
