import tomllib
from pathlib import Path
from statistics import fmean

import pytest

from glmctl.core.tasks.find import check_recipe, find_suite, task_of_recipe
from glmctl.errors import UsageError
from glmctl.recipe.find import builtin_folder, builtin_recipes, find_recipe, recipe_name
from glmctl.recipe.finetune import FinetuneRecipe, runs_of, trace_finetuning
from glmctl.recipe.keys import differences
from glmctl.recipe.kinds import EvalRecipe, kind_of, load_any
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


# Identifiers of experiments: of the GLM paper and its code, of GLM-130B, of the models after it.
EXPERIMENTS = """
GLM-PT-BASE GLM-PT-LARGE GLM-PT-DOC GLM-PT-SENT GLM-PT-410M GLM-PT-515M GLM-PT-ROBERTA
GLM-PT-ROBERTA-1.25 GLM-PT-2B GLM-PT-10B-S1 GLM-PT-10B-S2 GLM-PT-10B-ZH-S1 GLM-PT-10B-ZH-S2
GLM-PT-LARGE-ZH
SG-RECORD SG-COPA SG-WSC SG-RTE SG-BOOLQ SG-WIC SG-CB SG-MULTIRC
S2S-GIGAWORD S2S-SQUAD-QG S2S-CNNDM S2S-XSUM
INFILL-YAHOO-10 INFILL-YAHOO-20 INFILL-YAHOO-30 INFILL-YAHOO-40 INFILL-YAHOO-50
LM-LAMBADA LM-BOOKWIKI
10B-SUPERGLUE 10B-CNNDM 10B-XSUM 10B-LAMBADA 10B-WIKITEXT103
ABL-GLM ABL-BERT-REPRO ABL-NO-CLOZE ABL-NO-SHUFFLE ABL-SENTINEL ABL-NO-2D
NLU-GLUE NLU-SQUAD ZH-CLUE-FT
130B-PT 130B-STABILITY 130B-PEFFN 130B-ATTRIB 130B-LAMBADA 130B-PILE 130B-MMLU 130B-BBL 130B-CLUE
130B-FEWCLUE 130B-NLG 130B-WINO 130B-CBQA 130B-CSR 130B-NLI 130B-SG-PTV2 130B-COT 130B-CROWS
130B-STEREO 130B-ETHOS 130B-RTP 130B-QUANT 130B-SPEED
CG-6B-PT CG2-6B-PT CG3-6B-PT CG2-CODE G4-9B-PT G4-0414-PT
""".split()


def test_every_experiment_stands_in_a_recipe():
    stated = {run for name in ALL for run in load_any(name).recipe.experiments}
    assert stated == {*EXPERIMENTS}


@pytest.mark.parametrize("name", EVALS)
def test_an_evaluation_is_whole_and_names_its_source_and_numbers(name):
    check_recipe(name)
    recipe = load_any(name)
    assert recipe.recipe.certainty
    assert recipe.published


def test_the_averages_of_superglue_are_those_of_the_tasks_but_for_one_row():
    """A metric pair counts as its mean; one cell of GLM-Sent is known to be misremembered."""
    rows = {row.model: row.numbers for row in load_any("superglue/335m").published}
    gaps = {}
    for model, numbers in rows.items():
        average = numbers.pop("superglue/average")
        tasks: dict[str, list[float]] = {}
        for metric, value in numbers.items():
            tasks.setdefault(metric.partition("/")[0], []).append(value)
        gaps[model] = abs(fmean(map(fmean, tasks.values())) - average)
    assert len(rows) == 7
    assert [model for model, gap in gaps.items() if gap > 0.12] == ["glm-sent"]


# One number of each table, with how sure it is.
@pytest.mark.parametrize(
    ("name", "model", "metric", "value", "certainty"),
    [
        ("superglue/335m", "glm-large", "copa/accuracy", 76.0, "recalled"),
        ("superglue/10b", "glm-10b", "multirc/exact_groups", 63.3, "code"),
        ("seq2seq/gigaword", "glm-410m", "gigaword/rouge2_paper", 20.0, "recalled"),
        ("seq2seq/squad-generation", "glm-sent", "squad_generation/bleu", 22.6, "recalled"),
        ("seq2seq/cnn-dm", "glm-roberta", "cnn_dm/rougeLsum_paper", 40.45, "paper"),
        ("seq2seq/xsum", "glm-roberta", "xsum/rouge1_paper", 45.51, "paper"),
        ("seq2seq/10b", "glm-10b", "xsum/rouge2_paper", 25.7, "code"),
        ("infilling/yahoo", "glm-doc", "yahoo-30/bleu", 63.2, "recalled"),
        ("lm/zero-shot", "glm-10b", "lambada-unidirectional/accuracy", 67.18, "code"),
        ("lm/zero-shot", "glm-515m", "language-model/perplexity", 13.7, "recalled"),
        ("lm/zero-shot", "glm-2b", "lambada/accuracy", 68.19, "paper"),
        ("nlu/squad", "glm-large", "squad_v1/token_f1", 91.9, "paper"),
        ("clue/10b", "glm-10b-chinese", "tnews/accuracy", 69.94, "code"),
        ("zero-shot/mmlu", "glm-130b", "mmlu/accuracy", 44.8, "paper"),
        ("zero-shot/fewclue", "glm-130b", "chid/accuracy", 90.1, "paper"),
        ("zero-shot/bias", "glm-130b", "StereoSet/icat", 73.5, "paper"),
        ("quant/absmax", "glm-335m-int4", "lambada/accuracy", 38.25, "paper"),
        ("glm-4-9b", None, "GSM8K", 84.0, "paper"),
    ],
)
def test_published_numbers_are_those_of_the_tables(name, model, metric, value, certainty):
    rows = [it for it in load_any(name).published if it.model == model and metric in it.numbers]
    assert [(it.numbers[metric], it.certainty) for it in rows] == [(value, certainty)]


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
    "superglue/p-tuning": {
        "copa": (100, 64, 256, 0), "wsc": (100, 64, 128, 2), "rte": (50, 64, 256, 0),
        "boolq": (24, 64, 256, 4), "wic": (40, 64, 256, 1), "cb": (100, 64, 256, 3),
        "multirc": (12, 64, 512, 0),
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


def test_answers_of_the_10b_model_are_learned_over_two_nodes():
    for run in runs_of(trace_finetuning("seq2seq/10b")[0], "seq2seq/10b"):
        _, task = task_of_recipe(run.recipe.task, find_recipe("seq2seq/10b"))
        train, topology = run.recipe.train, run.recipe.topology
        known = ANSWERS[{"cnn_dm": "seq2seq/cnn-dm", "xsum": "seq2seq/xsum"}[task.name]]
        assert (task.max_length, task.decode.max_new_tokens) == known[:2]
        assert (train.epochs, run.recipe.optimizer.peak_lr) == known[-2:]
        assert (train.global_batch_size, topology.world_size, topology.sharding) == (
            64,
            16,
            "zero2",
        )


# Of each task: epochs, batch, length, rate.
TUNED = {
    "nlu/glue": {
        "cola": (3, 16, 128, 1e-5), "sst2": (3, 16, 128, 1e-5), "mrpc": (3, 16, 256, 1e-5),
        "qqp": (3, 16, 128, 1e-5), "mnli": (3, 16, 256, 1e-5), "qnli": (3, 16, 128, 1e-5),
        "glue_rte": (3, 16, 256, 1e-5), "stsb": (3, 16, 128, 1e-5),
    },
    "clue/335m": {
        "afqmc": (10, 16, 256, 1e-5), "tnews": (10, 16, 256, 1e-5),
        "cluewsc": (10, 16, 256, 1e-5), "cmrc": (10, 32, 464, 2e-5),
    },
    "clue/10b": {
        "afqmc": (20, 64, 256, 1e-5), "tnews": (12, 64, 256, 1e-5),
        "cluewsc": (12, 64, 256, 1e-5), "cmrc": (10, 64, 464, 2e-5),
    },
    "infilling/yahoo": {f"yahoo-{share}": (5, 64, 256, 1e-5) for share in (10, 20, 30, 40, 50)},
}  # fmt: skip


@pytest.mark.parametrize("name", TUNED)
def test_other_tasks_are_learned_as_in_the_released_scripts(name):
    found = {}
    for run in runs_of(trace_finetuning(name)[0], name):
        _, task = task_of_recipe(run.recipe.task, find_recipe(name))
        train, rate = run.recipe.train, run.recipe.optimizer.peak_lr
        found[task.name] = (train.epochs, train.global_batch_size, task.max_length, rate)
    assert found == TUNED[name]


def test_language_models_are_scored_in_the_windows_of_the_released_scripts():
    suite, names = find_suite("lm/zero-shot")
    tasks = {task.name: task for task in suite.choose(names)}
    assert len(tasks) == 6
    assert {(task.max_length, task.overlap) for task in tasks.values() if task.kind == "text"} == {
        (1024, 256), (512, 256),
    }  # fmt: skip
    assert tasks["lambada"].max_length == 512
    assert [name for name, task in tasks.items() if task.one_way] == [
        "lambada-unidirectional", "wikitext-unidirectional", "language-model-unidirectional",
    ]  # fmt: skip


def test_the_ablations_change_one_thing_each_in_what_they_extend():
    parents = {"no-shuffle": "large", "sentinel": "large", "no-2d-position": "doc"}
    changed = {
        name: differences(load_recipe(f"glm-{parent}"), load_recipe(f"ablations/{name}"))
        for name, parent in {**parents, "bert-objective": "large"}.items()
    }
    found = {
        name: {key: pair for key, pair in pairs.items() if not key.startswith("recipe.")}
        for name, pairs in changed.items()
    }
    assert found == {
        "no-shuffle": {"objective.span_order": ("shuffled", "text")},
        "sentinel": {
            "objective.sentinel": (False, True),
            "tokenizer.num_sentinels": (0, 76),
            "model.vocab_rows": (30592, 30720),
        },
        "no-2d-position": {"objective.second_position": (True, False)},
        "bert-objective": {
            "objective.kind": ("blank_infilling", "mlm"),
            "model.position": ("learned_2d", "learned_1d"),
            "model.attention": ("prefix", "bidirectional"),
        },
    }


def test_a_domain_is_learned_from_a_model_with_some_general_text_and_a_new_warm_up():
    for name, general in (("domain/continue", 0.02), ("domain/glmctl-default", 0.1)):
        recipe = load_recipe(name)
        assert recipe.train.initial_model is not None
        weights = {corpus.name: corpus.weight for corpus in recipe.data.corpus}
        assert (weights["domain"], weights["general"]) == (1.0, general)
        assert 0 < recipe.schedule.warmup_steps < recipe.train.steps


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
