"""Every content but that of Columns.save is one line."""

import json

from k3torch.data.columns_json import read_columns
from k3torch.errors import InputError
import pytest

GOOD = {
    "format": "k3torch columns 1",
    "target": "price",
    "task": "regression",
    "classes": [],
    "columns": [
        {"name": "size", "kind": "number", "values": [], "median": 1.5},
        {"name": "city", "kind": "text", "values": ["Bonn", "Ulm"], "median": None},
    ],
    "missing": "median",
    "dropped": ["id"],
    "target_kind": "number",
}


def changed(**changes):
    return GOOD | changes


def with_column(**changes):
    return changed(columns=[GOOD["columns"][0] | changes])


def test_the_content_is_read(tmp_path):
    path = tmp_path / "columns.json"
    path.write_text(json.dumps(GOOD))
    assert read_columns(path) == GOOD


@pytest.mark.parametrize(
    "content",
    [
        [],
        None,
        changed(format="k3torch columns 2"),
        changed(target=1),
        changed(task="auto"),
        changed(task="classification"),
        changed(classes=["a", "b"]),
        changed(task="classification", classes=["a", "a"], target_kind="text"),
        changed(task="classification", classes=["a"], target_kind="text"),
        changed(columns=[]),
        changed(columns=["size"]),
        changed(columns=GOOD["columns"] * 2),
        changed(dropped=["price"]),
        changed(dropped=["size"]),
        changed(missing="drop"),
        changed(more=1),
        changed(target_kind="date"),
        changed(target_kind="text"),
        changed(target_kind="bool", task="classification", classes=["a", "b"]),
        {key: value for key, value in GOOD.items() if key != "target_kind"},
        {key: value for key, value in GOOD.items() if key != "missing"},
        with_column(kind="date"),
        with_column(values=["a"]),
        with_column(median=None),
        with_column(median="1"),
        with_column(median=float("nan")),
        with_column(median=1e999),
        with_column(kind="text", values=[], median=None),
        with_column(kind="text", values=["a", "a"], median=None),
        with_column(kind="text", values=["a"], median=1.0),
    ],
)
def test_other_content_is_one_line(tmp_path, content):
    path = tmp_path / "columns.json"
    path.write_text(json.dumps(content))
    with pytest.raises(
        InputError, match=r"^expected the columns of a table in .*columns\.json, as Columns\.save writes"
    ) as caught:
        read_columns(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_is_one_line(tmp_path, content):
    path = tmp_path / "columns.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"columns\.json, as Columns\.save writes them, got: "):
        read_columns(path)
    with pytest.raises(InputError, match="No such file"):
        read_columns(tmp_path / "none.json")
