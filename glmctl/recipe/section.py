"""What every section of a recipe is."""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """Base of every section: unknown keys are refused and values cannot change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )
    checks: ClassVar[tuple[Callable[[Any], Iterator[str]], ...]] = ()
    """What must agree once every value has the right type."""

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        problems = [problem for check in self.checks for problem in check(self)]
        if problems:
            raise ValueError("\n".join(problems))
        return self
