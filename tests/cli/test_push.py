"""`glmctl push`, against a hub on this machine."""

import json
import shutil

import pytest

from glmctl.cli.app import run
from glmctl.core.open import load

TOKEN = "hf_letmein"
# The library's own; Python shows a DeprecationWarning in tests only.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Runs a command in this process, with a token; gives exit code, stdout and stderr."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)

    def call(*args: str) -> tuple[int, str, str]:
        code = run([*args])
        return (code, *capsys.readouterr())

    return call


@pytest.fixture
def folder(tiny_model, tmp_path):
    """A model folder of one's own, with things beside it that are nobody's business."""
    copy = shutil.copytree(tiny_model, tmp_path / "model")
    for name in (".env", "notes.txt", "optimizer.bin", "pytorch_model.bin", "train.py"):
        (copy / name).write_text("secret")
    return copy


def with_license(folder, license) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"license": license}))


def test_a_model_goes_there_and_comes_back(linked, said, folder):
    code, out, err = said("push", str(folder), "hf:me/tiny", "--message", "First", "--json")
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert result["schema"] == "glmctl.PushResult/1"
    assert (result["name"], result["revision"], result["commit"]) == (
        "hf:me/tiny",
        "main",
        "b" * 40,
    )
    assert result["page"] == f"{linked.url}/me/tiny"
    assert sorted(linked.repos["me/tiny"].files) == [
        "README.md",
        "config.toml",
        "manifest.json",
        "model.safetensors",
        "tiny.model",
    ]
    assert result["num_files"] == 5
    assert linked.commits == [{"branch": "main", "summary": "First"}]
    back = load("hf:me/tiny")
    tensors = back.module.state_dict()
    for name, tensor in load(folder).module.state_dict().items():
        assert tensor.equal(tensors[name])


def test_the_card_says_licence_origin_and_use(linked, said, folder):
    with_license(folder, "Apache-2.0")
    assert said("push", str(folder), "me/tiny")[0] == 0
    card = linked.repos["me/tiny"].files["README.md"].decode()
    assert card.startswith('---\nlibrary_name: "glmctl"\ntags: ["glm"]\nlicense: "apache-2.0"\n---')
    assert "2 layers, hidden size 32, 384 rows of the vocabulary" in card
    assert 'glmctl infill --model hf:me/tiny "A text with a [MASK] in it."' in card
    assert "- source: random weights" in card
    assert "Licence: Apache-2.0." in card
    assert linked.cards == [card]  # the hub was asked whether it takes it


def test_a_licence_that_the_hub_does_not_know_keeps_its_name(linked, said, folder):
    with_license(folder, "ChatGLM-6B licence")
    assert said("push", str(folder), "me/tiny")[0] == 0
    card = linked.repos["me/tiny"].files["README.md"].decode()
    assert 'license: "other"\nlicense_name: "ChatGLM-6B licence"\n' in card


def test_a_card_of_ones_own_is_kept(linked, said, folder):
    with_license(folder, None)
    (folder / "README.md").write_text("My words.\n")
    code, _, err = said("push", str(folder), "me/tiny")
    assert code == 0
    assert "states no licence, so nobody may use the model" in err
    assert linked.repos["me/tiny"].files["README.md"] == b"My words.\n"


def test_a_branch_and_a_private_model(linked, said, folder):
    code, _, _ = said("push", str(folder), "me/tiny", "--private", "--revision", "v2")
    assert code == 0
    assert linked.repos["me/tiny"].private
    assert linked.commits == [{"branch": "v2", "summary": "Add a model folder of glmctl"}]
    assert linked.repos["me/tiny"].branches == {"main": "a" * 40, "v2": "b" * 40}


def test_a_public_model_does_not_become_private_in_silence(linked, said, folder):
    linked.add("me/tiny", {})
    code, _, err = said("push", str(folder), "me/tiny", "--private")
    assert code == 2
    assert f"error: --private: {linked.url}/me/tiny is there and public; name another" in err
    assert linked.commits == []


def test_a_damaged_folder_is_not_sent(linked, said, folder):
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    code, _, err = said("push", str(folder), "me/tiny")
    assert code == 3
    assert "expected digest" in err
    assert linked.requests == []


def test_what_is_no_model_folder_is_not_sent(linked, said, tmp_path):
    code, _, err = said("push", str(tmp_path), "me/tiny")
    assert code == 3
    assert "config.toml: is missing" in err
    assert linked.requests == []


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"HF_TOKEN": ""}, "error: HF_TOKEN: is not set; make a token that may write"),
        ({"GLMCTL_OFFLINE": "1"}, "error: me/tiny: GLMCTL_OFFLINE or HF_HUB_OFFLINE forbids"),
        ({"HF_TOKEN": "hf_wrong"}, "answers 401 (Invalid username or password.); set HF_TOKEN to"),
    ],
    ids=["no token", "offline", "wrong token"],
)
def test_nothing_is_sent_without_leave(linked, said, folder, monkeypatch, env, message):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    code, _, err = said("push", str(folder), "me/tiny")
    assert code == 4
    assert message in err
    assert "hf_wrong" not in err
    assert linked.repos == {}


def test_an_upload_that_fails_is_named_with_its_reason(linked, said, folder):
    linked.refuses_large_files = True
    code, _, err = said("push", str(folder), "me/tiny")
    assert code == 4
    assert "error: me/tiny: Error while uploading '" in err
    assert "to the Hub. (403 Forbidden" in err
    assert "); run the same command again" in err
    assert linked.commits == []
