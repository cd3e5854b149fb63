"""Texts with hidden words as they are learned."""

import pytest

import glmctl
from glmctl.core.decode.infill import insert
from glmctl.core.decode.search import Fill
from glmctl.core.tasks.ask import Asker
from glmctl.core.tasks.read import Example
from glmctl.core.tasks.schema import TaskConfig
from glmctl.core.train.lessons import lessons_of, make_batch
from glmctl.core.train.preflight import samples

TEXTS = [
    "On Tuesday the market opens at seven, and the baker sells warm bread.",
    "河水在雨后上涨了。",
]


@pytest.fixture(scope="module")
def asker() -> Asker:
    glm = glmctl.load("glmctl-default", device="cpu")
    task = TaskConfig(name="holes", kind="infill", mask_ratio=0.4)
    return Asker(task, glm.scoring_tokenizer(), glm.config)


def question_of(asker: Asker, text: str):
    return asker.ask(
        Example(place="1", id=(1,), group=(1,), fields={"text": text}, choices=(), golds=())
    )


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_learned_makes_the_text_whole_again(asker, text):
    question = question_of(asker, text)
    (lesson,) = lessons_of(asker, question)
    blanks = lesson.question.candidates
    assert len(blanks) == len(question.prompt.places) > 1
    assert [it.place for it in blanks] == [*question.prompt.places]
    end = asker.special.eop
    assert all(it.targets[-1] == end for it in blanks)
    fills = [Fill(it.targets[:-1], 0.0, "end") for it in blanks]
    assert insert(question.prompt, fills, asker.tokenizer).text == text


def test_a_blank_sees_what_stood_in_those_before_it_and_not_their_ends(asker):
    (lesson,) = lessons_of(asker, question_of(asker, TEXTS[0]))
    first, second, *_ = lesson.question.candidates
    sop = asker.special.sop
    assert first.part_b == ()
    assert [it for it, _, _ in second.part_b] == [sop, *first.targets[:-1]]
    assert {place for _, place, _ in second.part_b} == {first.place}
    assert [it for _, _, it in second.part_b] == [*range(1, len(first.targets) + 1)]


def test_every_token_of_every_blank_is_a_target_once(asker):
    lessons = [lesson for text in TEXTS for lesson in lessons_of(asker, question_of(asker, text))]
    batch = make_batch(lessons, asker)
    blanks = [blank for lesson in lessons for blank in lesson.question.candidates]
    learned = [it for blank in blanks for it in blank.targets]
    assert sorted(batch.target_ids.tolist()) == sorted(learned)
    assert batch.num_targets == len(learned)


def test_a_sample_shows_each_blank_as_learned_and_none_as_wrong(asker):
    lessons = [*lessons_of(asker, question_of(asker, TEXTS[0]))]
    learns = [*samples(asker.tokenizer, lessons)][-1]
    assert learns.count(">>") == len(lessons[0].question.candidates)
    assert "against" not in learns
