from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from glmctl.errors import InputError
from glmctl.stages import doctor
from glmctl.stages.doctor import Check

GIB = 2**30


def found_versions(**versions: str):
    """The version of a package, as if these were all that is installed."""

    def installed(name: str) -> str:
        if name not in versions:
            raise PackageNotFoundError(name)
        return versions[name]

    return installed


def test_a_version_within_the_declared_range_is_ok():
    checks = doctor.check_packages(
        ["numpy", "torch<2.14,>=2.11"], found_versions(numpy="2.4.6", torch="2.13.0+cpu")
    )
    assert [*checks] == [Check("ok", "numpy", "2.4.6"), Check("ok", "torch", "2.13.0+cpu")]


@pytest.mark.parametrize("version", ["2.10.1", "2.14.0"])
def test_a_version_that_was_not_tested_is_a_problem_with_the_command_that_helps(version: str):
    [check] = doctor.check_packages(["torch<2.14,>=2.11"], found_versions(torch=version))
    assert check == Check(
        "problem",
        "torch",
        f"{version} is not among the tested versions, <2.14,>=2.11",
        "pip install 'torch<2.14,>=2.11'",
    )


def test_a_missing_package_is_a_problem_unless_it_is_for_an_extra_or_another_system():
    needed = ["xxhash", 'tensorboard; extra == "track"', 'pywin32; sys_platform == "win32"']
    assert [*doctor.check_packages(needed, found_versions())] == [
        Check("problem", "xxhash", "not installed", "pip install 'xxhash'"),
    ]


def test_a_recent_gpu_has_bf16_and_flash_attention():
    check = doctor.describe_gpu(0, "H100", 80 * GIB, (9, 0), True)
    assert check.status == "ok"
    assert check.found == "H100, 80.0 GiB, compute capability 9.0, bf16, flash attention"


def test_an_old_gpu_has_neither_and_the_note_says_what_to_set():
    check = doctor.describe_gpu(1, "V100", 32 * GIB, (7, 0), True)
    assert check.status == "note"
    assert check.found == "V100, 32.0 GiB, compute capability 7.0, no bf16, no flash attention"
    assert "train.precision" in (check.remedy or "")


@pytest.mark.parametrize(
    ("has_driver", "cuda", "status", "words"),
    [
        (False, "13.0", "note", "everything runs on the CPU"),
        (True, None, "problem", "torch is a build for CPUs"),
        (True, "13.0", "problem", "built for CUDA 13.0"),
    ],
)
def test_no_gpu_is_a_problem_only_where_a_driver_says_that_there_is_one(
    has_driver: bool, cuda: str | None, status: str, words: str
):
    check = doctor.describe_no_gpu(has_driver, cuda)
    assert check.status == status
    assert words in check.found


def test_a_disk_with_too_little_space_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert doctor.check_disk("working folder", tmp_path).status == "ok"
    monkeypatch.setattr(doctor, "LEAST_BYTES", 2**80)
    low = doctor.check_disk("working folder", tmp_path)
    assert (low.status, low.remedy) == ("problem", f"free some of the disk that holds {tmp_path}")


def test_a_folder_that_is_yet_to_be_made_is_measured_where_it_will_lie(tmp_path: Path):
    assert doctor.check_disk("cache", tmp_path / "not" / "yet").status == "ok"


def test_the_check_of_the_filesystem_leaves_nothing_behind(tmp_path: Path):
    assert doctor.check_filesystem(tmp_path).status == "ok"
    assert [*tmp_path.iterdir()] == []


def test_a_folder_that_cannot_be_written_to_is_a_problem():
    check = doctor.check_filesystem(Path("/proc"))
    assert check.status == "problem"
    assert check.found.startswith("/proc: ")
    assert check.remedy == "work in a folder of a local POSIX filesystem"


def test_a_rename_that_does_not_replace_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Path, "rename", lambda self, target: target)
    check = doctor.check_filesystem(tmp_path)
    assert check.found.endswith("a renamed file does not take the place of the other")
    assert [*tmp_path.iterdir()] == []


def test_a_lock_that_locks_nobody_out_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fcntl.flock", lambda file, operation: None)
    check = doctor.check_filesystem(tmp_path)
    assert check.found.endswith("a locked file can be locked once more")


@pytest.mark.parametrize("value", ["1", "true", "ON"])
def test_a_switched_off_network_is_a_note(value: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GLMCTL_OFFLINE", value)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    check = doctor.check_network()
    assert (check.status, check.remedy) == ("note", "unset GLMCTL_OFFLINE to fetch others")


@pytest.mark.parametrize("value", ["", "0", "false"])
def test_a_switch_that_is_off_forbids_nothing(value: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GLMCTL_OFFLINE", value)
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert doctor.check_network().status == "ok"


def test_the_default_model_is_opened_and_used():
    assert doctor.check_model() == Check("ok", "model", "glmctl-default opens and fills a blank")


def test_a_default_model_that_is_gone_is_a_problem(monkeypatch: pytest.MonkeyPatch):
    def gone(name: str):
        raise InputError(name, "there is no such model")

    monkeypatch.setattr("glmctl.core.open.load", gone)
    check = doctor.check_model()
    assert (check.status, check.remedy) == ("problem", "install glmctl again")
    assert check.found == "glmctl-default cannot be used: glmctl-default: there is no such model"


def test_all_checks_are_made_in_the_order_in_which_they_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr(doctor, "LEAST_BYTES", 2**80)
    checks = doctor.run(tmp_path)
    names = [check.name for check in checks]
    assert names[:2] == ["glmctl", "Python"]
    assert names[-5:] == ["working folder", "hub cache", "filesystem", "network", "model"]
    assert {"torch", "CPU"} <= {*names}
    remedies = {check.name: check.remedy for check in checks}
    assert remedies["hub cache"] == f"free some of the disk that holds {tmp_path / 'hub'}"
