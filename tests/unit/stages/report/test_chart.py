"""Axes and lines."""

import re

import numpy as np
import pytest

from glmctl.stages.report.chart import Chart, Line, Mark, draw, linear_axis, short, thin_out


def chart(*lines: Line, **options) -> str:
    return draw(Chart("Loss", "nats", "steps", "{:.2f}".format, lines, **options))


def line(*y: float, **options) -> Line:
    return Line(np.arange(1.0, len(y) + 1), np.array(y), options.pop("colour", 0), **options)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (2.1, 8.7, [2, 4, 6, 8, 10]),
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (0, 1500, [0, 500, 1000, 1500]),
        (0.0011, 0.0049, [0.001, 0.002, 0.003, 0.004, 0.005]),
        (7, 7, [6, 8]),
        (0, 0, [0, 0.2]),
    ],
)
def test_ticks_are_round_and_enclose_the_values(low, high, ticks):
    assert linear_axis(low, high).ticks == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1500, "1.5k"), (2e6, "2M"), (0.0003, "3e-4"), (0.002, "0.002"), (2.5, "2.5")],
)
def test_numbers_on_an_axis_are_short(value, text):
    assert short(value) == text


def test_a_line_lies_where_its_values_say():
    svg = chart(line(10.0, 0.0, 5.0, label="a"))
    # Steps 1, 2, 3 of 3 are a third, two thirds and all of the width; 10 is the top.
    assert 'points="333.3,0.0 666.7,180.0 1000.0,90.0"' in svg


def test_powers_of_ten_are_equally_far_apart_on_a_logarithmic_axis():
    svg = chart(line(1.0, 10.0, 100.0, label="a"), is_logarithmic=True)
    assert 'points="333.3,180.0 666.7,90.0 1000.0,0.0"' in svg
    assert re.findall(r'class="up"[^>]*>([^<]*)<', svg) == ["1", "2", "5", "10", "20", "50", "100"]


def test_a_share_is_drawn_from_zero():
    svg = chart(line(8.0, 10.0, label="a"), has_zero=True)
    assert re.findall(r'class="up"[^>]*>([^<]*)<', svg) == ["0", "2", "4", "6", "8", "10"]


def test_a_single_spike_of_the_light_line_does_not_flatten_the_others():
    steps = [1.0] * 150 + [1e6] + [1.5] * 149
    svg = chart(line(*steps, style="light"), line(1.0, 2.0, label="a"))
    assert re.findall(r'class="up"[^>]*>([^<]*)<', svg)[-1] == "2"


def test_a_long_line_keeps_its_peak_and_its_ends():
    y = np.zeros(100_000)
    y[70_001] = 9.0
    x, thin = thin_out(np.arange(100_000.0), y)
    assert len(x) <= 802
    assert (x[0], x[-1]) == (0, 99_999)
    assert thin[x == 70_001].tolist() == [9.0]


def test_the_legend_names_each_line_with_its_last_value():
    svg = chart(line(3.0, 2.0, label="a<b"), line(1.0, 4.0, label="c", colour=1))
    assert '<li class="c0">a&lt;b <b>2.00</b></li><li class="c1">c <b>4.00</b></li>' in svg


def test_a_chart_says_in_words_what_it_shows():
    assert 'aria-label="Loss, nats over steps: a 3.00 to 2.00"' in chart(line(3.0, 2.0, label="a"))


def test_a_restart_stands_at_its_step():
    svg = chart(line(3.0, 2.0, 1.0, 1.0, label="a"), marks=[Mark(2, 1)])
    assert '<line class="mark c1" x1="50.00%" x2="50.00%" y2="180"/>' in svg


def test_only_few_points_are_dotted():
    assert 'class="dots' in chart(line(*range(60), label="a"))
    assert 'class="dots' not in chart(line(*range(61), label="a"))
