"""`glmctl pull` and `hf:` names, against a hub on this machine."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from glmctl.cli.app import run
from glmctl.core.checkpoint.hub import fetch
from glmctl.core.open import load

TOKEN = "hf_letmein"
WEIGHTS = random.Random(1).randbytes(30_000_000)
CHUNK = 10 * 2**20  # the library writes so much at once
FILES = {
    "config.json": b"{}",
    "README.md": b"---\nlicense: mit\n---\n",
    "model.safetensors": b"safe weights",
    "modeling_glm.py": b"raise SystemExit('remote code')",
}
# Digests of b"{}" and b"safe weights", as git hash-object and sha256sum print them.
GIT_SHA1 = "9e26dfeeb6e641a33dae4961196235bdb965b21b"
SHA256 = "c3c5ad28a5138539b827463fd2b4651beb862ea271f92734d3eb78ff7c67f668"


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]):
    """Runs a command in this process; gives exit code, stdout and stderr."""

    def call(*args: str) -> tuple[int, str, str]:
        code = run([*args])
        return (code, *capsys.readouterr())

    return call


def test_a_model_is_fetched_proved_and_described(linked, said, tmp_path):
    linked.add("org/glm", FILES)
    code, out, err = said("pull", "hf:org/glm", "--json")
    assert (code, err) == (0, "")
    result = json.loads(out)
    folder = tmp_path / "cache" / "models--org--glm" / "snapshots" / ("a" * 40)
    assert result == {
        "schema": "glmctl.PullResult/1",
        "source": "hf:org/glm",
        "commit": "a" * 40,
        "license": "mit",
        "num_files": 3,
        "model_bytes": 2 + 21 + 12,
        "place": str(folder),
    }
    assert (folder / "model.safetensors").read_bytes() == b"safe weights"
    assert not (folder / "modeling_glm.py").exists()
    assert linked.count("GET", "modeling_glm.py") == 0
    record = json.loads((folder / "glmctl-source.json").read_text())
    assert record["digests"]["config.json"] == f"git-sha1:{GIT_SHA1}"
    assert record["digests"]["model.safetensors"] == f"sha256:{SHA256}"


def test_what_is_here_is_not_fetched_again(linked, said):
    linked.add("org/glm", FILES)
    assert said("pull", "org/glm")[0] == 0
    linked.requests.clear()
    assert said("pull", "org/glm")[0] == 0
    assert [path for _, path, _ in linked.requests if "/api/" not in path] == []


def test_weights_in_two_formats_are_fetched_once_and_without_pickles(linked, said):
    pickles = {"pytorch_model.bin": b"pickle", "pytorch_model.bin.index.json": b"{}"}
    linked.add("org/both", FILES | pickles)
    others = {"training_args.bin": b"no", "onnx/model.safetensors": b"no"}
    linked.add("org/old", {"config.json": b"{}"} | others | pickles)
    assert json.loads(said("pull", "org/both", "--json")[1])["num_files"] == 3
    assert json.loads(said("pull", "org/old", "--json")[1])["num_files"] == 3
    assert linked.count("GET", "both/resolve") == 3


def test_a_copy_carries_its_source(linked, said, tmp_path):
    linked.add("org/glm", FILES, license=None)
    code, out, err = said("pull", "org/glm@" + "a" * 40, "--out", "mine")
    assert code == 0
    assert "license" not in out
    assert "warning: hf:org/glm states no licence; ask its authors before you use it" in err
    names = sorted(path.name for path in (tmp_path / "mine").iterdir())
    assert names == ["README.md", "config.json", "glmctl-source.json", "model.safetensors"]
    assert not any(path.is_symlink() for path in (tmp_path / "mine").iterdir())
    assert said("pull", "org/glm", "--out", "mine")[0] == 0
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    code, _, err = said("pull", "org/glm", "--out", "other")
    assert code == 2
    assert "error: other: holds files that no pull put there; name another folder" in err


def test_a_broken_connection_continues_where_it_broke(linked, said):
    linked.add("org/glm", {"model.safetensors": WEIGHTS})
    linked.stop_after = 25_000_000
    assert said("pull", "org/glm")[0] == 0
    ranges = [h.get("Range") for _, path, h in linked.requests if path.startswith("/cdn")]
    assert ranges == [None, f"bytes={2 * CHUNK}-"]


def test_a_killed_pull_continues_in_the_next_process(hub, hub_env, glmctl, tmp_path):
    hub.add("org/glm", {"model.safetensors": WEIGHTS})
    hub.stop_after = 25_000_000
    hub.may_hang_up.clear()
    command = [Path(sys.executable).with_name("glmctl"), "pull", "org/glm"]
    with subprocess.Popen(command, env={**os.environ, **hub_env}) as process:
        assert hub.stopped.wait(60)
        partial = wait_for_bytes(tmp_path / "hf", 2 * CHUNK)
        process.send_signal(signal.SIGKILL)
    hub.may_hang_up.set()
    done = glmctl("pull", "org/glm", "--json", env=hub_env)
    assert done.returncode == 0, done.stderr
    ranges = [h.get("Range") for _, path, h in hub.requests if path.startswith("/cdn")]
    assert ranges == [None, f"bytes={2 * CHUNK}-"]
    place = Path(json.loads(done.stdout)["place"])
    assert (place / "model.safetensors").read_bytes() == WEIGHTS
    assert not partial.exists()


def wait_for_bytes(folder: Path, size: int) -> Path:
    """The file under a folder that has so many bytes, once it has."""
    for _ in range(600):
        for path in folder.rglob("*.incomplete"):
            if path.stat().st_size == size:
                return path
        time.sleep(0.05)
    raise AssertionError("nothing was written")


def test_other_bytes_than_the_hub_promised_are_refused_and_not_kept(linked, said, tmp_path):
    repo = linked.add("org/glm", FILES)
    linked.stored[SHA256] = b"evil weights"
    code, out, err = said("pull", "org/glm")
    assert (code, out) == (3, "")
    assert f"/org/glm/resolve/{'a' * 40}/model.safetensors: expected digest sha256:{SHA256}" in err
    assert "received sha256:" in err
    assert not [*tmp_path.rglob("*.safetensors"), *tmp_path.rglob("*.incomplete")]
    linked.stored[SHA256] = repo.files["model.safetensors"]
    assert said("pull", "org/glm")[0] == 0


def test_a_digest_that_is_none_is_refused_and_names_no_path(linked, said):
    linked.add("org/glm", FILES)
    linked.blob_id = "../../../escaped"
    code, _, err = said("pull", "org/glm")
    assert code == 3
    assert "org/glm: the hub states no digest of config.json; name another HF_ENDPOINT" in err
    assert linked.count("GET", "/resolve/") == 0


def test_what_the_library_fetches_under_an_etag_of_a_mirror_is_proved_too(linked, said, tmp_path):
    linked.add("org/glm", FILES)
    linked.own_etag = "no-digest"
    linked.second_answer = b"evil weights"
    code, _, err = said("pull", "org/glm")
    assert code == 3
    assert f"model.safetensors: expected digest sha256:{SHA256}, received sha256:" in err
    assert not [*tmp_path.rglob("model.safetensors")]


def test_a_file_damaged_on_the_disk_is_fetched_again_or_named(linked, said, tmp_path):
    linked.add("org/glm", FILES)
    place = Path(json.loads(said("pull", "org/glm", "--json")[1])["place"])
    blob = (place / "model.safetensors").resolve()
    blob.write_bytes(b"rotten bytes")
    code, _, err = said("pull", "org/glm", "--offline")
    assert code == 3
    assert f"model.safetensors: expected digest sha256:{SHA256}, found sha256:" in err
    assert said("pull", "org/glm")[0] == 0
    assert blob.read_bytes() == b"safe weights"


def test_offline_uses_what_is_here_and_asks_nobody(linked, said, monkeypatch):
    linked.add("org/glm", FILES)
    assert said("pull", "org/glm")[0] == 0
    linked.requests.clear()
    monkeypatch.setenv("GLMCTL_OFFLINE", "1")
    assert json.loads(said("pull", "org/glm", "--json")[1])["commit"] == "a" * 40
    monkeypatch.delenv("GLMCTL_OFFLINE")
    assert said("pull", "org/glm", "--offline")[0] == 0
    code, _, err = said("pull", "org/other", "--offline")
    assert code == 4
    assert err == (
        "error: org/other: is not on this machine, and the network is switched off; run glmctl "
        "pull where there is a network, without --offline and GLMCTL_OFFLINE\n"
    )
    assert linked.requests == []


def test_offline_says_what_a_model_lacks(linked, said):
    linked.add("org/glm", FILES)
    place = Path(json.loads(said("pull", "org/glm", "--json")[1])["place"])
    (place / "config.json").unlink()
    code, _, err = said("pull", "org/glm", "--offline")
    assert code == 3
    assert f"error: {place}: config.json is missing" in err.replace("\n  ", ": ", 1)
    (place / "glmctl-source.json").unlink()  # as if another program had fetched it
    code, _, err = said("pull", "org/glm", "--offline")
    assert code == 4
    assert "org/glm: has no record of its digests, and the network is switched off" in err


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("org/nothing", 3, "has no such model, or it is private; check the name, or set HF_TOKEN"),
        ("org/secret", 3, "has no such model, or it is private; check the name, or set HF_TOKEN"),
        ("org/gated", 4, "is open to those who accepted its terms; accept them on its page at"),
        ("org/glm@v9", 3, "has the model, but no such branch, tag or commit; check it there"),
        ("org/gguf", 3, "has neither *.safetensors nor pytorch_model*.bin, but a.gguf; name the"),
        ("a b", 2, "is no name of a model; write ORG/NAME or ORG/NAME@REVISION"),
    ],
)
def test_what_the_hub_refuses_is_said_with_the_remedy(linked, said, name, code, message):
    linked.add("org/glm", FILES)
    linked.add("org/gated", FILES, gated=True)
    linked.add("org/secret", FILES, private=True)
    linked.add("org/gguf", {"a.gguf": b""})
    found, _, err = said("pull", name)
    assert found == code
    assert err.startswith(f"error: {name}: ")
    assert message in err


def test_a_token_opens_the_gate_and_never_reaches_another_host(linked, said, monkeypatch):
    linked.add("org/gated", FILES, gated=True, private=True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert said("pull", "org/gated")[0] == 0
    sent = {path.split("/")[1]: "Authorization" in h for _, path, h in linked.requests}
    assert sent == {"api": True, "org": True, "cdn": False}


def test_a_hub_that_does_not_answer(linked, said):
    linked.shutdown()
    linked.server_close()
    code, _, err = said("pull", "org/glm")
    assert code == 4
    assert f"error: org/glm: {linked.url} does not answer (" in err
    assert "check the network and HF_ENDPOINT, then run the same command again" in err


def test_a_model_larger_than_the_disk_is_refused_before_it_is_fetched(
    linked, said, monkeypatch, tmp_path
):
    linked.add("org/glm", FILES)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 66, 34))
    code, _, err = said("pull", "org/glm")
    assert code == 4
    assert "GiB; free some space, or set HF_HOME to a folder on another disk" in err
    assert linked.count("GET", "/resolve/") == 0
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 65, 35))
    assert said("pull", "org/glm")[0] == 0


def test_a_cache_that_cannot_be_written_is_named(linked, said, tmp_path):
    linked.add("org/glm", FILES)
    (tmp_path / "cache").touch()
    code, _, err = said("pull", "org/glm")
    assert code == 4
    assert f"error: org/glm: could not be stored in {tmp_path / 'cache'}: " in err


def test_of_two_fetches_at_once_one_waits_for_the_other(linked):
    linked.add("org/glm", {"model.safetensors": WEIGHTS})
    linked.stop_after = 25_000_000
    linked.may_hang_up.clear()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(fetch, "org/glm")
        assert linked.stopped.wait(60)
        second = pool.submit(fetch, "org/glm")
        time.sleep(0.5)
        assert linked.count("GET", "/cdn/") == 1
        linked.may_hang_up.set()
        assert first.result() == second.result()
    assert linked.count("GET", "/cdn/") == 2  # the one that was cut off, and its rest


def test_a_name_of_the_hub_stands_where_a_model_does(linked, said, monkeypatch, tiny_model):
    files = {path.name: path.read_bytes() for path in tiny_model.iterdir()}
    linked.add("org/tiny", files)
    fill = ("infill", "--max-new-tokens", "4", "The cat [MASK].", "--model")
    code, filled, err = said(*fill, "hf:org/tiny")
    assert (code, err) == (0, "")
    assert said(*fill, str(tiny_model)) == (0, filled, "")
    glm = load("hf:org/tiny@" + "a" * 40)
    assert (glm.source, glm.license) == ("hf:org/tiny@" + "a" * 40, "none")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert said(*fill, "hf:org/tiny@main") == (0, filled, "")
    code, out, err = said(*fill, "hf:org/other")
    assert (code, out) == (4, "")
    assert "error: hf:org/other: is not on this machine, and the network is switched off" in err


def test_the_licence_of_the_hub_goes_with_a_model_that_states_none(linked, tiny_model, tmp_path):
    files = {path.name: path.read_bytes() for path in tiny_model.iterdir()}
    manifest = json.loads(files["manifest.json"]) | {"license": None}
    linked.add("org/tiny", files | {"manifest.json": json.dumps(manifest).encode()})
    load("hf:org/tiny").save(tmp_path / "mine")
    manifest = json.loads((tmp_path / "mine" / "manifest.json").read_text())
    assert manifest["license"] == "mit"
    assert manifest["provenance"] == {"source": "hf:org/tiny@" + "a" * 40}
