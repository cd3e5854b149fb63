"""What an evaluation says of its scores, and how it keeps predictions."""

from types import SimpleNamespace

from glmctl.stages.evaluate import notes


def test_a_model_without_the_blank_of_the_pattern_is_named():
    asker = SimpleNamespace(
        task=SimpleNamespace(num_shots=0),
        missing_blank="[sMASK]",
        split_words=(),
        max_length=8,
        frame=SimpleNamespace(is_causal=False),
    )
    assert [*notes(asker, [])] == ["the model has no [sMASK]; asked with [MASK]"]
    asker.frame.is_causal = True  # it reads no blank at all
    assert [*notes(asker, [])] == []
