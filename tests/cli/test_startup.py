import os
import subprocess
import sys

import pytest

VERBS = ["tokenize", "corrupt", "pretrain", "infill", "recipe", "report", "guide", "pull", "push"]
VERBS += ["doctor", "quantize", "finetune"]


def test_help_never_loads_torch():
    code = "import sys, glmctl.cli.app; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_importing_the_package_loads_no_torch():
    code = "import sys, glmctl; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb_loads_neither_torch_nor_the_schema(verb):
    code = (
        "import sys; from glmctl.cli.app import run; code = run([sys.argv[1], '--help']); "
        "sys.exit(code or 'torch' in sys.modules or 'glmctl.recipe.schema' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, verb], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_commands_on_offer_are_those_that_work(glmctl):
    done = glmctl("--help")
    assert done.returncode == 0
    offered = [verb for verb in VERBS if f" {verb} " in done.stdout]
    assert offered == VERBS


def test_version(glmctl):
    done = glmctl("--version")
    assert (done.returncode, done.stdout) == (0, "glmctl 0.1.0\n")


def test_a_closed_pipe_ends_quietly():
    shell = f"{os.path.dirname(sys.executable)}/glmctl recipe schema; echo $? >&2"
    done = subprocess.run(
        ["bash", "-c", f"({shell}) | head -c 1"], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("{", "0\n")


def test_a_full_disk_behind_stdout_is_exit_4_without_a_traceback():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [f"{os.path.dirname(sys.executable)}/glmctl", "recipe", "schema"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 4
    assert done.stderr == (
        "error: output: No space left on device; "
        "free some space, raise ulimit -f, or name another place\n"
    )


def test_colours_stay_out_of_a_pipe_and_under_no_color(glmctl):
    done = glmctl("pretrain", "nothing", env={"NO_COLOR": "1"})
    assert done.returncode == 2
    assert "\x1b" not in done.stderr


def test_the_recipes_and_the_assets_are_in_the_wheel(tmp_path):
    folder = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]
    copy = tmp_path / "copy"
    names = ["glmctl", "recipes", "pyproject.toml", "README.md", "LICENSE"]
    copy.mkdir()
    subprocess.run(["cp", "-r", *(f"{folder}/{name}" for name in names), copy], check=True)
    subprocess.run([*build, "-w", tmp_path, copy], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    target = tmp_path / "site"
    subprocess.run([sys.executable, "-m", "zipfile", "-e", wheel, target], check=True)
    assert (target / "glmctl" / "assets" / "demo.jsonl").is_file()
    assert (target / "glmctl" / "assets" / "glmctl-default" / "model.safetensors").is_file()
    code = (
        "import glmctl.recipe.find as find; from glmctl.recipe.load import load_recipe; "
        "print(find.__file__); "
        "print(*map(find.recipe_name, find.builtin_recipes()), load_recipe('glm-large').train)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = sys.argv[1:]; {code}", target]
        + [path for path in sys.path if path.endswith("site-packages")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    place, names = done.stdout.split("\n")[:2]
    assert place == f"{target}/glmctl/recipe/find.py"
    assert {"glm-10b", "mini/glmctl-default", "smoke/tiny"} < {*names.split(" ")}
