import subprocess
import sys

import pytest


def test_importing_glmctl_loads_no_torch():
    code = "import sys, glmctl; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_names_of_the_api_are_found_on_the_package(tiny_model):
    import glmctl

    (filled,) = glmctl.load(tiny_model).infill(["The [MASK]"], max_new_tokens=2)
    assert len(filled.blanks) == 1


def test_an_unknown_name_is_an_attribute_error():
    import glmctl

    with pytest.raises(AttributeError, match="module 'glmctl' has no attribute 'lod'"):
        _ = glmctl.lod


def test_corrupt_gives_the_records_of_the_command():
    import glmctl

    text = "The bakery opens at six and closes at two. The grey cat sleeps beside the warm oven."
    (record,) = glmctl.corrupt([text], seed=1)
    assert len(record["input_ids"]) == len(record["target_ids"])
    assert record == glmctl.corrupt([text], seed=1)[0]
