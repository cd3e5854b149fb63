import json
import os
import subprocess
import sys
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest

from glmctl.core.data import sharding
from glmctl.core.data.sharding import plan_shards, write_shards
from glmctl.core.data.shards import TokenStore
from glmctl.core.tokenizer.load import load_tokenizer
from glmctl.core.tokenizer.sentencepiece import train_sentencepiece
from glmctl.errors import InputError, MachineError, UsageError
from glmctl.recipe.model import TokenizerConfig
from glmctl.recipe.schema import CorpusConfig

DOCUMENTS = [f"The oven {number} is hot. [MASK] \u70e4\u7bb1" for number in range(60)]


@pytest.fixture(scope="session")
def tokenizer_config(tmp_path_factory: pytest.TempPathFactory) -> TokenizerConfig:
    file = tmp_path_factory.mktemp("tokenizer") / "own.model"
    file.write_bytes(train_sentencepiece(DOCUMENTS, 300, "bpe"))
    return TokenizerConfig(path=str(file))


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sixty documents and two empty lines in two files; small units, so that they make shards."""
    monkeypatch.setattr(sharding, "MIN_UNIT_BYTES", 400)
    folder = tmp_path / "text"
    folder.mkdir()
    (folder / "a.txt").write_text("\n".join([*DOCUMENTS[:50], "", ""]), encoding="utf-8")
    rows = [json.dumps({"text": text}) for text in DOCUMENTS[50:]]
    (folder / "b.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return folder


def write(corpus, config, out, processes=1, advance=lambda _: None, on_error="stop"):
    text = CorpusConfig(name="text", path=str(corpus))
    plan = plan_shards([text], load_tokenizer(config), on_error=on_error)
    return write_shards(plan, out, processes, advance)


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_documents_come_back_in_order(corpus, tokenizer_config, tmp_path):
    manifest = write(corpus, tokenizer_config, tmp_path / "out")
    store = TokenStore.open(tmp_path / "out")
    tokenizer = load_tokenizer(tokenizer_config)
    assert len(manifest["shards"]) > 3
    found = [store.tokens(n, 0, int(length)).tolist() for n, length in enumerate(store.lengths)]
    assert [tokenizer.decode(ids) for ids in found] == DOCUMENTS
    assert tokenizer.special.mask not in found[0]
    assert store.num_tokens == sum(map(len, found))
    assert manifest["num_documents"] == 60
    assert manifest["num_empty"] == 1  # a.txt ends in an empty line; what follows it is no line


def test_a_part_of_a_document_is_read(corpus, tokenizer_config, tmp_path):
    write(corpus, tokenizer_config, tmp_path / "out")
    store = TokenStore.open(tmp_path / "out")
    part = store.tokens(59, 3, 7)
    assert part.dtype == np.int32
    assert part.tolist() == store.tokens(59, 0, int(store.lengths[59]))[3:7].tolist()


def test_the_files_are_little_endian_ids_and_end_offsets(corpus, tokenizer_config, tmp_path):
    manifest = write(corpus, tokenizer_config, tmp_path / "out")
    tokenizer = load_tokenizer(tokenizer_config)
    shard = manifest["shards"][0]
    ids = [tokenizer.encode(text, special=False) for text in DOCUMENTS[: shard["num_documents"]]]
    tokens = np.fromfile(tmp_path / "out" / shard["file"], "<u2")
    ends = np.fromfile(tmp_path / "out" / shard["index"], "<u8")
    assert tokens.tolist() == [token_id for document in ids for token_id in document]
    assert ends.tolist() == [*accumulate(map(len, ids))]
    assert sorted(content(tmp_path / "out")) == sorted(
        ["manifest.json"]
        + [name for entry in manifest["shards"] for name in (entry["file"], entry["index"])]
    )


def test_large_vocabularies_take_four_bytes(corpus, tokenizer_config, tmp_path):
    config = tokenizer_config.model_copy(update={"num_sentinels": 40_000})
    manifest = write(corpus, config, tmp_path / "out")
    assert manifest["dtype"] == "<u4"
    assert len(TokenStore.open(tmp_path / "out").lengths) == 60


def test_the_number_of_processes_changes_nothing(corpus, tokenizer_config, tmp_path):
    write(corpus, tokenizer_config, tmp_path / "one", processes=1)
    write(corpus, tokenizer_config, tmp_path / "two", processes=2)
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_the_tokenizer_of_a_model_folder_reaches_every_process(corpus, tokenizer_config, tmp_path):
    tokenizer = load_tokenizer(
        TokenizerConfig(path="own.model"), Path(tokenizer_config.path).parent
    )
    plan = plan_shards([CorpusConfig(name="text", path=str(corpus))], tokenizer)
    manifest = write_shards(plan, tmp_path / "out", 2, lambda _: None)
    assert manifest["num_documents"] == 60


def test_an_interrupted_run_keeps_what_is_whole_and_ends_the_same(
    corpus, tokenizer_config, tmp_path
):
    def stop(num_bytes: int) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        write(corpus, tokenizer_config, out, advance=stop)
    assert not (out / "manifest.json").exists()
    first = (out / "shard-00000.tokens").stat()
    (out / "shard-00001.tokens.partial").write_bytes(b"half")
    write(corpus, tokenizer_config, out)
    assert (out / "shard-00000.tokens").stat().st_mtime_ns == first.st_mtime_ns
    write(corpus, tokenizer_config, tmp_path / "unbroken")
    assert content(out) == content(tmp_path / "unbroken")


def test_a_killed_run_continues(corpus, tokenizer_config, tmp_path):
    code = (
        "import os, sys\n"
        "from glmctl.core.data import sharding\n"
        "from glmctl.core.tokenizer.load import load_tokenizer\n"
        "from glmctl.recipe.schema import CorpusConfig, TokenizerConfig\n"
        "sharding.MIN_UNIT_BYTES = 400\n"
        "text = CorpusConfig(name='text', path=sys.argv[1])\n"
        "tokenizer = load_tokenizer(TokenizerConfig(path=sys.argv[2]))\n"
        "plan = sharding.plan_shards([text], tokenizer)\n"
        "sharding.write_shards(plan, sharding.Path(sys.argv[3]), 1, lambda _: os.kill(0, 9))\n"
    )
    out = tmp_path / "out"
    args = [sys.executable, "-c", code, str(corpus), tokenizer_config.path, str(out)]
    assert subprocess.run(args, start_new_session=True, check=False).returncode == -9
    assert [*out.glob("unfinished-*/00000.json")]
    write(corpus, tokenizer_config, out)
    write(corpus, tokenizer_config, tmp_path / "unbroken")
    assert content(out) == content(tmp_path / "unbroken")


def test_a_finished_folder_is_not_made_again(corpus, tokenizer_config, tmp_path):
    first = write(corpus, tokenizer_config, tmp_path / "out")
    done: list[int] = []
    assert write(corpus, tokenizer_config, tmp_path / "out", advance=done.append) == first
    assert done == [sum(source["num_bytes"] for source in first["sources"])]


def test_shards_of_another_text_are_not_overwritten(corpus, tokenizer_config, tmp_path):
    write(corpus, tokenizer_config, tmp_path / "out")
    with pytest.raises(UsageError, match="holds shards of another text or tokenizer"):
        write(corpus / "a.txt", tokenizer_config, tmp_path / "out")


def test_a_folder_with_another_manifest_is_refused(corpus, tokenizer_config, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match="not the manifest of token shards"):
        write(corpus, tokenizer_config, tmp_path / "out")


def test_a_folder_with_something_else_is_refused(corpus, tokenizer_config):
    with pytest.raises(UsageError, match="is not empty; name another folder"):
        write(corpus, tokenizer_config, corpus)


def test_an_empty_corpus_is_refused_and_leaves_nothing(tokenizer_config, tmp_path):
    (tmp_path / "a.txt").write_text("\n\n\n")
    with pytest.raises(
        InputError, match=r"a.txt: no document in it: every row is empty; name other text"
    ):
        write(tmp_path / "a.txt", tokenizer_config, tmp_path / "out")
    assert content(tmp_path / "out") == {}


def test_a_corpus_of_broken_lines_only_is_refused_with_the_first(tokenizer_config, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\n\xff\n")
    with pytest.raises(
        InputError, match=r"a.txt: no document in it: all rows are broken, first .*a.txt:1: not UTF"
    ):
        write(tmp_path / "a.txt", tokenizer_config, tmp_path / "out", on_error="skip")


@pytest.mark.parametrize("processes", [1, 2])
def test_a_bad_line_is_named_by_any_process(corpus, tokenizer_config, tmp_path, processes):
    with (corpus / "a.txt").open("ab") as stream:
        stream.write(b"\xff\n")
    with pytest.raises(InputError, match=r"a.txt:52: not UTF-8: byte 0xff"):
        write(corpus, tokenizer_config, tmp_path / "out", processes=processes)


@pytest.fixture
def broken_corpus(corpus):
    """The corpus with three lines that hold no text: in a.txt the last, in b.jsonl 3 and 6."""
    with (corpus / "a.txt").open("ab") as stream:
        stream.write(b"\xff\n")
    rows = (corpus / "b.jsonl").read_text().split("\n")
    rows[2:2], rows[5:5] = ["{"], ['{"texts": "x"}']
    (corpus / "b.jsonl").write_text("\n".join(rows))
    return corpus


@pytest.mark.parametrize("processes", [1, 2])
def test_skipped_lines_are_counted_listed_and_told(
    broken_corpus, tokenizer_config, tmp_path, processes
):
    with pytest.warns(UserWarning, match=r"^3 broken rows left out: .*a.txt:52: not UTF-8.*b.js"):
        manifest = write(
            broken_corpus, tokenizer_config, tmp_path / "out", processes, on_error="skip"
        )
    assert manifest["num_documents"] == 60
    assert manifest["num_broken"] == 3
    assert [row.split(": ")[0] for row in manifest["broken"]] == [
        f"{broken_corpus}/a.txt:52",
        f"{broken_corpus}/b.jsonl:3",
        f"{broken_corpus}/b.jsonl:6",
    ]
    store = TokenStore.open(tmp_path / "out")
    decode = load_tokenizer(tokenizer_config).decode
    found = [store.tokens(n, 0, int(length)).tolist() for n, length in enumerate(store.lengths)]
    assert [decode(ids) for ids in found] == DOCUMENTS


@pytest.mark.filterwarnings("ignore:3 broken rows")
def test_shards_that_lack_rows_do_not_pass_for_shards_of_all(
    broken_corpus, tokenizer_config, tmp_path
):
    write(broken_corpus, tokenizer_config, tmp_path / "out", on_error="skip")
    with pytest.raises(
        UsageError, match=r"out: lacks 3 broken rows, first .*a.txt:52: not UTF-8.*"
    ):
        write(broken_corpus, tokenizer_config, tmp_path / "out")
    write(broken_corpus, tokenizer_config, tmp_path / "out", on_error="skip")


@pytest.mark.filterwarnings("ignore:3 broken rows")
def test_a_run_that_stopped_at_a_broken_line_goes_on_without_it(
    broken_corpus, tokenizer_config, tmp_path
):
    out = tmp_path / "out"
    with pytest.raises(InputError, match="not UTF-8"):
        write(broken_corpus, tokenizer_config, out)
    first = (out / "shard-00000.tokens").stat()
    write(broken_corpus, tokenizer_config, out, on_error="skip")
    assert (out / "shard-00000.tokens").stat().st_mtime_ns == first.st_mtime_ns
    write(broken_corpus, tokenizer_config, tmp_path / "unbroken", on_error="skip")
    assert content(out) == content(tmp_path / "unbroken")


def test_an_interrupted_run_that_skipped_rows_is_not_continued_without_them(
    broken_corpus, tokenizer_config, tmp_path
):
    def stop(num_bytes: int) -> None:
        if len(list((tmp_path / "out").glob("unfinished-*/*.json"))) == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(broken_corpus, tokenizer_config, tmp_path / "out", advance=stop, on_error="skip")
    with pytest.raises(InputError, match=r"a.txt:52: not UTF-8"):
        write(broken_corpus, tokenizer_config, tmp_path / "out")


def test_when_the_bad_line_is_corrected_the_same_command_starts_over(
    corpus, tokenizer_config, tmp_path
):
    before = (corpus / "a.txt").read_bytes()
    (corpus / "a.txt").write_bytes(before + b"\xff\n")
    with pytest.raises(InputError, match="not UTF-8"):
        write(corpus, tokenizer_config, tmp_path / "out")
    (corpus / "a.txt").write_bytes(before)
    write(corpus, tokenizer_config, tmp_path / "out")
    write(corpus, tokenizer_config, tmp_path / "untroubled")
    assert content(tmp_path / "out") == content(tmp_path / "untroubled")


def test_a_process_that_dies_is_a_fault_of_the_machine(
    corpus, tokenizer_config, tmp_path, monkeypatch
):
    monkeypatch.setattr(sharding, "start_worker", os._exit)
    with pytest.raises(MachineError, match=r"one of 2 processes died.*use fewer"):
        write(corpus, tokenizer_config, tmp_path / "out", processes=2)


def test_a_flipped_bit_is_found_with_both_digests(corpus, tokenizer_config, tmp_path):
    manifest = write(corpus, tokenizer_config, tmp_path / "out")
    store = TokenStore.open(tmp_path / "out")
    store.verify()
    file = tmp_path / "out" / manifest["shards"][1]["file"]
    data = bytearray(file.read_bytes())
    data[5] ^= 1
    file.write_bytes(data)
    expected = manifest["shards"][1]["digest"]
    with pytest.raises(InputError, match=rf"{file.name}: damaged: .* expected {expected}; remove"):
        TokenStore.open(tmp_path / "out").verify()
    with pytest.raises(InputError, match="remove the folder and make the shards again"):
        write(corpus, tokenizer_config, tmp_path / "out")


def test_a_flipped_bit_of_the_index_is_found(corpus, tokenizer_config, tmp_path):
    manifest = write(corpus, tokenizer_config, tmp_path / "out")
    file = tmp_path / "out" / manifest["shards"][0]["index"]
    data = bytearray(file.read_bytes())
    data[0] ^= 1
    file.write_bytes(data)
    with pytest.raises(InputError, match=rf"{file.name}: damaged: its digest is"):
        TokenStore.open(tmp_path / "out").verify()


def test_a_short_or_missing_file_is_found_on_opening(corpus, tokenizer_config, tmp_path):
    manifest = write(corpus, tokenizer_config, tmp_path / "out")
    file = tmp_path / "out" / manifest["shards"][0]["file"]
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError, match=rf"{file.name}: damaged: \d+ bytes, expected \d+"):
        TokenStore.open(tmp_path / "out")
    file.unlink()
    with pytest.raises(InputError, match=rf"{file.name}: damaged: no bytes, expected \d+"):
        TokenStore.open(tmp_path / "out")


def test_a_folder_without_shards_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no token shards: it has no manifest.json; glmctl tok"):
        TokenStore.open(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": 9, "shards": []}')
    with pytest.raises(InputError, match="not the manifest of token shards of format 1"):
        TokenStore.open(tmp_path)


def test_another_tokenizer_is_refused_with_both_fingerprints(corpus, tokenizer_config, tmp_path):
    write(corpus, tokenizer_config, tmp_path / "out")
    store = TokenStore.open(tmp_path / "out")
    made_with = load_tokenizer(tokenizer_config).fingerprint
    store.require_tokenizer(made_with)
    with pytest.raises(InputError, match=f"made with the tokenizer {made_with} .*, but 0123abc is"):
        store.require_tokenizer("0123abc")


def test_the_sources_have_their_digests(corpus, tokenizer_config, tmp_path):
    manifest = write(corpus, tokenizer_config, tmp_path / "out")
    (corpus / "b.jsonl").write_text('{"text": "The oven."}')
    changed = write(corpus, tokenizer_config, tmp_path / "out2")
    first, second = manifest["sources"], changed["sources"]
    assert first[0] == second[0]
    assert first[1]["digest"] != second[1]["digest"]


def test_the_reader_loads_no_torch():
    code = "import sys, glmctl.core.data.sharding; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
