import pytest
from attack_toys import predicted, toy_clouds, toy_victim


@pytest.fixture(scope="module")
def victim():
    return toy_victim(3)


@pytest.fixture(scope="module")
def clouds():
    """Points and outward normals; a module that needs others says so."""
    return toy_clouds(8)


@pytest.fixture(scope="module")
def labels(victim, clouds):
    return predicted(victim, clouds[0])
