"""Settings and fixtures of all tests."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # before torch loads; two workers share two cores

Run = Callable[..., subprocess.CompletedProcess[str]]


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") is not None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")


@pytest.fixture(scope="session")
def golden() -> Path:
    """Recorded outputs of independent sources; GLMCTL_GOLDEN_DIR names another set of them."""
    return Path(os.environ.get("GLMCTL_GOLDEN_DIR", Path(__file__).parent / "golden" / "data"))


@pytest.fixture
def glmctl(tmp_path: Path) -> Run:
    """Runs the command as a user does, in an empty folder; gives exit code, stdout and stderr."""

    def run(
        *args: str, stdin: str = "", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.executable).with_name("glmctl"), *args],
            input=stdin,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, **(env or {})},
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def vocabularies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each released family, with a small tokenizer in its files and a config.json."""
    path = Path(__file__).with_name("vocabularies.py")
    spec = importlib.util.spec_from_file_location("vocabularies", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    root = tmp_path_factory.mktemp("vocabularies")
    module.write_vocabularies(root)
    return root


@pytest.fixture(scope="session")
def chat_models(vocabularies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder for each family: random weights, and its small tokenizer."""
    from glmctl.core.checkpoint.folder import Found, write_model_folder
    from glmctl.core.model.glm import GLM
    from glmctl.core.tokenizer.load import find_tokenizer
    from glmctl.recipe.model import LayoutConfig, ModelConfig

    root = tmp_path_factory.mktemp("chat")
    sizes = {"num_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "vocab_rows": 512}
    sizes |= {"tie_embeddings": False}
    for name in ("chatglm", "chatglm2", "chatglm3", "glm-4", "glm-4-0414"):
        is_first = name == "chatglm"
        position, attention = ("rotary_2d", "prefix") if is_first else ("rotary", "causal")
        config = ModelConfig(position=position, attention=attention, max_positions=200, **sizes)
        module = GLM(config)
        module.init_weights(seed=len(name))
        tensors = {n: 5 * w if w.dim() == 2 else w for n, w in module.state_dict().items()}
        found = Found(
            config,
            tensors,
            find_tokenizer(str(vocabularies / name)),
            layout=LayoutConfig(sop=129, mask=125, gmask=126) if is_first else None,
            provenance={"source": "random weights"},
        )
        write_model_folder(root / name, found)
    return root


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder: random weights, 64 positions, and a small tokenizer that loses nothing."""
    from glmctl.core.checkpoint.folder import Found, write_model_folder
    from glmctl.core.model.glm import GLM
    from glmctl.core.tokenizer.load import load_tokenizer
    from glmctl.core.tokenizer.sentencepiece import train_sentencepiece
    from glmctl.recipe.model import ModelConfig, TokenizerConfig

    folder = tmp_path_factory.mktemp("tiny")
    text = ["The bakery opens at six and closes at two.", "The grey cat sleeps beside the oven."]
    text += ["At two the grey cat opens and closes its eyes.", "The oven of the bakery sleeps."]
    (folder / "tiny.model").write_bytes(train_sentencepiece(text, 320, "bpe"))
    tokenizer = load_tokenizer(TokenizerConfig(path=str(folder / "tiny.model")))
    config = ModelConfig(
        num_layers=2, hidden_size=32, num_attention_heads=4, max_positions=64, vocab_rows=384
    )
    module = GLM(config)
    module.init_weights(seed=1)
    # Larger than they start, so that one token differs from another by far more than rounding.
    tensors = {n: 5 * w if w.dim() == 2 else w for n, w in module.state_dict().items()}
    provenance = {"source": "random weights"}
    found = Found(config, tensors, tokenizer, license="none", provenance=provenance)
    return write_model_folder(folder / "model", found)
