"""predict_reviews.py with a model whose weights are known: exact lines, skipped reviews, CSV, the prompt, bad input."""

import json
import os
import select
import shutil
import subprocess
import sys

from k3torch.data.text import Vocabulary
from k3torch.models.layers import SparseDense
import keras
import numpy as np
import pytest

SCRIPT = os.path.join(os.path.dirname(__file__), "../../scripts/predict_reviews.py")  # noqa: PTH118, PTH120
GOOD = "positive  0.8808      1 of 1 words known  great\n"  # the sigmoid of 2
BAD = "negative  0.8808      1 of 3 words known  a dull, waste\n"


@pytest.fixture(scope="module")
def run_of(tmp_path_factory):
    """A function that returns a run folder: "great" counts 2, "dull" -2, and nothing else anything."""

    def write(name, labels):
        out = tmp_path_factory.mktemp(name)
        Vocabulary(("great", "dull", "film")).save(out / "vocabulary.json", 7, labels)
        inputs = keras.Input((7,))
        model = keras.Model(inputs, SparseDense(1, activation="sigmoid")(inputs))
        model.set_weights([np.array([[0.0, 0, 0, 0, 2, -2, 0]]).T, np.zeros(1)])
        model.save(out / "model.keras")
        return out

    return write


@pytest.fixture(scope="module")
def run(run_of):
    return run_of("run", ("negative", "positive"))


def test_each_review_has_a_line_with_label_probability_known_words_and_text(run, call):
    long = "great film, " + "电影" * 40
    assert call("predict_reviews.py", run, "great", "a dull, waste", "film", "new", long)[1] == (
        GOOD + BAD + "negative  0.5000      1 of 1 words known  film\n"
        "negative  0.5000      0 of 1 words known  new\n"
        f"positive  0.8808      2 of 3 words known  great film, {'电影' * 5}电 ...\n"
    )


def test_lines_are_as_wide_as_the_terminal(run, call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    _, said, _ = call("predict_reviews.py", run, "great " * 1000, "dull")
    assert [len(line) for line in said.splitlines()] == [119, 48]  # cut after a word
    assert said.splitlines()[0].startswith("positive  0.8808  1000 of 1000 words known  great great")
    monkeypatch.setenv("COLUMNS", "10")
    assert call("predict_reviews.py", run, "great " * 9)[1].endswith("9 of 9 words known  great great grea ...\n")


def test_terminal_codes_and_line_breaks_are_not_printed(run, call):
    _, said, _ = call("predict_reviews.py", run, "great\x1b]0;title\x07\x1b[31m\u202e\r\n\udcff film")
    assert said == "positive  0.8808      2 of 5 words known  great ]0;title [31m film\n"


@pytest.mark.parametrize("from_file", [False, True])
def test_one_line_is_what_ends_in_a_newline_and_nothing_else(run, tmp_path, call, from_file):
    def said(content):
        (tmp_path / "reviews.txt").write_bytes(content.encode())
        if from_file:
            return call("predict_reviews.py", run, "--file", tmp_path / "reviews.txt")
        return call("predict_reviews.py", run, typed=content)

    assert said("great\na dull, waste\n") == (0, GOOD + BAD, "")
    assert said("\ufeffgreat\r\na\u0085dull,\x0c\u2028\x1cwaste") == (0, GOOD + BAD, "")
    assert said("great\n\n?!\na dull, waste\n\n") == (0, GOOD + BAD, "skipped reviews 2, 3, 5: no words\n")
    assert said("great\n" + "\n" * 12)[2] == "skipped reviews 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 2 more: no words\n"


def test_arguments_without_words_are_skipped_and_named(run, call):
    assert call("predict_reviews.py", run, "great", " ?! ", "a dull, waste") == (
        0,
        GOOD + BAD,
        "skipped review 2: no words\n",
    )


def test_csv_has_the_whole_texts_and_their_numbers(run, call):
    code, said, noted = call("predict_reviews.py", run, "--format", "csv", typed='great\n\na "dull", waste\n')
    assert (code, noted) == (0, "skipped review 2: no words\n")
    assert said == (
        "number,label,probability,known_words,words,text\n"
        "1,positive,0.880797,1,1,great\n"
        '3,negative,0.880797,1,3,"a ""dull"", waste"\n'
    )


def test_labels_are_those_of_the_run_folder(run_of, tmp_path, call):
    own = run_of("own", ("不好", "5"))
    assert [line.split()[0] for line in call("predict_reviews.py", own, "dull", "great")[1].splitlines()] == [
        "不好",
        "5",
    ]
    old = json.loads((own / "vocabulary.json").read_text())
    del old["labels"]  # as in version 0.1.0
    shutil.copytree(own, tmp_path / "old")
    (tmp_path / "old/vocabulary.json").write_text(json.dumps(old))
    assert call("predict_reviews.py", tmp_path / "old", "great")[1] == GOOD


def test_what_is_no_run_and_no_review_is_refused(run, tmp_path, call):
    shutil.copy(run / "vocabulary.json", tmp_path)
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    for arguments, message in (
        ([tmp_path / "none", "text"], "which is no folder"),
        ([tmp_path, "text"], "without model.keras"),
        ([run, "?!"], "expected reviews with words, got none: give them as arguments, by --file or standard input"),
        ([run, "text", "--file", "x"], "got both"),
        ([run, "--file", tmp_path / "missing"], "No such file"),
        ([run, "--file", tmp_path / "latin.txt"], "got: bytes that are not UTF-8"),
        ([run], "expected reviews with words, got none"),
    ):
        code, printed, said = call("predict_reviews.py", *arguments)
        assert (code, printed) == (2, "")
        assert message in said
        assert said.count("\n") == 1
    (tmp_path / "model.keras").write_bytes((run / "model.keras").read_bytes()[:1000])
    assert "expected a Keras model in" in call("predict_reviews.py", tmp_path, "text")[2]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda dense: [dense(1), dense(1)],
            "expected a model with 1 output in {path}, got list: give the run folder",
        ),
        (lambda dense: {"a": dense(1)}, "expected a model with 1 output in {path}, got dict: give the run folder"),
        (lambda dense: dense(3), "expected a model with 1 output in {path}, got outputs of shape (3,): give the run"),
        (
            lambda dense: dense(1, bias=np.nan),
            "expected a trained model in {path}, got weights that are NaN or infinite",
        ),
        (
            lambda dense: dense(1, bias=7.0),
            "expected a model that returns probabilities, got other outputs: train again",
        ),
    ],
)
def test_an_odd_model_is_one_line(make, said, run, tmp_path, call):
    inputs = keras.Input((7,))

    def dense(units, bias=0.0):
        return keras.layers.Dense(units, bias_initializer=keras.initializers.Constant(bias))(inputs)

    (tmp_path / "vocabulary.json").write_bytes((run / "vocabulary.json").read_bytes())
    keras.Model(inputs, make(dense)).save(tmp_path / "model.keras")
    code, _, errors = call("predict_reviews.py", tmp_path, "great")
    assert (code, errors.count("\n")) == (2, 1)
    assert errors.startswith(f"error: {said.format(path=tmp_path / 'model.keras')}")


@pytest.mark.parametrize("content", ["[" * 100_000, "", "[]", '{"num_words": 1e9}'])
def test_an_odd_vocabulary_is_one_line(content, run, tmp_path, call):
    (tmp_path / "vocabulary.json").write_text(content)
    (tmp_path / "model.keras").write_bytes((run / "model.keras").read_bytes())
    code, _, errors = call("predict_reviews.py", tmp_path, "great")
    assert (code, errors.count("\n")) == (2, 1)
    assert errors.startswith(f"error: expected a vocabulary in {tmp_path}/vocabulary.json, got ")


def test_a_forgotten_run_folder_is_named_before_standard_input_is_read(tmp_path, call, monkeypatch):
    class Terminal:
        @property
        def buffer(self):
            raise AssertionError("read standard input")

    monkeypatch.chdir(tmp_path)
    for arguments, message in (
        (["A wonderful film."], "expected a run folder of train-imdb before the reviews, got 'A wonderful film.'"),
        ([tmp_path], "without vocabulary.json and model.keras"),
    ):
        code, _, said = call("predict_reviews.py", *arguments, standard_input=Terminal())
        assert code == 2
        assert message in said
        assert said.count("\n") == 1


class Terminal:
    """The script on a pseudo-terminal, with its output in a pipe or on the terminal too."""

    def __init__(self, *arguments, piped=False):
        self.master, other = os.openpty()
        self.process = subprocess.Popen(
            [sys.executable, SCRIPT, *map(str, arguments)],
            stdin=other,
            stdout=subprocess.PIPE if piped else other,
            stderr=other,
            start_new_session=True,
            preexec_fn=lambda: take_terminal(other),
            env=os.environ | {"TERM": "dumb", "COLUMNS": "80"},
        )
        os.close(other)
        self.shown = ""

    def until(self, text):
        """Read up to ``text``, and return what was shown since the last call."""
        while text not in self.shown:
            self.read()
        before, _, self.shown = self.shown.partition(text)
        return before.replace("\r\n", "\n")

    def read(self):
        if not select.select([self.master], [], [], 60)[0]:
            self.process.kill()
            raise TimeoutError(f"nothing more in 60 seconds after {self.shown!r}")
        piece = os.read(self.master, 4096).decode()
        self.shown += piece
        return piece

    def keys(self, keys):
        while keys:
            keys = keys[os.write(self.master, keys) :]

    def interrupt(self):
        """Press Ctrl-C, and again where readline missed it, since the signal came just before it waits for a key."""
        for _ in range(30):
            self.keys(b"\x03")
            while select.select([self.master], [], [], 2)[0]:
                self.read()
                if "interrupted" in self.shown:  # from here on another Ctrl-C would kill the process
                    return

    def end(self):
        """Read what is left, and return it with the exit code."""
        try:
            while self.read():
                pass
        except OSError:  # Linux: the other end is closed
            pass
        os.close(self.master)
        printed, _ = self.process.communicate(timeout=60)
        return self.process.returncode, self.shown.replace("\r\n", "\n"), printed


def take_terminal(terminal):
    import fcntl
    import termios

    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)  # Ctrl-C then reaches the process


pseudo_terminal = pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo-terminals")


@pseudo_terminal
def test_a_prompt_answers_each_review_at_once_and_ends_at_ctrl_d(run):
    terminal = Terminal(run)
    assert terminal.until("review: ").endswith("Type a review and press Enter; an empty line ends.\n")
    for typed, answer in (
        ("great", GOOD),
        ("?!", "skipped: no words\n"),
        ("a dull, waste", BAD),
        ("great " * 1000, f"positive  0.8808  1000 of 1000 words known  {'great ' * 5}gr ...\n"),  # more than 4096
    ):
        terminal.keys(typed.encode() + b"\n")
        assert terminal.until("review: ").endswith(f"\n{answer}")
    terminal.keys(b"\x04")
    code, shown, _ = terminal.end()
    assert (code, shown.strip()) == (0, "")


@pseudo_terminal
@pytest.mark.slow
def test_a_prompt_ends_at_ctrl_c_with_one_line(run):
    terminal = Terminal(run)
    terminal.until("review: ")
    terminal.keys(b"gre")
    terminal.until("gre")
    terminal.interrupt()
    code, shown, _ = terminal.end()
    assert code == 130
    assert shown.splitlines()[-1] == "interrupted"
    assert "Traceback" not in shown


@pseudo_terminal
@pytest.mark.slow
def test_the_output_of_a_prompt_can_be_piped(run):
    terminal = Terminal(run, "--format", "csv", piped=True)
    terminal.until("an empty line ends.")
    terminal.keys(b"great\n?!\ndull\n\n")
    code, _, printed = terminal.end()
    assert code == 0
    assert printed.decode().splitlines() == [
        "number,label,probability,known_words,words,text",
        "1,positive,0.880797,1,1,great",
        "3,negative,0.880797,1,1,dull",
    ]
