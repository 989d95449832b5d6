"""A page and a JSON API for the model of a run folder: film reviews or tables."""

from collections.abc import Sequence
import json
from pathlib import Path
import tempfile
import threading
from typing import Annotated, Any

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse
from k3torch.data.columns import COLUMNS
from k3torch.data.review_features import VOCABULARY
from k3torch.data.table_files import read_frame_and_cells
from k3torch.data.text import tokenize
from k3torch.errors import InputError
from k3torch.serving.limits import MAX_CHARACTERS, MAX_ROWS, MAX_TEXTS, MAX_TOTAL, LimitedBody, answer_errors
from k3torch.serving.reviews import Classifier
from k3torch.serving.tables import TableModel
import pandas as pd
from pydantic import BaseModel, Field, StringConstraints
from starlette.concurrency import run_in_threadpool
from starlette.middleware.trustedhost import TrustedHostMiddleware

PAGES = Path(__file__).parent / "pages"
TOP_WORDS = 10
Text = Annotated[str, StringConstraints(max_length=MAX_CHARACTERS)]


class Reviews(BaseModel):
    """A request for reviews."""

    texts: list[Text] = Field(min_length=1, max_length=MAX_TEXTS)


class Rows(BaseModel):
    """A request for rows of a table: a value for the name of each column."""

    rows: list[dict[str, str | float | bool | None]] = Field(min_length=1, max_length=MAX_ROWS)


def make_app(run: Path, hosts: Sequence[str] = ("127.0.0.1", "localhost")) -> FastAPI:
    """Return the app for a run folder; it loads the model once.

    Args:
        run: of train-imdb, kfold-boston, kfold-table or search-boston.
        hosts: names in the address by which the app may be called; "*" allows all. So a page from elsewhere cannot
            reach it under a name of its own.

    Raises:
        InputError: for anything but such a folder.
    """
    app = FastAPI(title="k3torch", docs_url=None, redoc_url=None)  # their pages load scripts from elsewhere
    app.add_middleware(LimitedBody)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    answer_errors(app)
    lock = threading.Lock()  # requests run in threads; a Keras model is used by one at a time
    if (run / VOCABULARY).is_file() and (run / "model.keras").is_file():
        _serve_reviews(app, Classifier(run), lock)
        _add_pages(app, "reviews")
    elif (run / COLUMNS).is_file() and (run / "model.keras").is_file():
        _serve_tables(app, TableModel(run), lock)
        _add_pages(app, "tables")
    else:
        raise InputError(
            f"expected a run folder with model.keras and {VOCABULARY} or {COLUMNS}, got {run}: a complete run of "
            "train-imdb, kfold-boston, kfold-table or search-boston writes them"
        )
    return app


def _add_pages(app: FastAPI, name: str) -> None:
    for route, file, kind in (
        ("/", f"{name}.html", "text/html; charset=utf-8"),
        ("/page.js", f"{name}.js", "text/javascript; charset=utf-8"),
        ("/style.css", "style.css", "text/css; charset=utf-8"),
    ):
        app.add_api_route(route, _sender(PAGES / file, kind), include_in_schema=False, response_model=None)


def _sender(path: Path, kind: str) -> Any:
    def send() -> FileResponse:
        return FileResponse(path, media_type=kind)

    return send


def _serve_reviews(app: FastAPI, classifier: Classifier, lock: threading.Lock) -> None:
    @app.post("/predict")
    def predict(request: Reviews) -> dict[str, Any]:
        """Return the label of each review, its probability, and the words that changed the prediction most."""
        if wordless := [number for number, text in enumerate(request.texts, 1) if not tokenize(text)]:
            raise InputError(f"expected words in each text, got none in text {', '.join(map(str, wordless))}")
        if (total := sum(map(len, request.texts))) > MAX_TOTAL:
            raise InputError(f"expected texts of up to {MAX_TOTAL:,} characters in all, got {total:,}")
        with lock:
            found = classifier.predict(request.texts)
            words = [classifier.contributions(text, TOP_WORDS) for text in request.texts]
        answers = [
            {
                "label": one.label,
                "probability": one.probability,
                "known_words": one.known_words,
                "words": one.words,
                "contributions": [contribution._asdict() for contribution in contributions],
            }
            for one, contributions in zip(found, words, strict=True)
        ]
        return {"labels": classifier.labels, "predictions": answers}


def _serve_tables(app: FastAPI, table: TableModel, lock: threading.Lock) -> None:
    columns = table.columns

    def answer(frame: pd.DataFrame, cells: pd.DataFrame) -> JSONResponse:
        if len(frame) > MAX_ROWS:
            raise InputError(f"expected a table of up to {MAX_ROWS:,} rows, got {len(frame):,}")
        with lock:
            found = table.predictions(table.outputs(frame))
        content = {
            "columns": [*map(str, cells.columns), *found.columns],
            "added": len(found.columns),
            "ignored": columns.ignored(frame),
            "rows": json.loads(pd.concat([cells.reset_index(drop=True), found], axis=1).to_json(orient="values")),
        }
        return JSONResponse(content)

    @app.get("/columns")
    def describe() -> dict[str, Any]:
        """Return the columns that a table must have, and what is predicted."""
        needed = [{"name": column.name, "kind": column.kind, "values": column.values} for column in columns.columns]
        return {"target": columns.target, "classes": columns.classes, "columns": needed}

    @app.post("/predict")
    def predict(request: Rows) -> JSONResponse:
        """Return the rows with the prediction as a further column, and for classes their probabilities."""
        frame = pd.DataFrame(request.rows)
        return answer(frame, frame)

    @app.post("/table")
    async def upload(request: Request) -> JSONResponse:
        """Return the same for a table: a text file with separators, such as CSV, as the body of the request."""
        content = await request.body()
        return await run_in_threadpool(lambda: answer(*_read(content)))


def _read(content: bytes) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read a table of text; other formats, which are decompressed, are not read from uploads."""
    with tempfile.TemporaryDirectory(prefix="k3torch-") as folder:
        path = Path(folder) / "table.csv"
        path.write_bytes(content)
        try:
            return read_frame_and_cells(path)
        except InputError as error:
            line = str(error).replace(str(path), "the upload").replace(", or pass --separator", "")
            raise InputError(line) from error
