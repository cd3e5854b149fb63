"""How each family of models reads a text with one blank, or goes on with a text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from glmctl.core.decode.score import Candidate
from glmctl.core.tokenizer.base import Tokenizer
from glmctl.core.tokenizer.special import FAMILY, SpecialTokens

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Frame:
    """The tokens that a family puts around a text."""

    special: SpecialTokens
    lead: Ids
    """In front of every text."""
    is_causal: bool
    """What stands behind a blank cannot be seen: it is scored with the answer."""
    ends_after_blank: bool
    """The text is ended even where nothing follows the blank."""

    @property
    def num_around(self) -> int:
        """Tokens beside those of a text that goes on: what leads it, and the blank."""
        return len(self.lead) + (not self.is_causal)

    def candidate(
        self, before: Ids, blank: int, after: Ids, answer: Ids, *, ends: bool = True
    ) -> Candidate:
        """An answer in a blank between two pieces of text; `ends`: the text is a whole one."""
        if self.is_causal:
            return Candidate((*self.lead, *before), (), None, (*answer, *after))
        end = (self.special.eos,) if ends and (after or self.ends_after_blank) else ()
        part_a = (*self.lead, *before, blank, *after, *end)
        return Candidate(part_a, (), len(self.lead) + len(before), answer)

    def one_way(self, before: Ids, blank: int, answer: Ids, *, ends: bool = True) -> Candidate:
        """As `candidate`, but of the text only the first token is read in both directions."""
        if self.is_causal:
            return self.candidate(before, blank, (), answer)
        text = (*before[1:], *answer)
        candidate = self.candidate(before[:1], blank, (), text, ends=ends)
        return replace(candidate, num_given=len(text) - len(answer))

    def windows(
        self, ids: Sequence[int], length: int, overlap: int, *, one_way: bool
    ) -> Iterator[Candidate]:
        """Candidates that together score each token of a text but the first one, once.

        As in the released code (`tasks/language_model`): a window is moved on by `overlap` tokens,
        and only those that are new in it count. The first window is read one way.

        Args:
            ids: of the text, two at least.
            length: most tokens of text in one window.
            overlap: tokens by which the windows advance.
            one_way: later windows are read so too; else what is known is read in both directions.
        """
        blank = self.special.mask_for("document")
        first = tuple(ids[:length])
        yield self.one_way(first[:1], blank, first[1:], ends=False)
        for end in range(length, len(ids), overlap):
            new = tuple(ids[end : end + overlap])
            known = tuple(ids[end + overlap - length : end])
            if one_way or self.is_causal:
                yield self.one_way(known, blank, new, ends=False)
            else:
                yield self.candidate(known, blank, (), new, ends=False)


def frame_of(tokenizer: Tokenizer, *, is_causal: bool) -> Frame:
    """The frame of a model: GLM, ChatGLM-6B, or one of the causal models after it."""
    special, layout = tokenizer.special, tokenizer.config.special
    lead: Ids = (special.cls,)
    if is_causal and layout in FAMILY:
        lead = (special.mask_for("document"), special.sop)
    elif layout == "chatglm":
        lead = ()
    return Frame(special, lead, is_causal, ends_after_blank=layout != "chatglm")
