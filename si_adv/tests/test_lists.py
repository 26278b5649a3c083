import pytest

from shared_utils import UserError
from si_adv import lists


def test_names_and_seeds_stand_between_commas():
    assert lists.names(" a, b ,,c") == ["a", "b", "c"] and lists.names(" ,") == []
    assert lists.seeds("0, 2,2") == [0, 2]


@pytest.mark.parametrize("text", ["", "a", "1.5", "0;1"])
def test_other_seeds_are_refused(text):
    with pytest.raises(UserError, match="seeds are whole numbers with commas between"):
        lists.seeds(text)
