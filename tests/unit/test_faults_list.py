"""The deliberate faults of tests/chaos still fit the code that they break."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAULTS = tomllib.loads((ROOT / "tests/chaos/faults.toml").read_text(encoding="utf-8"))["fault"]


def test_there_are_at_least_32_faults_each_with_a_name_of_its_own():
    assert len({fault["name"] for fault in FAULTS}) == len(FAULTS) >= 32


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault["name"])
def test_the_text_to_replace_occurs_once_and_the_result_is_python(fault):
    source = (ROOT / fault["file"]).read_text(encoding="utf-8")
    assert source.count(fault["old"]) == 1
    assert fault["new"] != fault["old"]
    compile(source.replace(fault["old"], fault["new"]), fault["file"], "exec")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault["name"])
def test_the_named_tests_exist(fault):
    assert fault["tests"]
    for test in fault["tests"]:
        file, _, name = test.partition("::")
        assert f"def {name}" in (ROOT / file).read_text(encoding="utf-8")
