"""Loading and converting a folder of ChatGLM2's shapes, 3.5 GB with fewer layers: memory and time.

`anonymous` is the most memory above that of the imports that is no part of a mapped file; it may be
the largest shard of the folder x 1.15 + 300 MB. Needs 11 GB of disk in `--folder`.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from glmctl.core.open import load
from glmctl.stages import convert

WIDTH, INNER, ROWS, HEAD, GROUPS, LAYERS = 4096, 13696, 65024, 128, 2, 6
LAYER = {
    "input_layernorm.weight": (WIDTH,),
    "self_attention.query_key_value.weight": (WIDTH + 2 * GROUPS * HEAD, WIDTH),
    "self_attention.query_key_value.bias": (WIDTH + 2 * GROUPS * HEAD,),
    "self_attention.dense.weight": (WIDTH, WIDTH),
    "post_attention_layernorm.weight": (WIDTH,),
    "mlp.dense_h_to_4h.weight": (2 * INNER, WIDTH),
    "mlp.dense_4h_to_h.weight": (WIDTH, INNER),
}
CONFIG = {
    "model_type": "chatglm", "num_layers": LAYERS, "hidden_size": WIDTH, "kv_channels": HEAD,
    "num_attention_heads": WIDTH // HEAD, "multi_query_attention": True,
    "multi_query_group_num": GROUPS, "ffn_hidden_size": INNER, "seq_length": 32768,
    "padded_vocab_size": ROWS, "layernorm_epsilon": 1e-5, "add_qkv_bias": True,
    "add_bias_linear": False, "rmsnorm": True, "post_layer_norm": True,
}  # fmt: skip
MB = 10**6


def tensors() -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "transformer.embedding.word_embeddings.weight", (ROWS, WIDTH)
    for number in range(LAYERS):
        for name, shape in LAYER.items():
            yield f"transformer.encoder.layers.{number}.{name}", shape
    yield "transformer.encoder.final_layernorm.weight", (WIDTH,)
    yield "transformer.output_layer.weight", (ROWS, WIDTH)


def write(folder: Path) -> int:
    """Write the folder, about a GB a shard; gives the bytes of the largest."""
    draws = torch.randn((1 << 22) + 4099, generator=torch.Generator().manual_seed(1)).half() / 64
    shards: list[dict[str, Tensor]] = [{}]
    sizes = [0]
    index = {}
    for number, (name, shape) in enumerate(tensors()):
        count = torch.Size(shape).numel()
        start = number * 61
        tensor = draws[start:].repeat(count // (len(draws) - start) + 1)[:count].clone().view(shape)
        if sizes[-1] + tensor.nbytes > 1000 * MB:
            save(folder, len(shards), shards[-1])
            shards[-1] = {}
            shards.append({})
            sizes.append(0)
        shards[-1][name] = tensor
        sizes[-1] += tensor.nbytes
        index[name] = f"pytorch_model-{len(shards):05d}.bin"
    save(folder, len(shards), shards[-1])
    text = json.dumps({"weight_map": index})
    (folder / "pytorch_model.bin.index.json").write_text(text, encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    print(
        f"{sum(sizes) / MB:,.0f} MB in {len(sizes)} shards, the largest {max(sizes) / MB:,.0f} MB"
    )
    return max(sizes)


def save(folder: Path, number: int, shard: dict[str, Tensor]) -> None:
    torch.save(shard, folder / f"pytorch_model-{number:05d}.bin")


def anonymous() -> int:
    """Bytes of this process that no file backs."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


def convert_to(source: Path, out: Path, to: convert.Format) -> None:
    convert.run(str(source), out, to=to, model_parallel=None, model_config=None, note=print)


def measure(call: Callable[[], object]) -> tuple[int, float]:
    """The most anonymous memory during a call, and its seconds."""
    samples = [anonymous()]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            samples.append(anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    started_at = time.perf_counter()
    try:
        call()
    finally:
        done.set()
        watcher.join()
    return max(samples), time.perf_counter() - started_at


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", help="where the files lie meanwhile; else a temporary folder")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    baseline = anonymous()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        root = Path(folder)
        (root / "chatglm2").mkdir()
        limit = 1.15 * write(root / "chatglm2") + 300 * MB
        source, middle = root / "chatglm2", root / "transformers"
        calls = {
            "load chatglm2": partial(load, source),
            "chatglm2 to transformers": partial(convert_to, source, middle, "transformers"),
            "transformers to glmctl": partial(convert_to, middle, root / "glmctl", "glmctl"),
        }
        too_much = False
        for name, call in calls.items():
            most, seconds = measure(call)
            peak = most - baseline
            print(
                f"{name}: anonymous {peak / MB:,.0f} MB, allowed {limit / MB:,.0f} MB; "
                f"{seconds:.1f} s",
                flush=True,
            )
            too_much |= peak > limit
    if too_much:
        raise SystemExit("more memory than allowed")


if __name__ == "__main__":
    main()
