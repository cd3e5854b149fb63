"""How many rows the word embedding has when the recipe leaves them to the tokenizer."""

from glmctl.core.tokenizer.load import load_tokenizer
from glmctl.recipe.load import unset_variables
from glmctl.recipe.schema import Recipe

MULTIPLE = 128


def rows_for(size: int) -> int:
    """The vocabulary rounded up, as the released models; all rows take part in the softmax."""
    return -(-size // MULTIPLE) * MULTIPLE


def with_vocabulary(recipe: Recipe) -> Recipe:
    """Fill in ``model.vocab_rows``, unless the vocabulary is not here (to fetch, or ``${VAR}``)."""
    path = recipe.tokenizer.path
    if recipe.model.vocab_rows is not None or path.startswith("hf:") or unset_variables(path):
        return recipe
    rows = rows_for(load_tokenizer(recipe.tokenizer).size)
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"vocab_rows": rows})})
