"""What the page shows of one run and of several."""

import re
from html.parser import HTMLParser

import pytest

from glmctl.stages.report.stage import run


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


def test_the_objectives_of_one_run_share_a_chart(make_run, records, render):
    for record in records:
        record |= {"loss_token": 2.0, "loss_mlm": 3.0}
    page = render(make_run("a", *records))
    assert "By objective" in titles(page)
    assert '<li class="c0">token <b>2.0000</b></li><li class="c1">mlm <b>3.0000</b></li>' in page


def test_an_only_objective_is_not_drawn_beside_the_loss(make_run, records, render):
    for record in records:
        record["loss_token"] = record["loss"]
    assert "By objective" not in titles(render(make_run("a", *records)))


def test_of_several_runs_each_objective_is_a_chart_and_each_run_a_line(make_run, records, render):
    for record in records:
        record |= {"loss_token": 2.0, "loss_document": 4.0}
    page = render(make_run("a", *records), make_run("b", *records))
    assert "By objective: token" in titles(page)
    assert '<li class="c0">a <b>2.0000</b></li><li class="c1">b <b>2.0000</b></li>' in page
    assert "Loss by tokens" in titles(page)


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


def test_restarts_are_marked_and_said(make_run, records, render):
    page = render(make_run("a", *records, restarts=[1, 2]))
    assert "4 steps, now at step 3; taken up again after step 1, 2" in page
    assert page.count('<line class="mark c7"') == 2 * len(titles(page))


def test_a_finished_run_is_called_so(make_run, records, render):
    assert "4 steps, finished" in render(make_run("a", *records, finished={"steps": 3}))


def test_the_page_says_what_ran(make_run, records, render):
    page = render(make_run("a", *records))
    assert "4,321 parameters: 1 layers, width 16, 2 heads, 32 positions" in page
    assert "glmctl 0.1.0 at 0123456789, Python 3.11.7, torch 2.13.0" in page
    assert "2026-11-24 08:34:28 UTC" in page
    assert "a run &amp; &lt;nothing&gt; else" in page


def test_recipes_are_compared_key_by_key(make_run, records, render):
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
