import pytest

from shared_utils import UserError, lists


def test_words_and_numbers_stand_between_commas():
    assert lists.names(" a, b ,,c,a") == ["a", "b", "c"] and lists.names(" ,") == []
    assert lists.numbers("0, 2,2", int, "seeds") == (0, 2)
    assert lists.numbers("1e-3,2", float, "rates") == (0.001, 2.0)


@pytest.mark.parametrize("text", ["", ",", "a", "1.5", "0;1"])
def test_other_things_than_numbers_are_named_with_their_option(text):
    with pytest.raises(UserError) as caught:
        lists.numbers(text, int, "seeds")
    assert str(caught.value) == f"--seeds {text!r}: give whole numbers with commas between"
    with pytest.raises(UserError, match="--rates 'x': give numbers with commas between"):
        lists.numbers("x", float, "rates")
