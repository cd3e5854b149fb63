"""`glmctl corrupt` end to end: what it prints, the way back, and lines that are wrong."""

import gzip
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from glmctl.cli.app import run

Run = Callable[..., "subprocess.CompletedProcess[str]"]
COMMAND = Path(sys.executable).with_name("glmctl")
SENTENCE = "The oven is hot and the grey cat sleeps beside it.\n"
BAKERY = "\u9762\u5305\u5e97\u516d\u70b9\u5f00\u95e8\u3002"
TEXTS = [
    "The oven is hot and the grey cat sleeps beside it.",
    f"{BAKERY} \U0001f600  {BAKERY}",
    "  two  spaces  \t and a tab \t at the end ",
    "[MASK] and [sMASK] sop eop are words here.",
    "family \U0001f468\u200d\U0001f469\u200d\U0001f467 e\u0301 \ufb01 \uff21 \u3000 \ufeff",
    "breaks of others: \u2028 and \u2029 and \x85 and \x0b",
    "x",
]


def raw(*args: str | Path, stdin: bytes) -> "subprocess.CompletedProcess[bytes]":
    command = [COMMAND, "corrupt", *args]
    return subprocess.run(command, input=stdin, capture_output=True, check=False)


def restored(part_a: str, part_b: str) -> str:
    """A sentence put together again from what a reader sees of it."""
    text = part_a.removeprefix("A: ")
    for piece in part_b.removeprefix("B: ").split(" | "):
        name, _, hidden = piece.partition("] ")
        assert text.count(f"{name}]") == 1
        text = text.replace(f"{name}]", hidden)
    return text


@pytest.mark.parametrize("seed", range(4))
def test_a_reader_can_put_the_sentence_together_again(seed, capsys, tmp_path):
    (tmp_path / "a.txt").write_text(SENTENCE)
    assert run(["corrupt", str(tmp_path / "a.txt"), "--seed", str(seed)]) == 0
    part_a, part_b = capsys.readouterr().out.splitlines()
    assert part_a.startswith("A: ")
    assert part_b.startswith("B: [MASK ")
    # A blank stands between spaces even inside a word, so spaces are not compared.
    assert restored(part_a, part_b).replace(" ", "") == SENTENCE.rstrip().replace(" ", "")


def test_blanks_are_numbered_in_reading_order_and_part_b_is_not(capsys):
    assert run(["corrupt", "glmctl-demo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    is_shuffled = False
    for part_a, part_b in zip(lines[::2], lines[1::2], strict=True):
        seen = [word.partition("]")[0] for word in part_a.split("[MASK ")[1:]]
        told = [word.partition("]")[0] for word in part_b.split("[MASK ")[1:]]
        assert seen == [str(number) for number in range(1, len(seen) + 1)]
        assert sorted(told, key=int) == seen
        is_shuffled |= told != seen
    assert is_shuffled


def test_json_holds_an_example_a_line(glmctl: Run):
    done = glmctl("corrupt", "--json", stdin=SENTENCE)
    assert (done.returncode, done.stderr) == (0, "")
    record = json.loads(done.stdout)
    assert list(record) == [
        "schema",
        "line",
        "objective",
        "input_ids",
        "target_ids",
        "loss_mask",
        "position_ids",
        "part_a_length",
        "spans",
        "tokenizer",
    ]
    assert record["schema"] == "glmctl.CorruptedLine/1"
    assert (record["line"], record["objective"]) == (1, "token")
    ids = [int(word) for word in glmctl("tokenize", stdin=SENTENCE).stdout.split()]
    hidden = sum(stop - start for start, stop in record["spans"])
    num_spans, length = len(record["spans"]), record["part_a_length"]
    assert length == len(ids) + 2 - hidden + num_spans
    assert record["loss_mask"] == [0] * length + [1] * (hidden + num_spans)
    assert len(record["input_ids"]) == len(record["target_ids"]) == len(record["loss_mask"])
    places, steps = record["position_ids"]
    assert places[:length] == list(range(length))
    assert steps[:length] == [0] * length
    assert steps[length] == 1
    start, stop = record["spans"][0]
    assert record["target_ids"][length : length + stop - start] == ids[start - 1 : stop - 1]


@pytest.mark.parametrize("objective", ["token", "sentence", "document", "mix", "mlm"])
def test_undo_gives_every_character_back(objective, glmctl: Run, tmp_path: Path):
    (tmp_path / "a.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    made = raw("--objective", objective, "--json", tmp_path / "a.txt", stdin=b"")
    assert made.returncode == 0
    assert len(made.stdout.splitlines()) == len(TEXTS)
    assert any(json.loads(line)["spans"] for line in made.stdout.splitlines())
    done = raw("--undo", stdin=made.stdout)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == (tmp_path / "a.txt").read_bytes()


def test_undo_as_json_gives_the_ids_of_the_tokenizer(glmctl: Run):
    made = glmctl("corrupt", "--json", "--seed", "5", stdin=SENTENCE)
    record = json.loads(glmctl("corrupt", "--undo", "--json", stdin=made.stdout).stdout)
    assert record["schema"] == "glmctl.RestoredLine/1"
    assert record["text"] == SENTENCE.rstrip()
    assert record["ids"] == [int(i) for i in glmctl("tokenize", stdin=SENTENCE).stdout.split()]


@pytest.mark.parametrize(
    ("objective", "blank"),
    [("token", "[MASK 1]"), ("sentence", "[sMASK 1]"), ("document", "[gMASK 1]")],
)
def test_an_objective_has_its_own_blank(objective, blank, glmctl: Run):
    part_a, part_b = glmctl("corrupt", "--objective", objective, stdin=SENTENCE).stdout.splitlines()
    assert blank in part_a
    assert blank in part_b


def test_a_document_hides_one_long_span_at_its_end_or_inside(glmctl: Run):
    done = glmctl("corrupt", "--objective", "document", "--json", stdin=SENTENCE * 50)
    num_tokens = len(glmctl("tokenize", stdin=SENTENCE).stdout.split())
    is_inside = set()
    for record in map(json.loads, done.stdout.splitlines()):
        ((start, stop),) = record["spans"]
        assert stop - start >= num_tokens // 2
        is_inside.add(stop < num_tokens)
    assert is_inside == {False, True}


def test_a_sentence_is_hidden_whole(glmctl: Run):
    text = "A cat sleeps. A dog barks? An ox eats!"
    done = glmctl("corrupt", "--objective", "sentence", stdin=f"{text}\n" * 50)
    hidden = set()
    for part_b in done.stdout.splitlines()[1::2]:
        hidden |= {piece.partition("] ")[2] for piece in part_b.split(" | ")}
    assert hidden == {"A cat sleeps.", "A dog barks?", "An ox eats!"}


def test_the_mix_is_five_three_and_two_tenths(glmctl: Run):
    done = glmctl("corrupt", "--objective", "mix", "--json", stdin="A cat. A dog. An ox.\n" * 2000)
    count = Counter(json.loads(line)["objective"] for line in done.stdout.splitlines())
    shares = {name: number / 2000 for name, number in count.items()}
    # three standard deviations of 2,000 draws
    assert shares == pytest.approx({"token": 0.5, "sentence": 0.3, "document": 0.2}, abs=0.035)


def test_the_seed_decides_and_a_line_does_not_depend_on_its_neighbours(glmctl: Run):
    lines = [f"{SENTENCE.rstrip()} {number}\n" for number in range(5)]
    outputs = [glmctl("corrupt", "--seed", s, stdin="".join(lines)).stdout for s in "112"]
    assert outputs[0] == outputs[1]
    assert outputs[0] != outputs[2]
    assert glmctl("corrupt", "--seed", "1", stdin="".join(lines[:2])).stdout == "".join(
        outputs[0].splitlines(keepends=True)[:4]
    )


def test_a_recipe_says_how_and_set_changes_it(glmctl: Run, tmp_path: Path):
    (tmp_path / "a.txt").write_text(SENTENCE * 20)
    usual = ("corrupt", "a.txt", "--recipe", "smoke/tiny", "--json")
    few, many = (
        sum(len(json.loads(line)["spans"]) for line in done.stdout.splitlines())
        for done in (
            glmctl(*usual),
            glmctl(*usual, "--set", "objective.mask_ratio=0.6"),
        )
    )
    assert 0 < few < many
    seeds = [glmctl(*usual, "--set", f"train.seed={seed}").stdout for seed in (7, 8)]
    assert seeds[0] != seeds[1]
    assert glmctl(*usual, "--seed", "7").stdout == seeds[0]


def test_a_line_longer_than_the_recipe_allows_is_left_out(glmctl: Run):
    args = ("corrupt", "--recipe", "smoke/tiny", "--set", "data.sequence_length=16")
    done = glmctl(*args, stdin=f"{SENTENCE}{'oven ' * 60}\n{SENTENCE}")
    assert done.returncode == 1
    lines = done.stdout.split("\n")
    assert [line[:2] for line in lines] == ["A:", "B:", "", "", "A:", "B:", ""]
    assert done.stderr.startswith("error: line 2: is ")
    assert "data.sequence_length is 16; split the line or raise it" in done.stderr


BAD = b"The oven is hot.\n\nb\xff\nThe cat sleeps.\n"


def test_a_line_that_cannot_be_corrupted_keeps_its_place(glmctl: Run):
    done = raw(stdin=BAD)
    assert done.returncode == 1
    lines = done.stdout.decode().split("\n")
    assert [line[:2] for line in lines] == ["A:", "B:", "", "", "", "", "A:", "B:", ""]
    assert done.stderr.decode().splitlines() == [
        "error: line 2: is empty; there is nothing to hide",
        "error: line 3: is not UTF-8: byte 0xff at byte 1 of the line",
    ]


def test_json_has_a_record_for_a_line_that_cannot_be_corrupted():
    done = raw("--json", stdin=BAD)
    assert (done.returncode, done.stderr) == (1, b"")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["line"] for record in records] == [1, 2, 3, 4]
    assert [record.get("error") for record in records] == [
        None,
        "is empty; there is nothing to hide",
        "is not UTF-8: byte 0xff at byte 1 of the line",
        None,
    ]


def test_undo_says_why_a_line_has_no_text_and_keeps_its_place():
    done = raw("--undo", stdin=raw("--json", stdin=BAD).stdout)
    assert done.returncode == 1
    assert done.stdout == b"The oven is hot.\n\n\nThe cat sleeps.\n"
    start = "is not an example of glmctl corrupt --json; its line is"
    assert done.stderr.decode().splitlines() == [
        f"error: line 2: {start} empty; there is nothing to hide",
        f"error: line 3: {start} not UTF-8: byte 0xff at byte 1 of the line",
    ]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"part_a_length": -2}, "tokens are not Part A (-2) and the spans"),
        ({"spans": [[0, 1], [0, 1]]}, "tokens are not Part A"),
        ({"spans": "none"}, "spans: Input should be a valid array"),
        ({"tokenizer": "0" * 32}, "was made with another tokenizer; name it with --tokenizer"),
    ],
)
def test_undo_refuses_a_record_that_was_changed(change, problem, glmctl: Run):
    record = json.loads(glmctl("corrupt", "--json", stdin=SENTENCE).stdout)
    done = glmctl("corrupt", "--undo", stdin=json.dumps(record | change) + "\n")
    assert (done.returncode, done.stdout) == (1, "\n")
    assert done.stderr.startswith("error: line 1: ")
    assert problem in done.stderr


def test_undo_names_an_id_that_is_not_in_the_vocabulary(glmctl: Run):
    record = json.loads(glmctl("corrupt", "--json", stdin=SENTENCE).stdout)
    record["target_ids"][1] = 999_999
    done = glmctl("corrupt", "--undo", stdin=json.dumps(record))
    assert done.returncode == 1
    assert done.stderr.startswith("error: line 1: holds id 999999: not in the vocabulary")


def test_a_megabyte_line_is_one_example_and_comes_back():
    line = b"The oven is hot. " * 70_000 + b"\n"
    made = raw("--json", stdin=line)
    assert made.stdout.count(b"\n") == 1
    assert raw("--undo", stdin=made.stdout).stdout == line


def test_who_types_gets_each_line_answered():
    with subprocess.Popen(
        [COMMAND, "corrupt"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(2):
            process.stdin.write(SENTENCE.encode())
            process.stdin.flush()
            assert process.stdout.readline().startswith(b"A: ")
            assert process.stdout.readline().startswith(b"B: ")
        process.stdin.close()
        assert process.wait(60) == 0


@pytest.mark.parametrize("flag", ["", "--json"])
def test_head_ends_it_quietly(flag):
    script = f"yes 'The oven is hot.' | ('{COMMAND}' corrupt {flag}; echo $? >&2) | head -1"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.count("\n") == 1
    assert done.stderr == "0\n"


def test_a_full_disk_is_a_fault_of_the_machine():
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [COMMAND, "corrupt", "glmctl-demo"], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 4
    assert done.stderr.startswith(b"error: output: No space left on device; free some space")


@pytest.mark.parametrize("verb", ["corrupt", "tokenize"])
@pytest.mark.parametrize(
    "content",
    [gzip.compress(SENTENCE.encode() * 99, mtime=0)[:-20], b"no gzip\n"],
    ids=["cut short", "not gzip"],
)
def test_a_damaged_file_is_named(verb, content, glmctl: Run, tmp_path: Path):
    (tmp_path / "a.txt.gz").write_bytes(content)
    done = glmctl(verb, "a.txt.gz")
    assert done.returncode == 3
    assert done.stderr.startswith("error: a.txt.gz: damaged .gz file (")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["gone.txt"], 3, "gone.txt: no such text; name a file, a folder"),
        (["--tokenizer", "nope"], 3, "nope: no such tokenizer; name a file, a folder, hf:NAME"),
        (["--recipe", "glm-bas"], 2, "did you mean glm-base"),
        (["--recipe", "zero-shot/mmlu"], 2, "of stage 'eval'; run: glmctl eval zero-shot/mmlu"),
        (["--set", "train.seed=1"], 2, "--set changes a recipe; add --recipe RECIPE"),
        (["--undo", "--seed", "1"], 2, "--undo draws nothing; leave out --seed"),
        (["--undo", "--objective", "mlm", "--whole-words"], 2, "--objective and --whole-words"),
        (["--undo", "--stats"], 2, "--stats and --undo exclude each other; choose one"),
        (["--explain", "--json"], 2, "--explain is for a reader; leave out --json"),
        (["--html", "a.html", "--json"], 2, "--html is for a reader; leave out --json"),
        (["--objective", "word"], 2, "'token', 'sentence', 'document', 'mix', 'mlm'"),
        (["--seed", "-1"], 2, "--seed"),
    ],
)
def test_what_cannot_be_done_is_said(args, code, message, glmctl: Run):
    done = glmctl("corrupt", *args, stdin=SENTENCE)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_text_has_an_id_and_a_seed_of_its_own(glmctl: Run):
    """Line 2 draws from its seed wherever it stands; line 1 from its place."""
    plain = {"text": SENTENCE.rstrip()}
    lines = [{"id": "a7", **plain}, {**plain, "seed": 5, "id": [1]}, plain]
    done = glmctl("corrupt", "--jsonl", "--json", stdin="\n".join(map(json.dumps, lines)))
    first, second, third = map(json.loads, done.stdout.splitlines())
    assert (first["id"], second["id"], second["seed"]) == ("a7", [1], 5)
    assert "id" not in third
    alone = glmctl("corrupt", "--jsonl", "--json", "--seed", "9", stdin=json.dumps(lines[1]))
    assert json.loads(alone.stdout) == {**second, "line": 1}
    text = glmctl("corrupt", "--json", stdin=SENTENCE * 3).stdout.splitlines()
    assert json.loads(text[0]) == {key: first[key] for key in first if key != "id"}
    assert json.loads(text[1])["spans"] != second["spans"]
    restored = glmctl("corrupt", "--undo", "--json", stdin=done.stdout).stdout.splitlines()
    found = [json.loads(line) for line in restored]
    assert [(r.get("id"), r.get("seed"), r["text"]) for r in found] == [
        (line.get("id"), line.get("seed"), line["text"]) for line in lines
    ]


@pytest.mark.parametrize("seed", [-1, 2**63, "5", 1.5, True])
def test_a_seed_that_is_none_is_an_error_of_its_line(seed, glmctl: Run):
    line = json.dumps({"id": 3, "seed": seed, "text": "The oven is hot."})
    done = glmctl("corrupt", "--jsonl", "--json", stdin=line)
    record = json.loads(done.stdout)
    assert (done.returncode, record["id"]) == (1, 3)
    assert record["error"] == (
        f"has the seed {json.dumps(seed)}; a seed is a whole number from 0 to {2**63 - 1}"
    )


@pytest.mark.parametrize("objective", ["token", "mix", "mlm"])
def test_whole_words_come_back_and_are_never_cut(objective, glmctl: Run, tmp_path: Path):
    (tmp_path / "a.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    args = ("--objective", objective, "--whole-words", tmp_path / "a.txt")
    made = raw("--json", *args, stdin=b"")
    assert raw("--undo", stdin=made.stdout).stdout == (tmp_path / "a.txt").read_bytes()
    for seed in range(8):
        shown = raw("--seed", str(seed), *args, stdin=b"").stdout.decode()
        assert "\ufffd" not in shown
        assert "<0x" not in shown


def test_a_recipe_can_ask_for_whole_words(glmctl: Run):
    args = ("corrupt", "--recipe", "smoke/tiny", "--json")
    by_flag = glmctl(*args, "--whole-words", stdin=SENTENCE)
    by_key = glmctl(*args, "--set", "objective.whole_words=true", stdin=SENTENCE)
    assert by_flag.returncode == 0
    assert by_flag.stdout == by_key.stdout
    assert by_flag.stdout != glmctl(*args, stdin=SENTENCE).stdout


def test_whole_words_are_not_drawn_by_the_released_sampler(glmctl: Run):
    args = ("corrupt", "--recipe", "smoke/tiny", "--set", "objective.draw_mode='batch'")
    problem = "whole_words: true, but draw_mode 'batch' draws tokens as released; use 'sample'"
    for more in (["--whole-words"], ["--set", "objective.whole_words=true"]):
        done = glmctl(*args, *more, stdin=SENTENCE)
        assert done.returncode == 2
        assert problem in done.stderr


def test_bytes_of_a_cut_character_are_shown_as_bytes(glmctl: Run):
    shown = "".join(
        glmctl("corrupt", "--seed", str(seed), stdin="\U0001f600" * 9).stdout for seed in range(4)
    )
    assert "<0xF0>" in shown
    assert "\ufffd" not in shown


def test_explain_draws_positions_and_attention(glmctl: Run):
    """Part A sees Part A; the token after sop sees Part A, sop and itself."""
    done = glmctl("corrupt", "--explain", "--whole-words", stdin="The oven is hot.\n")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    record = json.loads(
        glmctl("corrupt", "--json", "--whole-words", stdin="The oven is hot.\n").stdout
    )
    num_a, num_all = record["part_a_length"], len(record["input_ids"])
    assert lines[0] == f"line 1, token objective: 1 span, {num_all} tokens"
    assert [line[:3] for line in lines[1:3]] == ["A: ", "B: "]
    assert lines[3].split() == ["#", "reads", "predicts", "place", "in", "span", "A", "B"]
    drawn = [line for line in lines[4:] if line]
    assert len(drawn) == num_all
    seen, unseen = "\u25a0", "\u00b7"
    for index, line in enumerate(drawn):
        is_part_b = index >= num_a
        words = line.split()
        visible = index - num_a + 1 if is_part_b else 0
        assert words[-2] == seen * num_a
        assert words[-1] == seen * visible + unseen * (num_all - num_a - visible)
        assert [int(word) for word in words[-4:-2]] == [
            row[index] for row in record["position_ids"]
        ]
        assert int(words[0]) == index
    assert drawn[num_a].split()[1] == "sop"
    assert drawn[-1].split()[-5] == "eop"


def test_explain_draws_a_long_line_around_its_blanks(glmctl: Run):
    long, longer = SENTENCE.rstrip() * 20, SENTENCE.rstrip() * 5000
    done = glmctl("corrupt", "--explain", stdin=f"{long}\n{longer}\n{SENTENCE}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count(" of them shown\n") == 2
    assert " more\n" in done.stdout
    assert "line 3, token objective" in done.stdout


def test_a_page_is_written_when_a_line_is_wrong(glmctl: Run, tmp_path: Path):
    done = glmctl("corrupt", "--html", "a.html", stdin=f"{SENTENCE}\n")
    assert done.returncode == 1
    assert "line 2: is empty; there is nothing to hide" in done.stderr
    assert (tmp_path / "a.html").read_text(encoding="utf-8").count("<section>") == 1


class PageReader(HTMLParser):
    """Counts what a browser would build, and what it would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.cells: Counter[str] = Counter()
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        given = dict(attrs)
        self.links += [name for name in ("src", "href") if name in given]
        if tag == "td":
            self.cells[(given.get("class") or "").partition(" ")[0]] += 1

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_html_is_one_page_without_network_and_text_is_text(glmctl: Run, tmp_path: Path):
    text = 'A <script>alert(1)</script> & "quoted" $5 line of the oven.\n'
    done = glmctl("corrupt", "--html", "a.html", stdin=text + SENTENCE)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "a.html: 2 examples\n"
    page = PageReader((tmp_path / "a.html").read_text(encoding="utf-8"))
    assert (page.tags["section"], page.tags["script"], page.links) == (2, 0, [])
    shown = "".join(page.words)
    assert "prefers-color-scheme: dark" in shown
    assert "url(" not in shown
    for record in map(json.loads, glmctl("corrupt", "--json", stdin=text).stdout.splitlines()):
        num_a = record["part_a_length"]
        assert page.tags["table"] == 2
        num_b = len(record["input_ids"]) - num_a
        first = PageReader((tmp_path / "a.html").read_text(encoding="utf-8").split("</section>")[0])
        assert first.cells["on"] == (num_a + num_b) * num_a + num_b * (num_b + 1) // 2
        assert first.cells["off"] == num_a * num_b + num_b * (num_b - 1) // 2


def test_a_page_holds_fifty_lines_and_reads_no_more(tmp_path: Path):
    script = f"yes 'The oven is hot.' | '{COMMAND}' corrupt --html '{tmp_path}/a.html'"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert (tmp_path / "a.html").read_text(encoding="utf-8").count("<section>") == 50


def test_stats_of_a_stream_agree_with_its_lines_and_with_the_law(glmctl: Run):
    text = "".join(f"{SENTENCE.rstrip() * 12} {n}\n" for n in range(80))
    found = json.loads(glmctl("corrupt", "--stats", "--json", stdin=text).stdout)
    lines = glmctl("corrupt", "--json", stdin=text).stdout.splitlines()
    records = [json.loads(line) for line in lines]
    lengths = Counter(b - a for record in records for a, b in record["spans"])
    token = found["objectives"]["token"]
    assert (found["schema"], found["num_lines"]) == ("glmctl.SpanStatistics/1", 80)
    assert token["span_lengths"] == {str(k): lengths[k] for k in sorted(lengths)}
    assert token["part_a"]["longest"] == max(record["part_a_length"] for record in records)
    sources = sum(len(r["input_ids"]) - 2 * len(r["spans"]) for r in records)
    hidden = sum(k * n for k, n in lengths.items())
    assert token["masked_share"] == pytest.approx(hidden / sources)
    assert found["test"]["p_value"] > 1e-4
    assert found["law"].startswith("Poisson(3) on 1 to 39 tokens")


def test_stats_are_readable_and_count_what_failed(glmctl: Run):
    done = glmctl("corrupt", "--stats", stdin=f"{SENTENCE.rstrip() * 9}\n\n" * 60)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "error: line 2: is empty; there is nothing to hide"
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["token", "objective"] in rows
    assert ["tokens", "spans", "%", "law", "%"] in rows
    assert next(row[:1] + row[3:4] for row in rows if row[:1] == ["2"]) == ["2", "23.6"]
    assert ["failed", "lines", "60"] in rows
    assert any(row[:2] == ["p", "value"] for row in rows)


def test_stats_say_what_has_no_law(glmctl: Run):
    done = glmctl("corrupt", "--stats", "--objective", "document", stdin=SENTENCE * 50)
    assert done.returncode == 0
    assert "law %" not in done.stdout
    assert "not tested: a sentence or a long span is as long as its text makes it" in done.stdout


@pytest.mark.parametrize("mode", [[], ["--json"], ["--stats"], ["--explain"]])
def test_control_c_ends_it_with_130(mode):
    with subprocess.Popen(
        [COMMAND, "corrupt", *mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(SENTENCE.encode())
        process.stdin.write(b"\n")  # an error, which shows that the command is at work
        process.stdin.flush()
        first = process.stdout if "--json" in mode else process.stderr
        assert first.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr.read().endswith(b"error: interrupted\n")
