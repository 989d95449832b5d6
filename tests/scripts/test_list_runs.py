"""list_runs.py: a table for each kind of run, what is left out, bad input."""

import json
import os


def make(folder, name, status, begun, metrics=None, **settings):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"name": name, "version": "1", "out": str(folder), **settings}))
    os.utime(folder / "config.json", (begun, begun))
    (folder / "metrics.json").write_text(json.dumps({"status": status, **(metrics or {})}))


def test_runs_are_listed_with_status_metrics_and_settings(tmp_path, call):
    make(tmp_path / "second", "imdb", "running", 2, epochs=5, seed=0)
    make(tmp_path / "first", "imdb", "complete", 1, {"test_loss": 0.25, "seconds_total": 3}, epochs=4, seed=0)
    make(tmp_path / "other", "digits", "failed", 3, epochs=4)
    make(tmp_path / "damaged", "digits", "odd", 4)
    code, said, errors = call("list_runs.py", tmp_path)
    assert code == 0
    lines = [line.split() for line in said.splitlines() if line.strip() and "─" not in line]
    assert lines == [
        ["digits:", "1", "run"],
        ["run", "status"],
        ["other", "failed"],
        ["imdb:", "2", "runs"],
        ["run", "status", "test", "loss", "epochs"],
        ["first", "complete", "0.25", "4"],
        ["second", "killed", "5"],
    ]
    assert errors == (
        f"left out: expected a run folder, with config.json and metrics.json, got {tmp_path}/damaged: the status "
        "'odd' in metrics.json\n"
    )


def test_settings_for_which_there_is_no_column_are_named(tmp_path, call):
    for number in (1, 2):
        make(tmp_path / str(number), "imdb", "complete", number, **{f"setting_{i}": number for i in range(5)})
    code, said, _ = call("list_runs.py", tmp_path, "--settings", 3)
    assert code == 0
    assert "They differ in --setting-3, --setting-4 too: k3torch compare shows the values." in " ".join(said.split())
    code, said, _ = call("list_runs.py", tmp_path, "--settings", 5)
    assert "They differ" not in said


def test_columns_are_those_that_the_terminal_has_room_for(tmp_path, call, monkeypatch):
    for number in (1, 2):
        metrics = {"test_accuracy": 0.5, "test_loss": 0.25}
        settings = {"table": f"/a/long/path/to/the/table/{number}.csv", "batch_size": 8 * number, "seed": number}
        make(tmp_path / f"imdb-20261126-11040{number}", "imdb", "interrupted", number, metrics, **settings)
    shown = {}
    for width in (120, 80, 60):
        monkeypatch.setenv("COLUMNS", str(width))
        _, said, _ = call("list_runs.py", tmp_path)
        assert all(len(line) <= width for line in said.splitlines())
        shown[width] = [" ".join(line.split()) for line in said.splitlines() if line.strip() and "─" not in line][1:]
    first, second = (f"imdb-20261126-11040{number} interrupted 0.5" for number in (1, 2))
    path = "/a/long/path/to/the/table/"
    assert shown == {
        120: [
            "run status test accuracy test loss table batch size seed",
            f"{first} 0.25 {path}1.csv 8 1",
            f"{second} 0.25 {path}2.csv 16 2",
        ],
        80: [
            "test test batch",
            "run status accuracy loss size seed",
            f"{first} 0.25 8 1",
            f"{second} 0.25 16 2",
            "They differ in --table too: k3torch compare shows the values.",
        ],
        60: [
            "test batch",
            "run status accuracy size",
            f"{first} 8",
            f"{second} 16",
            "They differ in --table, --seed too: k3torch compare shows",
            "the values.",
        ],
    }


def test_bad_input_is_one_line(tmp_path, call):
    for arguments, said in (
        ([tmp_path], f"error: expected run folders in {tmp_path}, found none: give the folder that contains them\n"),
        (
            [tmp_path / "no"],
            f"error: expected a folder with run folders, got {tmp_path}/no: No such file or directory\n",
        ),
        ([tmp_path, "--metrics", 0], "error: expected --metrics as a whole number of 1 or more, got 0\n"),
    ):
        assert call("list_runs.py", *arguments) == (2, "", said)
