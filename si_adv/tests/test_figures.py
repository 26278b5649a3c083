import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from si_adv import figures
from si_adv.figures import _seen, draw_cloud, shaded

# Two squares across the line of sight, the smaller one nearer to the viewer: (across, up, away) turned back.
_BACK = np.linalg.inv(_seen(np.eye(3)))


def square(half, away):
    corners = np.array([[-half, -half, away], [half, -half, away], [half, half, away], [-half, half, away]]) @ _BACK
    return corners[[[0, 1, 2], [0, 2, 3]]]


def test_the_nearest_surface_is_the_one_that_is_seen():
    picture, depth, half = shaded(np.concatenate((square(0.4, -0.5), square(1.0, 0.5))), pixels=102)
    assert np.isclose(half, 1.02)
    middle, corner = depth[50, 50], depth[10, 10]
    assert np.isclose(middle, -0.5) and np.isclose(corner, 0.5)
    assert np.isclose(np.isclose(depth, middle).mean(), (0.4 / 1.02) ** 2, rtol=0.1)
    assert np.isnan(picture[0, 0]) and np.isinf(depth[0, 0])
    # Both face the viewer alike.
    assert np.isclose(picture[50, 50], picture[10, 10])


def test_points_behind_the_surface_are_not_drawn():
    axes = Figure().subplots()
    points = np.array([[0, 0, -0.9], [0, 0, -0.5], [0, 0, 0.2], [0.9, 0, 0.2], [0.9, 0, 0.9], [1.5, 0, 3.0]]) @ _BACK
    surface = shaded(np.concatenate((square(0.4, -0.5), square(1.0, 0.5))))
    drawn = draw_cloud(axes, points, np.arange(6.0), Normalize(0, 5), surface=surface)
    assert sorted(drawn.get_array()) == [0, 1, 3, 5]


def test_the_scale_of_displacements_covers_all_of_them(tmp_path, monkeypatch):
    clean = np.random.default_rng(0).standard_normal((40, 3)) / 3
    adv = clean.copy()
    adv[3, 0] += 0.7
    scales = []
    drawing = figures.draw_cloud

    def kept(axes, points, values=None, norm=None, title="", surface=None):
        if values is not None:
            scales.append((norm.vmax, values.max()))
        return drawing(axes, points, values, norm, title, surface)

    monkeypatch.setattr(figures, "draw_cloud", kept)
    example = {"clean": clean, "title": "clean", "attacks": {"a": (adv, "x"), "b": (clean, "y")}, "surface": None}
    figures.displacement(tmp_path / "moved.png", [example])
    assert [round(scale, 6) for scale, _ in scales] == [0.7, 0.7]
    flat = {**example, "surface": np.array([[[-9.0, -9, 0], [9, -9, 0], [0, 9, 0]]])}
    scales.clear()
    figures.displacement(tmp_path / "surface.png", [flat])
    # By the distance from the surface, the plane z = 0.
    assert np.allclose([scale for scale, _ in scales], np.abs(clean[:, 2]).max())
    assert (tmp_path / "surface.png").stat().st_size > 1000
