"""Damaged and odd inputs: whatever a user hands in ends in a right result or in one line.

``pytest tests/test_random_inputs.py --random-inputs 5000`` draws as many in all.
"""

import io
import json
import warnings

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from k3torch import __version__, cli, cross_validate
from k3torch.data.columns import Columns
from k3torch.data.digits import load_data as load_digits
from k3torch.data.imdb import load_data as load_reviews
from k3torch.data.table import split_table
from k3torch.data.table_files import read_frame
from k3torch.data.text import Vocabulary
from k3torch.errors import InputError
from k3torch.models.builders import boston_regressor
from k3torch.options import flat
from k3torch.reports.manifest import Manifest
from k3torch.reports.run_checks import resumable_metrics
from k3torch.reports.run_curves import common_metrics, read_curves
from k3torch.reports.runs import differing, metric_names, read_run
from k3torch.saved_settings import load as load_settings
from k3torch.training.checkpoint_file import CheckpointFolder
from k3torch.training.saving import load_model
from k3torch.validation.result import CrossValidation
from k3torch.validation.search_result import OuterFold, SearchResult
import keras
import numpy as np
import pandas
import pytest
from tests.test_saved_settings import Settings

TOKENS = [
    *b"\" ' , ; . - 1,5 NaN inf 1e999 -1 0 null true [ ] { } : \\ \\ud800 ../ /etc/passwd %s =1+1 __class__".split()
]
TOKENS += [*b"1e-320 0x10 1_000 2020-01-01 PK\x03\x04 \x80\x04 \0 \xff \xef\xbb\xbf \xff\xfe \x1a".split()]
TOKENS += [b"", b" ", b"\t", b"\n", b"\r", b"9" * 400, b"[" * 3000, *(c.encode() for c in "\u0663\u2028\U0001f600")]


@st.composite
def damaged(draw, contents):
    """One of ``contents``, valid files, with up to four edits: parts replaced, doubled, moved, cut off."""
    content = draw(st.sampled_from(contents))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(content)))
        length = draw(st.integers(0, 12))
        new = draw(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=4), st.just(content[place : place + 40])))
        content = content[:place] + new + content[place + length :]
        if draw(st.integers(0, 9)) == 0:
            content = content[: draw(st.integers(0, len(content)))]
    return content


@pytest.fixture
def examples(request):
    """How many inputs each test draws."""
    return max(1, request.config.getoption("--random-inputs") // (len(READERS) + 1))


TABLE = b"size,rooms,town,price\n" + b"".join(f"{i}.5,{i % 4},{'ab'[i % 2]},{i * 3 % 17}\n".encode() for i in range(24))
REVIEWS = b"text,label\n" + b"".join(f"a {'good' if i % 2 else 'bad'} film {i},{i % 2}\n".encode() for i in range(30))


def table_files():
    frame = pandas.read_csv(io.BytesIO(TABLE))
    excel, parquet = io.BytesIO(), io.BytesIO()
    frame.to_excel(excel, index=False), frame.to_parquet(parquet)
    return {".csv": [TABLE, TABLE.replace(b",", b";"), TABLE.replace(b",", b"\t"), TABLE.decode().encode("utf-16")],
            ".xlsx": [excel.getvalue()], ".parquet": [parquet.getvalue()]}  # fmt: skip


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def review_arrays():
    texts = np.array([[1, i % 5 + 2, 3] for i in range(20)] + [[1]], dtype=object)[:20]
    labels = np.arange(20) % 2
    return npz(x_train=texts, y_train=labels, x_test=texts, y_test=labels)


def read_table(path):
    frame = read_frame(path)
    target = str(frame.columns[-1])
    training, test = split_table(frame, target)
    assert np.isfinite(training.x).all()
    assert np.isfinite(test.x).all()


def read_columns(path):
    columns = Columns.load(path)
    cells = {"number": "1", "bool": "True"}
    frame = pandas.DataFrame({c.name: [c.values[0] if c.values else cells[c.kind]] for c in columns.columns})
    assert np.isfinite(columns.encode(frame)).all()


def read_vocabulary(path):
    vocabulary, num_words, labels = Vocabulary.load(path)
    assert len(vocabulary.encode(["good"])) == 2
    assert num_words > 4
    assert len(labels) == 2


def read_run_folder(path):
    if path.name == "history.csv":
        curves = {"a": read_curves(path.parent), "b": read_curves(path.parent)}
        common_metrics(curves)
        return
    run = read_run(path.parent)
    assert all(np.isfinite(value) for value in run.metrics.values())
    differing([run, run]), metric_names([run]), resumable_metrics(path.parent)


def read_manifest(path):
    Manifest(path.parent).go_on()


def read_checkpoint(path):
    if (stored := CheckpointFolder(path.parent).newest()) is not None:
        assert isinstance(stored[1], dict)


def checkpoint_bytes(folder):
    CheckpointFolder(folder).write(
        1, {"format": 1, "list": [1, (2.5, None)], "array": np.arange(3), "dict": {"a": {1}}}
    )
    return (folder / "checkpoint-000001.npz").read_bytes()


def model_bytes(folder):
    model = boston_regressor(units=(2,))
    model.save(folder / "model.keras")
    return (folder / "model.keras").read_bytes()


def saved_columns():
    frame = pandas.read_csv(io.BytesIO(TABLE))
    return Columns.fit(frame, "price", missing="median")


def result_bytes(folder, name, of_search=False):
    """Save a result in ``folder`` and return the content of its file ``name``."""
    x = np.arange(40, dtype="float32").reshape(20, 2)
    result = cross_validate(compiled, x, x[:, 0], folds=2, epochs=1, engine="fit", verbose=0)
    if of_search:
        outer = [OuterFold({"rate": 0.5}, 1, 1.0, 2.0, np.arange(10), np.zeros((10, 1)))]
        ones = np.ones(1, "int64")
        params, scores = [{"rate": 0.5}], result.scores[None]
        result = SearchResult(params, scores, ones, ones / 2, 0, result.models[0], result, 1.5, outer)
    result.save(folder / "result")
    for path in (folder / "result").iterdir():
        path.rename(folder / path.name)
    return (folder / name).read_bytes()


def digit_bytes(folder):
    """Write tiny files of MNIST in ``folder``, and return the content of the training labels."""
    raw = folder / "MNIST/raw"
    raw.mkdir(parents=True)
    for name, count in (("train", 6), ("t10k", 3)):
        images, labels = np.zeros((count, 28, 28), "uint8"), np.arange(count, dtype="uint8")
        for path, array in ((f"{name}-images-idx3-ubyte", images), (f"{name}-labels-idx1-ubyte", labels)):
            sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
            (raw / path).write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())
    return (raw / "train-labels-idx1-ubyte").read_bytes()


def compiled():
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse", metrics=["mae"])
    return model


def as_json(content):
    return json.dumps(content, indent=1).encode()


CONFIG = {"name": "job", "version": __version__, **flat(Settings())}
METRICS = {"status": "running", "test_loss": 0.5, "seconds_total": 1.5, "confusion": [[1, 2]], "sizes": {"train": 3}}
MANIFEST = {"written_by": "k3torch", "version": "1", "files": ["config.json", "loss.png", "sub/a.png"]}

# What is read, the file's name, the files that are damaged, and what else is in the folder.
READERS = {
    "csv": (read_table, "t.csv", lambda _: table_files()[".csv"], {}),
    "excel": (read_table, "t.xlsx", lambda _: table_files()[".xlsx"], {}),
    "parquet": (read_table, "t.parquet", lambda _: table_files()[".parquet"], {}),
    "reviews": (lambda path: load_reviews(str(path), 50), "r.csv", lambda _: [REVIEWS], {}),
    "review arrays": (lambda path: load_reviews(str(path), 50), "r.npz", lambda _: [review_arrays()], {}),
    "columns": (read_columns, "columns.json", lambda folder: [saved(saved_columns(), folder)], {}),
    "vocabulary": (
        read_vocabulary, "vocabulary.json",
        lambda _: [as_json({"num_words": 9, "labels": ["a", "b"], "words": ["good", "bad"]})], {},
    ),
    "settings": (lambda path: load_settings(Settings, path.parent), "config.json", lambda _: [as_json(CONFIG)], {}),
    "config": (read_run_folder, "config.json", lambda _: [as_json(CONFIG)], {"metrics.json": as_json(METRICS)}),
    "metrics": (read_run_folder, "metrics.json", lambda _: [as_json(METRICS)], {"config.json": as_json(CONFIG)}),
    "history": (read_run_folder, "history.csv", lambda _: [b"epoch,loss,val_loss\n1,0.5,0.4\n2,0.25,\n"], {}),
    "manifest": (read_manifest, "manifest.json", lambda _: [as_json(MANIFEST)], {"loss.png": b"plot"}),
    "checkpoint": (read_checkpoint, "checkpoint-000001.npz", lambda folder: [checkpoint_bytes(folder)], {}),
    "result": (
        lambda path: CrossValidation.load(path.parent), "cross_validation.json",
        lambda folder: [result_bytes(folder, "cross_validation.json")], {},
    ),
    "search": (
        lambda path: SearchResult.load(path.parent), "search.json",
        lambda folder: [result_bytes(folder, "search.json", of_search=True)], {},
    ),
    "search arrays": (
        lambda path: SearchResult.load(path.parent), "candidates.npz",
        lambda folder: [result_bytes(folder, "candidates.npz", of_search=True)], {},
    ),
    "result arrays": (
        lambda path: CrossValidation.load(path.parent), "arrays.npz",
        lambda folder: [result_bytes(folder, "arrays.npz")], {},
    ),
    "digits": (
        lambda path: load_digits(path.parents[2]), "MNIST/raw/train-labels-idx1-ubyte",
        lambda folder: [digit_bytes(folder)], {},
    ),
    "model": (load_model, "model.keras", lambda folder: [model_bytes(folder)], {}),
}  # fmt: skip


def saved(columns, folder):
    columns.save(folder / "columns.json")
    return (folder / "columns.json").read_bytes()


def tried(inputs, examples, function):
    """Call ``function`` with so many inputs."""
    decorated = given(inputs)(function)
    settings(
        max_examples=examples, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )(decorated)()


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_or_refused_in_one_line(name, examples, tmp_path, cache, capsys):
    read, file_name, valid, others = READERS[name]
    contents = valid(tmp_path)
    for other, content in others.items():
        (tmp_path / other).write_bytes(content)
    path = tmp_path / file_name
    path.write_bytes(contents[0])
    read(path)  # a valid file is read

    def reads(content):
        path.write_bytes(content)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read(path)
        except InputError as error:
            refused = str(error)
        else:
            return
        assert refused
        assert "\n" not in refused

    tried(damaged(contents), examples, reads)
    for other, content in others.items():
        assert (tmp_path / other).read_bytes() == content


WORDS = """--epochs --units --dropout --on --out --resume --force --table --rung --seed --device --learning-rate
--early-stopping --schedule --activation --format --best-checkpoint -- - --- --epochs= --epochs=3 --nix -h1 1 0 -1
3.5 nan 1e400 é None none [1,2] {} ~ .. cpu svg True off %d {0}"""
ARGUMENTS = [*WORDS.split(), "", " ", "a b", "\n", "\x1b[31m", "9" * 400, "x" * 300]


def test_a_command_line_is_parsed_or_refused_in_one_line(examples, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def parses(arguments):
        code = None
        try:
            parsed = cli.parse(Settings, "What it does.", arguments)
        except SystemExit as stop:
            code = stop.code
        said = capsys.readouterr().err
        if code is None:
            assert isinstance(parsed, Settings)
        else:
            assert code == 2
            assert said.startswith("error: ")
            assert said.count("\n") == 1

    tried(
        st.lists(st.one_of(st.sampled_from(ARGUMENTS), st.text(st.characters(codec="utf-8"), max_size=6)), max_size=6),
        examples,
        parses,
    )
    assert list(tmp_path.iterdir()) == []
