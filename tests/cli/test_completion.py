"""What a shell offers after the Tab key."""

import subprocess
import sys

import pytest


@pytest.fixture
def offered(glmctl):
    """What bash is told when the words are typed so far, the last one unfinished."""

    def complete(*words: str) -> list[str]:
        env = {
            "_GLMCTL_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(["glmctl", *words]),
            "COMP_CWORD": str(len(words)),
        }
        done = glmctl(env=env)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    return complete


def test_names_of_recipes(offered):
    longer = ["glm-10b", "glm-10b-chinese", "glm-10b-chinese-longer", "glm-10b-longer"]
    assert offered("pretrain", "glm-10") == longer
    assert offered("recipe", "diff", "glm-base", "smo") == ["smoke/tiny"]


def test_keys_of_a_recipe(offered):
    assert "train.steps=" in offered("pretrain", "glm-base", "--set", "train.")
    assert offered("pretrain", "glm-base", "--set", "optimizer.b") == ["optimizer.betas="]


def test_run_folders(offered, tmp_path):
    for name in ("runs/glm-base", "runs/smoke/tiny", "elsewhere/mine"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "recipe.toml").touch()
    (tmp_path / "runs/no-run").mkdir()
    run_dir = ("pretrain", "glm-base", "--run-dir")
    assert offered(*run_dir, "") == ["elsewhere/mine", "runs/glm-base", "runs/smoke/tiny"]
    assert offered(*run_dir, "runs/s") == ["runs/smoke/tiny"]
    assert offered(*run_dir, "elsewhere/") == ["elsewhere/mine"]


def test_commands(offered):
    assert offered("recipe", "m") == ["migrate"]


def test_nothing_heavy_is_loaded():
    code = (
        "import sys; from glmctl.cli.options import complete_recipe, complete_set; "
        "names = [*complete_recipe('')]; light = 'pydantic' not in sys.modules; "
        "keys = [*complete_set('')]; sys.exit(not (names and keys and light) or "
        "'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
