"""What is fed next while the blanks of a text are filled, and which beams go on."""

from glmctl.core.decode.search import Candidate, Row, Rules
from glmctl.recipe.schema import DecodeConfig

SOP, EOP, EOS = 90, 91, 92
ONE_BEAM = Rules(DecodeConfig(), SOP, (EOP, EOS), limit=4)


def rules(**settings: float) -> Rules:
    return Rules(DecodeConfig(num_beams=2, **settings), SOP, (EOP, EOS), limit=4)


def take(row: Row, *tokens: int) -> None:
    for token in tokens:
        row.take([Candidate(0, token, -1.0)], ONE_BEAM)


def test_the_tokens_of_a_blank_stand_at_its_mask_and_count_from_sop():
    row = Row(places=(2, 5), key=0)
    fed = [*row.next_inputs(ONE_BEAM)]
    for token in (7, 8):
        take(row, token)
        fed += row.next_inputs(ONE_BEAM)
    assert fed == [(SOP, 2, 1), (7, 2, 2), (8, 2, 3)]


def test_the_next_blank_opens_with_sop_at_its_own_mask():
    row = Row(places=(2, 5), key=0)
    take(row, 7, EOP)
    assert [*row.next_inputs(ONE_BEAM)] == [(SOP, 5, 1)]


def test_a_blank_starts_without_the_score_of_the_one_before():
    row = Row(places=(2, 5), key=0)
    take(row, 7, EOP, 8, EOP)
    assert row.is_done
    assert [(fill.ids, fill.log_prob) for fill in row.fills] == [((7,), -1.0), ((8,), -1.0)]


def test_the_first_beams_in_rank_go_on_and_carry_their_past():
    row = Row(places=(2,), key=0)
    row.take([Candidate(0, 7, -1.0), Candidate(0, 8, -2.0), Candidate(0, 9, -3.0)], rules())
    row.take([Candidate(1, 6, -0.5), Candidate(0, 5, -2.0)], rules())
    assert [(beam.ids, beam.total) for beam in row.beams] == [((8, 6), -2.5), ((7, 5), -3.0)]
    assert [*row.next_inputs(rules())] == [(6, 2, 3), (5, 2, 3)]


def test_an_end_counts_only_among_the_first_beams():
    row = Row(places=(2,), key=0)
    ranked = [Candidate(0, 7, -1.0), Candidate(0, 8, -2.0), Candidate(0, EOP, -3.0)]
    assert row.take(ranked, rules()) is None
    assert row.finished == []
    assert len(row.beams) == 2


def test_two_ways_to_end_are_one_fill():
    row = Row(places=(2,), key=0)
    row.take([Candidate(0, 7, -1.0)], rules())
    row.take([Candidate(0, EOS, -0.5), Candidate(0, EOP, -0.7), Candidate(0, 8, -0.9)], rules())
    assert [(f.ids, f.end, f.score) for f in row.finished] == [((7,), EOS, -1.5)]


def test_the_end_counts_for_the_score_but_not_for_the_length():
    row, settings = Row(places=(2,), key=0), rules(length_penalty=1.0)
    row.take([Candidate(0, 7, -1.0)], settings)
    row.take([Candidate(0, 8, -1.0)], settings)
    row.take([Candidate(0, EOP, -3.0), Candidate(0, 9, -4.0)], settings)
    (finished,) = row.finished
    assert (finished.log_prob, finished.score) == (-2.0, -2.5)
    assert finished.token_log_probs == (-1.0, -1.0, -3.0)


def test_an_empty_fill_has_length_one():
    row = Row(places=(2,), key=0)
    row.take([Candidate(0, EOP, -3.0), Candidate(0, 9, -4.0)], rules(length_penalty=2.0))
    assert row.finished[0].score == -3.0


def test_a_blank_is_done_when_no_open_beam_scores_better_than_the_worst_fill():
    row = Row(places=(2,), key=0)
    row.take([Candidate(0, EOP, -1.0), Candidate(0, 7, -2.0), Candidate(0, 8, -2.5)], rules())
    assert row.take([Candidate(0, EOP, -0.5), Candidate(0, 9, -0.4)], rules()) is None
    assert row.take([Candidate(0, 9, -0.2)], rules()) is not None  # -2.6 against -2.5
    assert [fill.ids for fill in row.fills] == [()]


def test_open_beams_are_fills_at_the_limit():
    row, settings = Row(places=(2,), key=0), rules(n_best=2)
    for token in (5, 6, 7):
        row.take([Candidate(0, token, -1.0)], settings)
    finished = row.take([Candidate(0, 8, -1.0), Candidate(0, 9, -2.0)], settings)
    assert finished is not None
    assert [(fill.ids, fill.finish) for fill in row.fills[0].ranked] == [
        ((5, 6, 7, 8), "length"),
        ((5, 6, 7, 9), "length"),
    ]


def test_missing_beams_are_fed_what_the_first_one_is():
    row = Row(places=(2,), key=0)
    assert [*row.next_inputs(rules())] == [(SOP, 2, 1), (SOP, 2, 1)]
