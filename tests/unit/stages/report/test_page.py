"""What the page shows of one run and of several, and how it draws a line."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from glmctl.stages.report.page import Line, run, short, svg, thin_out, ticks
from glmctl.stages.report.read import Column


@pytest.fixture
def render(tmp_path):
    def write(*folders) -> str:
        run(folders, tmp_path / "page.html")
        return (tmp_path / "page.html").read_text(encoding="utf-8")

    return write


def titles(page: str) -> list[str]:
    return re.findall(r"<h3>([^<]*?) <small>", page)


def test_only_what_the_records_have_is_drawn(make_run, records, render):
    page = render(make_run("a", *records))
    assert titles(page) == [
        "Loss",
        "Blanks filled exactly",
        "NLL per blank",
        "Learning rate",
        "Gradient norm",
        "Speed",
    ]


def test_the_objectives_of_one_run_share_a_plot(make_run, records, render):
    for record in records:
        record |= {"loss_token": 2.0, "loss_mlm": 3.0}
    page = render(make_run("a", *records))
    assert "By objective" in titles(page)
    assert '<li class="c0">token <b>2.0000</b></li><li class="c3">mlm <b>3.0000</b></li>' in page


def test_an_only_objective_is_not_drawn_beside_the_loss(make_run, records, render):
    for record in records:
        record["loss_token"] = record["loss"]
    assert "By objective" not in titles(render(make_run("a", *records)))


def test_of_several_runs_each_objective_is_a_plot_and_each_run_a_line(make_run, records, render):
    for record in records:
        record |= {"loss_token": 2.0, "loss_document": 4.0}
    page = render(make_run("a", *records), make_run("b", *records))
    assert "By objective: token" in titles(page)
    assert '<li class="c0">a <b>2.0000</b></li><li class="c1">b <b>2.0000</b></li>' in page


def test_span_lengths_stand_in_their_order(make_run, records, render):
    records[0]["loss_by_span_length"] = {"16-": 5.0, "1": 2.0}
    page = render(make_run("a", *records))
    assert page.index(">1 token <b>2.0000") < page.index(">16 and more <b>5.0000")


def test_the_probe_has_a_line_per_language_and_the_baseline_dashed(make_run, records, render):
    records[2] |= {"probe_exact_match_share_zh": 0.5, "probe_baseline_share_zh": 0.0625}
    page = render(make_run("a", *records))
    assert '<li class="c0">all <b>25.0 %</b></li><li class="c2">Chinese <b>50.0 %</b></li>' in page
    assert page.count('class="dashed') == 2


def test_waiting_for_data_is_a_share_of_its_step(make_run, records, render):
    records[2]["data_seconds"] = 0.005
    page = render(make_run("a", *records))
    assert "Waiting for data <small>% of the step" in page
    assert "last <b>1.0 %</b>" in page


def test_a_fine_tuning_shows_what_was_taken_for_what_and_its_score_over_the_steps(
    make_run, records, render
):
    records[2] |= {"dev_accuracy": 75.0, "dev_loss": 0.5}
    page = render(make_run("a", *records, tuned=True))
    assert "<h2>a: answers</h2>" in page
    assert '<th scope="row">1</th><td>7</td><td>3</td>' in page
    assert titles(page)[:2] == ["Score", "Loss of held-out rows"]
    assert "last <b>75.00</b>" in page
    assert "glm-base, paper" in page
    assert "finished.score" not in page


def test_restarts_are_marked_in_every_plot(make_run, records, render):
    page = render(make_run("a", *records, restarts=[1, 2]))
    assert page.count('<line class="mark c0" x1="33.33%" x2="33.33%"') == len(titles(page))
    assert page.count('<line class="mark c0" x1="66.67%" x2="66.67%"') == len(titles(page))


def test_the_page_says_what_ran(make_run, records, render):
    page = render(make_run("a", *records))
    assert '<th scope="row">model.hidden_size</th><td>16</td>' in page
    assert '<th scope="row">num_parameters</th><td>4321</td>' in page
    assert '<th scope="row">packages.torch</th><td>&quot;2.13.0&quot;</td>' in page
    assert "a run &amp; &lt;nothing&gt; else" in page


def test_runs_are_compared_key_by_key(make_run, records, render):
    page = render(make_run("a", *records, seed=1), make_run("b", *records, seed=2))
    assert '<th scope="row">train.seed</th><td>1</td><td>2</td>' in page
    assert "train.steps" not in page


class Tags(HTMLParser):
    """Checks that every element that is opened is closed in its turn."""

    VOID = ("meta", "!doctype")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.places: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.places += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_fetches_nothing(make_run, records, render):
    page = render(make_run("a", *records), make_run("b", *records))
    tags = Tags(page)
    assert tags.open == []
    assert tags.places == []
    assert "http-equiv" in page
    assert not re.search(r"https?://|<script|url\(|@import", page)
    assert "prefers-color-scheme: dark" in page


def column(*y: float) -> Column:
    return Column(np.arange(1.0, len(y) + 1), np.array(y))


def draw(*lines: Line, from_zero: bool = False) -> str:
    return "".join(svg(lines, [], from_zero=from_zero))


def axis(plot: str) -> list[str]:
    return re.findall(r'class="up"[^>]*>([^<]*)<', plot)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (2.1, 8.7, [2, 4, 6, 8, 10]),
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (0, 1500, [0, 500, 1000, 1500]),
        (0.0011, 0.0049, [0.001, 0.002, 0.003, 0.004, 0.005]),
        (7, 7, [6, 8]),
        (0, 0, [0, 0.2]),
    ],
)
def test_ticks_are_round_and_enclose_the_values(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (1500, "1.5k"), (2e6, "2M"), (0.0003, "0.0003"), (2.5, "2.5")]
)
def test_numbers_on_an_axis_are_short(value, text):
    assert short(value) == text


def test_a_line_lies_where_its_values_say():
    # Steps 1, 2, 3 of 3 are a third, two thirds and all of the width; 10 is the top.
    assert 'points="333.3,0.0 666.7,200.0 1000.0,100.0"' in draw(Line(column(10.0, 0.0, 5.0), 0))


def test_a_share_is_drawn_from_zero():
    plot = draw(Line(column(8.0, 10.0), 0), from_zero=True)
    assert axis(plot) == ["0", "2", "4", "6", "8", "10"]


def test_a_single_spike_of_the_light_line_does_not_flatten_the_others():
    steps = [1.0, 1e6, 1.5]
    plot = draw(Line(column(*steps), 0, style="light"), Line(column(1.0, 1.5, 2.0), 0))
    assert axis(plot)[-1] == "2"


def test_a_long_line_keeps_its_peak_and_its_ends():
    y = np.zeros(100_000)
    y[70_001] = 9.0
    thin = thin_out(Column(np.arange(100_000.0), y))
    assert len(thin.steps) <= 802
    assert (thin.steps[0], thin.steps[-1]) == (0, 99_999)
    assert thin.values[thin.steps == 70_001].tolist() == [9.0]


def test_only_few_points_are_dotted():
    assert 'class="dots' in draw(Line(column(*range(60)), 0))
    assert 'class="dots' not in draw(Line(column(*range(61)), 0))
