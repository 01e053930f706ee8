"""Slices: coordinates, points, windows, and every way in which one cannot be laid."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaspace.errors import DeltaspaceError
from deltaspace.landscape import Grid, Slice

POINTS = {"a": torch.tensor([1.0, 0.0, 2.0]), "b": torch.tensor([0.0, 1.0, 0.0]), "c": torch.tensor([3.0, 1.0, 1.0])}


def test_a_grid_is_read_and_its_ends_are_exact():
    [grid] = Grid.parse("-1:2:4")
    assert grid.ticks == (-1.0, 0.0, 1.0, 2.0)
    assert [grid.count for grid in Grid.parse("0:1:3,-2:2:5")] == [3, 5]
    assert Grid(0.0, 0.7, 8).ticks[-1] == 0.7


@pytest.mark.parametrize("text", ["", "1:2", "2:1:5", "0:1:1", "0:x:3", "0:inf:3", "0:1:3,0:1:3,0:1:3", "nan:1:3", "0:1:2.5"])
def test_what_is_no_grid_is_refused(text):
    with pytest.raises(DeltaspaceError, match="no grid"):
        Grid.parse(text)


def test_a_plane_contains_its_three_points_at_their_marks():
    plane = Slice.through(POINTS)
    for name, coordinates in plane.marks.items():
        assert torch.allclose(plane.origin + torch.tensor(coordinates) @ plane.directions, POINTS[name], atol=1e-5)
    assert torch.allclose(plane.directions @ plane.directions.T, torch.eye(2), atol=1e-6)
    reach = max(abs(number) for coordinates in plane.marks.values() for number in coordinates)
    assert plane.grids[0].low < -reach and plane.grids[0].high > reach and plane.shape == (25, 25)


def test_a_line_leads_from_its_first_point_to_its_second():
    line = Slice.through({name: POINTS[name] for name in ("a", "b")}, Grid.parse("0:1:3"))
    assert torch.equal(line.points(), torch.stack([POINTS["a"], (POINTS["a"] + POINTS["b"]) / 2, POINTS["b"]]))


def test_cells_are_row_by_row_with_x_first():
    plane = Slice.along(
        "m", torch.zeros(2), {"x": torch.tensor([2.0, 0.0]), "y": torch.tensor([1.0, 1.0])}, Grid.parse("0:1:2,0:2:3")
    )
    assert plane.shape == (3, 2)
    assert plane.coordinates().tolist() == [[0, 0], [1, 0], [0, 1], [1, 1], [0, 2], [1, 2]]
    # Made orthonormal: y's part along x is gone.
    assert torch.allclose(plane.points()[-1], torch.tensor([1.0, 2.0]))


@given(st.lists(st.floats(-5, 5, width=32), min_size=4, max_size=4))
@settings(max_examples=30, deadline=None)
def test_projecting_a_point_gives_its_coordinates_and_its_distance(numbers):
    plane = Slice.through(POINTS)
    wanted = torch.tensor(numbers[:2])
    normal = torch.linalg.cross(*plane.directions)
    coordinates, distances = plane.project((plane.origin + wanted @ plane.directions + numbers[2] * normal).unsqueeze(0))
    assert torch.allclose(coordinates[0], wanted, atol=1e-3)
    assert float(distances[0]) == pytest.approx(abs(numbers[2]), abs=1e-3)


def test_slices_that_cannot_be_laid():
    with pytest.raises(DeltaspaceError, match="one point"):
        Slice.through({"a": POINTS["a"], "again": POINTS["a"].clone()})
    with pytest.raises(DeltaspaceError, match="make no plane"):
        Slice.through({"a": POINTS["a"], "b": 2 * POINTS["a"], "c": 3 * POINTS["a"]})
    with pytest.raises(DeltaspaceError, match="make no plane"):
        Slice.along("m", POINTS["a"], {"there": POINTS["b"], "back": -POINTS["b"]})
    with pytest.raises(DeltaspaceError, match="a and again are one point"):
        Slice.through({"a": POINTS["a"], "b": POINTS["b"], "again": POINTS["a"].clone()})
    with pytest.raises(DeltaspaceError, match="way is no direction"):
        Slice.along("m", POINTS["a"], {"way": torch.zeros(3)})
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(DeltaspaceError, match="way is not finite"):
            Slice.along("m", POINTS["a"], {"way": torch.tensor([1.0, wrong, 0.0])})
        with pytest.raises(DeltaspaceError, match="m is not finite"):
            Slice.along("m", torch.tensor([1.0, wrong, 0.0]), {"way": POINTS["a"]})
        with pytest.raises(DeltaspaceError, match="lost is not finite"):
            Slice.through({"a": POINTS["a"], "lost": torch.tensor([1.0, wrong, 0.0])})
    with pytest.raises(DeltaspaceError, match="two points"):
        Slice.through({"a": POINTS["a"]})
    with pytest.raises(DeltaspaceError, match="one direction or two"):
        Slice.along("m", POINTS["a"], {})
    with pytest.raises(DeltaspaceError, match="grid does not fit"):
        Slice.through({"a": POINTS["a"], "b": POINTS["b"]}, Grid.parse("0:1:3,0:1:3"))
