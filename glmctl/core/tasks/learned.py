"""What a model has learned for a task beside its weights: a head, or a prompt."""

from glmctl.core.open import Glm
from glmctl.core.tasks.ask import Asker
from glmctl.core.tasks.schema import Policy, TaskConfig
from glmctl.errors import InputError
from glmctl.recipe.schema import AdapterConfig


def asker_for(glm: Glm, task: TaskConfig, policy: Policy = "auto") -> Asker:
    """Who asks a model by a task; the head or the prompt that it learned for it is used.

    Raises:
        UsageError: the task cannot be done so.
        InputError: the model cannot do the task, or what it learned is damaged.
    """
    adapter, module = None, glm.module
    is_own = task.ability in glm.abilities
    if is_own or task.head:
        try:
            module.attach(glm.heads)
        except RuntimeError as error:
            raise InputError(glm.source, f"what it learned is damaged: {error}") from None
    if is_own and module.head is not None and policy != "decode":
        task = task.model_copy(update={"head": True})
    if is_own and module.prompt is not None:
        number = module.prompt.embedding.num_embeddings
        of_all = {"kind": "p_tuning", "num_vectors": number}
        adapter = glm.adapter or AdapterConfig.model_validate(of_all)
    asker = Asker(task, glm.scoring_tokenizer(), glm.config, policy, adapter)
    num_classes = 0 if module.head is None else module.head.classes.out_features
    if task.head and num_classes != asker.num_classes:
        raise InputError(
            glm.source,
            f"has a head of {num_classes} classes, and task {task.name} asks for "
            f"{asker.num_classes}; take a model that was fine-tuned for it with task.head = true",
        )
    return asker
