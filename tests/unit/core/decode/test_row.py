"""What is fed next while the blanks of a text are filled."""

from glmctl.core.decode.infill import Row

SOP, EOP = 90, 91


def test_the_tokens_of_a_blank_stand_at_its_mask_and_count_from_sop():
    row = Row(places=(2, 5), key=0)
    fed = [row.next_input(SOP)]
    for token in (7, 8):
        row.take(token, -1.0, (EOP,), limit=4)
        fed.append(row.next_input(SOP))
    assert fed == [(SOP, 2, 1), (7, 2, 2), (8, 2, 3)]


def test_the_next_blank_opens_with_sop_at_its_own_mask():
    row = Row(places=(2, 5), key=0)
    row.take(7, -1.0, (EOP,), limit=4)
    row.take(EOP, -1.0, (EOP,), limit=4)
    assert row.next_input(SOP) == (SOP, 5, 1)


def test_a_blank_starts_without_the_score_of_the_one_before():
    row = Row(places=(2, 5), key=0)
    for token in (7, EOP, 8, EOP):
        row.take(token, -1.0, (EOP,), limit=4)
    assert row.is_done
    assert [(fill.ids, fill.log_prob) for fill in row.fills] == [((7,), -1.0), ((8,), -1.0)]
