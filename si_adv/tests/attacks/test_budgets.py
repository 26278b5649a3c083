"""One budget for several attacks, and a sweep over it."""

import pytest
from attack_toys import toy_victim

from shared_utils import UserError
from si_adv.attacks import budgets

BUDGET = {"eps": 0.2, "step_size": 0.01, "steps": 7, "confidence": 0.5, "targeted": True}


def test_every_attack_takes_what_it_knows_of_the_budget():
    made = budgets.makers(["ifgm", "fgm", "cw"], BUDGET, {"cw": {"iterations": 3}})
    attacks = {name: make(toy_victim(), 4) for name, make in made.items()}
    assert (attacks["ifgm"].eps, attacks["ifgm"].steps, attacks["ifgm"].seed) == (0.2, 7, 4)
    assert attacks["fgm"].steps == 1 and attacks["fgm"].targeted
    assert attacks["cw"].iterations == 3 and attacks["cw"].confidence == 0.5


def test_a_sweep_makes_an_attack_a_value():
    made = budgets.makers(["ifgm"], BUDGET, {}, "steps:2,9")
    assert {label: make(toy_victim(), 0).steps for label, make in made.items()} == {
        "ifgm steps=2": 2,
        "ifgm steps=9": 9,
    }


@pytest.mark.parametrize("sweep", ["epsilon:1,2", "eps", "eps:", "eps:a,b", "steps:0.5"])
def test_a_sweep_of_something_else_is_refused(sweep):
    with pytest.raises(UserError, match="--sweep is eps:, step_size: or steps: and values"):
        budgets.makers(["ifgm"], BUDGET, {}, sweep)


def test_unknown_options_are_found_before_any_attack():
    with pytest.raises(UserError, match="options are given for cw"):
        budgets.makers(["ifgm"], BUDGET, {"cw": {}})
    with pytest.raises(UserError, match="no option 'stps'"):
        budgets.check(budgets.makers(["ifgm"], BUDGET, {"ifgm": {"stps": 3}}), [toy_victim()])
