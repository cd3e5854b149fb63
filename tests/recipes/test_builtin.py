import tomllib
from pathlib import Path

import pytest

from glmctl.core.tasks.find import check_recipe, task_of_recipe
from glmctl.errors import UsageError
from glmctl.recipe.find import builtin_folder, builtin_recipes, find_recipe, recipe_name
from glmctl.recipe.finetune import FinetuneRecipe, runs_of, trace_finetuning
from glmctl.recipe.kinds import EvalRecipe, kind_of
from glmctl.recipe.load import load_recipe, to_toml
from glmctl.recipe.plan import GIB, count_parameters, make_plan
from glmctl.stages import pretrain

ALL = [recipe_name(file) for file in builtin_recipes()]
TUNINGS = [name for name in ALL if kind_of(name) is FinetuneRecipe]
EVALS = [name for name in ALL if kind_of(name) is EvalRecipe]
NAMES = [name for name in ALL if name not in (*TUNINGS, *EVALS)]


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_loads_and_plans(name):
    assert make_plan(load_recipe(name)).work.steps > 0


def test_the_readme_names_every_recipe():
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert [name for name in ALL if f"`{name}`" not in readme] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_profile_of_a_recipe_loads(name):
    recipe = load_recipe(name)
    for profile in recipe.topology.profiles:
        assert load_recipe(name, topology=profile).train.global_batch_size == (
            recipe.train.global_batch_size
        )


@pytest.mark.parametrize("name", NAMES)
def test_every_resolved_recipe_loads_to_itself(name, tmp_path):
    recipe = load_recipe(name)
    (tmp_path / "again.toml").write_text(to_toml(recipe))
    assert load_recipe(str(tmp_path / "again.toml")) == recipe


# Layers, width, heads, places and rows of the paper and its code, and the parameters they make.
SIZES = {
    "glm-base": (12, 768, 12, 512, 30592, 109_338_624),
    "glm-large": (24, 1024, 16, 512, 30592, 334_688_256),
    "glm-doc": (24, 1024, 16, 512, 30592, 334_688_256),
    "glm-sent": (24, 1024, 16, 512, 30592, 334_688_256),
    "glm-410m": (30, 1024, 16, 512, 30592, 410_265_600),
    "glm-515m": (30, 1152, 18, 512, 30592, 514_632_960),
    "glm-roberta": (24, 1024, 16, 512, 50304, 354_873_344),
    "glm-roberta-1.25": (24, 1152, 18, 1024, 50304, 442_879_488),
    "glm-large-chinese": (24, 1024, 16, 1024, 50048, 355_659_776),
    "glm-2b": (36, 2048, 32, 1024, 50304, 1_920_122_880),
    "glm-10b": (48, 4096, 64, 1024, 50304, 9_880_682_496),
    "glm-10b-longer": (48, 4096, 64, 1024, 50304, 9_880_682_496),
    "glm-10b-chinese": (48, 4096, 64, 1024, 50048, 9_879_633_920),
    "glm-10b-chinese-longer": (48, 4096, 64, 1024, 50048, 9_879_633_920),
}


@pytest.mark.parametrize("name", SIZES)
def test_the_models_have_the_sizes_of_the_paper(name):
    model = load_recipe(name).model
    assert (
        *(model.num_layers, model.hidden_size, model.num_attention_heads),
        *(model.max_positions, model.vocab_rows, count_parameters(model).total),
    ) == SIZES[name]


# Layers, width, heads and groups, feed-forward part, rows; parameters of the released models.
FAMILY = {
    "chatglm-6b": (28, 4096, 32, 32, 16384, 130528, 6_173_286_400),
    "chatglm2-6b": (28, 4096, 32, 2, 13696, 65024, 6_243_584_000),
    "chatglm3-6b": (28, 4096, 32, 2, 13696, 65024, 6_243_584_000),
    "glm-4-9b": (40, 4096, 32, 2, 13696, 151552, 9_399_951_360),
    "glm-4-9b-0414": (40, 4096, 32, 2, 13696, 151552, 9_400_279_040),
    "glm-4-32b-0414": (61, 6144, 48, 2, 23040, 151552, 32_566_081_536),
}


@pytest.mark.parametrize("name", FAMILY)
def test_the_models_of_the_family_have_the_sizes_of_the_released_ones(name):
    model = load_recipe(name).model
    assert (
        *(model.num_layers, model.hidden_size, model.num_attention_heads, model.kv_heads),
        *(model.ffn_width, model.vocab_rows, count_parameters(model).total),
    ) == FAMILY[name]
    assert model.head_width == 128


def test_the_model_for_a_million_tokens_has_four_groups_of_keys():
    model = load_recipe("glm-4-9b", ["model.num_kv_heads=4"]).model
    assert count_parameters(model).total == 9_483_857_920


@pytest.mark.parametrize(("ties", "billions"), [("true", 128.70), ("false", 130.55)])
def test_both_readings_of_glm_130b_are_counted_and_stated(ties, billions):
    model = load_recipe("glm-130b", [f"model.tie_embeddings={ties}"]).model
    total = count_parameters(model).total
    assert total / 1e9 == pytest.approx(billions, abs=0.005)
    assert f"{total:,}" in (builtin_folder() / "glm-130b.toml").read_text()


def test_glm_130b_computes_as_fast_as_its_log_says():
    """88.5 s a step are 134 TFLOP/s on each of 768 GPUs, with the second forward pass."""
    work = make_plan(load_recipe("glm-130b")).work
    assert work.step_flops * 4 / 3 / 88.5 / 768 == pytest.approx(134e12, rel=0.02)


@pytest.mark.parametrize("profile", [None, "a100-768"])
def test_glm_130b_fits_its_gpus_with_24_replicas_over_uneven_stages(profile):
    recipe = load_recipe("glm-130b", topology=profile)
    plan = make_plan(recipe)
    assert (plan.layout.gpus, plan.layout.replicas, plan.layout.micro_steps) == (768, 24, 176)
    assert recipe.topology.stage_layers == (8, *[9] * 6, 8)
    held = 8 * 1_812_115_456 // 4 + 1_849_712_640 // 4  # an end: 8 layers, the embedding, a norm
    assert plan.memory_per_gpu.gradients_bytes == 4 * held
    assert 20 * GIB < plan.memory_per_gpu.total_bytes < 40 * GIB


@pytest.mark.parametrize("name", FAMILY)
def test_a_record_is_planned_and_not_run(name, tmp_path):
    recipe = load_recipe(name)
    assert make_plan(recipe).layout.gpu == "unpublished"
    with pytest.raises(UsageError, match=r"recipe\.stage: is 'record'") as caught:
        pretrain.run(recipe, run_dir=tmp_path / "run", progress=print, note=print)
    assert "its corpus, " in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_recipe_that_brings_what_a_record_lacks_can_be_run(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('[recipe]\nextends = "chatglm2-6b"\nsource = "mine"\nstage = "pretrain"\n')
    assert load_recipe(str(file)).recipe.needs is None


def test_every_pretraining_run_of_the_paper_stands_in_exactly_one_recipe():
    stated = [run for name in NAMES for run in load_recipe(name).recipe.experiments]
    assert sorted(stated) == [
        *("130B-PT", "CG-6B-PT", "CG2-6B-PT", "CG3-6B-PT", "G4-0414-PT", "G4-9B-PT"),
        *("GLM-PT-10B-S1", "GLM-PT-10B-S2", "GLM-PT-10B-ZH-S1", "GLM-PT-10B-ZH-S2"),
        *("GLM-PT-2B", "GLM-PT-410M", "GLM-PT-515M", "GLM-PT-BASE", "GLM-PT-DOC"),
        *("GLM-PT-LARGE", "GLM-PT-LARGE-ZH", "GLM-PT-ROBERTA", "GLM-PT-ROBERTA-1.25"),
        "GLM-PT-SENT",
    ]


@pytest.mark.parametrize("name", [*SIZES, *FAMILY, "glm-130b"])
def test_a_recipe_of_the_paper_names_its_own_source(name):
    head = tomllib.loads((builtin_folder() / f"{name}.toml").read_text())["recipe"]
    assert head["source"]
    assert head["certainty"]


def described(name: str) -> tuple[object, ...]:
    recipe = load_recipe(name)
    train, schedule, optimizer = recipe.train, recipe.schedule, recipe.optimizer
    return (
        *(train.steps, train.global_batch_size, train.micro_batch_size, recipe.micro_steps),
        *(optimizer.peak_lr, optimizer.betas, optimizer.eps, optimizer.weight_decay),
        *(schedule.kind, schedule.warmup_steps, schedule.decay_steps, schedule.min_ratio),
    )


ADAM = ((0.9, 0.98), 1e-6)
ADAM_10B = ((0.9, 0.95), 1e-8, 0.1)


# Steps, batch, micro batch, micro steps; rate, Adam, decay of weights; schedule.
@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        (
            "glm-base",
            (150_000, 1024, 16, 1, 4e-4, *ADAM, 0.1, "cosine", 6_000, 120_000, 0.05),
        ),
        (
            "glm-large",
            (200_000, 1024, 16, 1, 2e-4, *ADAM, 0.1, "cosine", 8_000, 160_000, 0.05),
        ),
        (
            "glm-doc",
            (200_000, 1024, 16, 1, 2e-4, *ADAM, 0.1, "cosine", 8_000, 160_000, 0.05),
        ),
        (
            "glm-roberta",
            (250_000, 8192, 16, 8, 4e-4, *ADAM, 0.01, "linear", 30_000, 500_000, 0.025),
        ),
        (
            "glm-10b",
            (250_000, 5376, 21, 1, 1e-4, *ADAM_10B, "cosine", 7_000, 175_000, 0.1),
        ),
        (
            "glm-10b-longer",
            (50_000, 2048, 8, 1, 3e-5, *ADAM_10B, "linear", 250, 50_000, 0.1),
        ),
        (
            "glm-10b-chinese",
            (72_000, 5376, 21, 1, 1e-4, *ADAM_10B, "cosine", 4_800, 120_000, 0.1),
        ),
        (
            "glm-10b-chinese-longer",
            (8_000, 2048, 8, 1, 3e-5, *ADAM_10B, "cosine", 500, 20_000, 0.1),
        ),
        (
            "glm-130b",
            (None, 4224, 1, 176, 8e-5, (0.9, 0.95), 1e-8, 0.1, "cosine", 260, 46_817, 0.1),
        ),
        (
            "glm-large-chinese",
            (250_000, 8192, 32, 1, 4e-4, *ADAM, 0.01, "cosine", 8_000, 200_000, 0.1),
        ),
    ],
)
def test_the_numbers_are_those_of_the_paper_and_the_released_scripts(name, numbers):
    assert described(name) == numbers


# Shares of token, sentence, document and single spans; shortest document span; noise; short rows.
@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("glm-base", (1.0, 0, 0, 0, 0.5, 0, 0)),
        ("glm-doc", (0.5, 0, 0.5, 0, 0.5, 0, 0)),
        ("glm-sent", (0.5, 0.5, 0, 0, 0.5, 0, 0)),
        ("glm-410m", (0.5, 0, 0.5, 0, 0.5, 0, 0)),
        ("glm-515m", (0.5, 0, 0.5, 0, 0.5, 0, 0)),
        ("glm-roberta", (1.0, 0, 0, 0, 0.5, 0, 0)),
        ("glm-10b", (0.5, 0.3, 0.2, 0, 0.25, 0.1, 0.02)),
        ("glm-10b-longer", (0.95 * 0.4, 0.95 * 0.3, 0.95 * 0.3, 0.05, 0.25, 0.1, 0.5)),
        ("glm-10b-chinese", (0.5, 0.3, 0.2, 0, 0.25, 0.1, 0.02)),
        ("glm-10b-chinese-longer", (0.5, 0.3, 0.2, 0, 0.25, 0.1, 0.5)),
        ("glm-130b", (0.98 * 0.3, 0, 0.98 * 0.7, 0.02, 0.2, 0, 0.02)),
        ("glm-large-chinese", (0.4, 0.3, 0.3, 0, 0.25, 0.1, 0.02)),
    ],
)
def test_the_blanks_are_mixed_as_in_the_paper_and_the_released_scripts(name, numbers):
    objective = load_recipe(name).objective
    assert objective.total_weight == pytest.approx(1)
    assert (
        *(objective.token_weight, objective.sentence_weight, objective.document_weight),
        *(objective.single_span_weight, objective.document_min_ratio),
        *(objective.block_mask_probability, objective.short_sequence_probability),
    ) == pytest.approx(numbers)


@pytest.mark.parametrize("name", SIZES)
def test_a_recipe_of_the_paper_has_the_layouts_that_are_known_of_it(name):
    is_large = "10b" in name or name in ("glm-2b", "glm-large-chinese")
    layouts = ["nvidia-256"] if is_large else ["v100x64", "v100x8", "nvidia-256"]
    recipe = load_recipe(name)
    assert [*recipe.topology.profiles] == layouts
    assert recipe.topology.world_size == (256 if is_large else 64)
    assert recipe.topology.sharding == ("zero2" if "10b" in name or "2b" in name else "none")
    assert load_recipe(name, topology="nvidia-256").topology.world_size == 256


@pytest.mark.parametrize(
    ("second", "first"),
    [("glm-10b-longer", "glm-10b"), ("glm-10b-chinese-longer", "glm-10b-chinese")],
)
def test_a_second_stage_starts_from_the_run_folder_of_the_first(second, first):
    assert load_recipe(second).train.initial_model == f"runs/{first}"
    assert load_recipe(second).data.sequence_length == 2 * load_recipe(first).data.sequence_length


def test_the_smoke_recipe_takes_the_overrides_of_the_tests():
    recipe = load_recipe("smoke/tiny", ["train.steps=3", "optimizer.kind=sgd"])
    assert recipe.train.steps == 3
    assert recipe.optimizer.kind == "sgd"
    assert recipe.train.precision == "fp32"


@pytest.mark.parametrize("name", TUNINGS)
def test_a_recipe_of_fine_tuning_is_whole_and_names_tasks_that_there_are(name):
    check_recipe(name)
    recipe, _ = trace_finetuning(name)
    assert recipe.recipe.source
    assert recipe.recipe.certainty


def test_the_fine_tunings_of_the_paper_stand_in_exactly_one_recipe():
    stated = [it for name in TUNINGS for it in trace_finetuning(name)[0].recipe.experiments]
    assert sorted(stated) == [
        *("10B-SUPERGLUE", "NLU-SQUAD", "S2S-CNNDM", "S2S-GIGAWORD", "S2S-SQUAD-QG", "S2S-XSUM"),
        *("SG-BOOLQ", "SG-CB", "SG-COPA", "SG-MULTIRC", "SG-RECORD", "SG-RTE", "SG-WIC", "SG-WSC"),
    ]


# Of each task: epochs, batch, length, pattern.
SUPERGLUE = {
    "superglue/335m": {
        "record": (5, 64, 512, 0), "copa": (50, 16, 256, 0), "wsc": (50, 16, 128, 2),
        "rte": (50, 16, 256, 0), "boolq": (20, 16, 256, 4), "wic": (30, 16, 256, 1),
        "cb": (50, 16, 256, 3), "multirc": (15, 64, 512, 0),
    },
    "superglue/10b": {
        "record": (3, 64, 512, 0), "copa": (100, 64, 256, 0), "wsc": (100, 64, 128, 0),
        "rte": (50, 64, 256, 0), "boolq": (24, 64, 256, 0), "wic": (40, 64, 256, 0),
        "cb": (100, 64, 256, 0), "multirc": (12, 64, 512, 0),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SUPERGLUE)
def test_superglue_is_learned_as_in_the_released_scripts(name):
    found = {}
    for run in runs_of(trace_finetuning(name)[0], name):
        _, task = task_of_recipe(run.recipe.task, find_recipe(name))
        train = run.recipe.train
        numbers = (train.epochs, train.global_batch_size, task.max_length, task.pattern)
        found[task.name] = numbers
        assert run.recipe.schedule.warmup_ratio == 0.1
    assert found == SUPERGLUE[name]


def test_the_grid_has_three_rates_and_three_seeds_for_each_task():
    runs = runs_of(trace_finetuning("superglue/grid")[0], "superglue/grid")
    assert len({run.name for run in runs}) == 8 * 3 * 3
    assert {run.recipe.optimizer.peak_lr for run in runs} == {6e-6, 1e-5, 2e-5}
    assert {run.recipe.train.seed for run in runs} == {1234, 5678, 3456}


# Tokens of the source and of the answer, beams and penalty; epochs and rate.
ANSWERS = {
    "seq2seq/gigaword": (192, 32, 5, 0.6, 3, 10, 3e-5),
    "seq2seq/cnn-dm": (608, 160, 5, 0.7, 3, 15, 3e-5),
    "seq2seq/xsum": (608, 60, 6, 1.0, 3, 6, 1e-5),
    "seq2seq/squad-generation": (464, 48, 5, 0.7, 0, 10, 2e-5),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_are_learned_and_written_as_in_the_released_scripts(name):
    recipe, _ = trace_finetuning(name)
    _, task = task_of_recipe(recipe.task, find_recipe(name))
    assert (
        *(task.max_length, task.decode.max_new_tokens, task.decode.num_beams),
        *(task.decode.length_penalty, task.decode.no_repeat_ngram),
        *(recipe.train.epochs, recipe.optimizer.peak_lr),
    ) == ANSWERS[name]
    assert task.label_smoothing == 0.1
    assert recipe.schedule.warmup_ratio == 0.06
