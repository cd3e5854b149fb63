"""What a fine-tuning adds to a model: low-rank updates, a prompt, a head."""

from collections.abc import Sequence

import torch

from glmctl.core.model.glm import GLM
from glmctl.core.model.prompt import ClassificationHead, PromptEncoder
from glmctl.core.tasks.ask import Asker
from glmctl.core.train.adapter import add_adapter
from glmctl.recipe.schema import AdapterConfig

USUAL_RATE, USUAL_WIDTH = 1e-5, 1024  # of the released code, for GLM-Large
RATE_ALONE = 3e-4  # of what is trained beside a model that stays as it is, at that width
COMMON = 5000  # ids below this are of frequent tokens, as the released code has it


def add_parts(model: GLM, adapter: AdapterConfig | None, asker: Asker, seed: int) -> None:
    """Add what is trained beside the weights of the model, or in their place.

    Args:
        model: gets them.
        adapter: of the recipe.
        asker: says whether a head answers, and which words do.
        seed: of their first weights.
    """
    if adapter is not None and adapter.kind == "lora":
        add_adapter(model, adapter, seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if adapter is not None and adapter.kind == "p_tuning":
            add_prompt(model, adapter, sorted({*sum(asker.words.values(), ())}))
        if asker.task.head:
            config = model.config
            model.head = ClassificationHead(config.hidden_size, asker.num_classes, config.dropout)


def add_prompt(model: GLM, config: AdapterConfig, words: Sequence[int]) -> None:
    """Add learned vectors, each begun between a frequent token and one of the answers.

    As `--prompt-init` of the released code; without `words`, frequent tokens alone.
    """
    if config.freeze:
        model.requires_grad_(False)
        for block in model.blocks[: config.tuned_layers]:
            block.requires_grad_(True)
    number, rows = config.num_prefix + config.num_vectors, model.word_embedding.weight.detach()
    begun = rows[torch.randint(min(COMMON, len(rows)), (number,))]
    if words:
        of_words = rows[torch.tensor(words)[torch.randint(len(words), (number,))]]
        begun = torch.lerp(of_words, begun, torch.rand(number, 1))
    has_lstm, has_linears = config.encoder == "lstm", config.encoder != "none"
    model.prompt = PromptEncoder(number, rows.shape[1], has_lstm=has_lstm, has_linears=has_linears)
    model.prompt.embedding.weight.data.copy_(begun)


def usual_rate(width: int, is_alone: bool) -> float:
    """The released rate; narrower models take more, with the square of their width.

    What is trained beside a model that stays as it is takes more, in proportion to the width.
    """
    times = USUAL_WIDTH / width
    return float(f"{RATE_ALONE * times if is_alone else USUAL_RATE * times**2:.1e}")
