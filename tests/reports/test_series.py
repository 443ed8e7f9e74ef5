"""Pictures of measurements: every point is in the picture, in its colour, whatever the values and times."""

from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest

from vertune.reports.series import Point, draw

BEGIN = datetime(2030, 1, 1, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"


def points(values, step=timedelta(hours=1), verdict="quiet"):
    return [Point(BEGIN + number * step, value, value - 0.1, value + 0.1, verdict) for number, value in enumerate(values)]


@pytest.mark.parametrize("step", [timedelta(seconds=1), timedelta(hours=1), timedelta(days=1), timedelta(days=400)])
@pytest.mark.parametrize("values", [[], [0.5], [0.5, 0.5, 0.5], [0.0, 1.0], [-3e9, 5e9, 2.0], [1e-9, 2e-9]])
def test_every_point_is_inside_the_picture(values, step):
    picture = ElementTree.fromstring(draw(points(values, step), 'a <title> & "more"', "number", 320, "light"))
    assert picture.find(f"{SVG}title").text == 'a <title> & "more"'
    circles = picture.findall(f"{SVG}circle")
    assert len(circles) == len(values)
    places = [(float(one.get("cx")), float(one.get("cy"))) for one in circles]
    assert all(0 <= x <= 320 and 0 <= y <= 170 for x, y in places)
    assert places == sorted(places, key=lambda place: place[0])
    for (_, y), value in zip(places, values, strict=True):
        assert all((y <= other) or value < known for (_, other), known in zip(places, values, strict=True)), "higher values are higher"


def test_colours_tell_the_verdict_and_the_theme():
    found = {}
    for theme in ("light", "dark"):
        for verdict in ("quiet", "changed", "unknown"):
            picture = ElementTree.fromstring(draw(points([0.5], verdict=verdict), "t", "share", 640, theme))
            circle = picture.find(f"{SVG}circle")
            found[theme, verdict] = circle.get("fill"), circle.get("stroke")
    assert len(set(found.values())) == 6
    assert {one[0] for (_, verdict), one in found.items() if verdict == "unknown"} == {"none"}


def test_times_and_values_are_written_on_the_axes():
    picture = ElementTree.fromstring(draw(points([0.2, 0.4], timedelta(days=2)), "t", "share", 640, "light"))
    texts = [one.text for one in picture.findall(f"{SVG}text")]
    assert any(text.startswith("01-02") for text in texts)
    assert any(text.endswith("\u00a0%") for text in texts)


def test_without_points_there_are_no_axes():
    picture = ElementTree.fromstring(draw([], "t", "share", 640, "light"))
    assert [element.text for element in picture.iter() if element.tag.endswith("text")] == ["–"]
