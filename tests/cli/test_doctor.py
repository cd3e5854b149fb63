import json
import subprocess
import sys
from pathlib import Path

from glmctl.cli.app import run


def test_a_machine_without_problems_is_exit_0(glmctl, tmp_path):
    done = glmctl("doctor")
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["state", "check", "found"]
    names = [line[lines[0].index("check") :] for line in lines]
    for name in ("Python", "torch", "CPU", "working folder", "filesystem", "model"):
        assert any(found.startswith(f"{name} ") for found in names), name
    assert {line.split()[0] for line in lines[1:]} <= {"ok", "note"}
    assert [*tmp_path.iterdir()] == []


def test_json_is_one_object_with_a_remedy_for_every_problem():
    done = subprocess.run(
        [Path(sys.executable).with_name("glmctl"), "doctor", "--json"],
        cwd="/proc",  # where nobody can write
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    diagnosis = json.loads(done.stdout)
    assert diagnosis["schema"] == "glmctl.Diagnosis/1"
    problems = {c["name"]: c["remedy"] for c in diagnosis["checks"] if c["status"] == "problem"}
    assert problems["filesystem"] == "work in a folder of a local POSIX filesystem"
    assert all(problems.values())


def test_a_torch_that_does_not_load_is_found_and_the_other_checks_go_on(tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("raise ImportError('libgomp.so.1: cannot open')")
    script = "import sys; sys.path.insert(0, sys.argv[1]); from glmctl.cli.app import run; "
    done = subprocess.run(
        [sys.executable, "-c", script + "sys.exit(run(['doctor']))", tmp_path],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "cannot be loaded: libgomp.so.1: cannot open; pip install" in done.stdout
    assert "filesystem" in done.stdout
    assert "Traceback" not in done.stderr


def test_doctor_takes_no_arguments(capsys):
    assert run(["doctor", "all"]) == 2
    assert "see: glmctl doctor --help" in capsys.readouterr().err
