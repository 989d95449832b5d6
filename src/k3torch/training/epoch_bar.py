"""A progress bar over epochs: on a terminal, in a notebook, or as lines of a log."""

from collections.abc import Callable, Iterable
import io
import math
import sys
import time
from typing import Any, ClassVar, Literal, Self

from k3torch import interrupts, processes
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task
from rich.table import Column
from rich.text import Text

Verbose = Literal["auto", 0, 1]
Place = Literal["terminal", "notebook", "log"]

LONG_EPOCH = 2.0  # seconds after which the number of the batch is shown
_INTERVAL = {"terminal": math.inf, "notebook": 0.2, "log": 10.0}  # seconds; on a terminal a thread of rich draws
# JupyterLab wraps and indents what has no style of its own; without padding a scroll bar hides underscores.
_STYLE = (
    "white-space: pre; overflow-x: auto; line-height: normal; margin: 0; padding: 0 0 3px; "
    "font-family: Menlo, 'DejaVu Sans Mono', monospace"
)
_NOTEBOOK_WIDTH = 80  # characters, which fit beside JupyterLab's side bar


def place() -> Place:
    """Return where progress is shown: a notebook by rich's rule, a terminal if standard error is one, else a log."""
    console = Console(stderr=True)
    if console.is_jupyter:
        return "notebook"
    is_terminal = sys.stderr is not None and sys.stderr.isatty() and not console.is_dumb_terminal
    return "terminal" if is_terminal else "log"


class EpochBar:
    """A progress bar over epochs, with metrics and the time left, then the time taken.

    On a terminal it is drawn on standard error. In Jupyter and Colab it is one output of the cell, which is updated in
    place, and stored in its last state. Elsewhere nothing is drawn. One bar is drawn at a time: a bar that is opened
    while another one is open is not drawn.

    Args:
        title: of the bar; the attribute may be changed.
        total: the number of epochs; the attribute may be changed.
        verbose: "auto" as above; 0 shows nothing, notices included; 1 as "auto", but where there is neither a terminal
            nor a notebook, the bar is printed on standard error as a line, every 10 seconds and when it is closed.
    """

    _drawn: ClassVar["EpochBar | None"] = None

    def __init__(self, title: str, total: int, verbose: Verbose = "auto"):
        self.title, self.total, self.done = title, total, 0
        self._verbose = verbose
        self._status, self._metrics, self._notices = "", dict[str, float](), list[str]()
        self._batch: int | None = None  # of training, from 0; None between epochs
        self._last_batch: int | None = None  # of the epoch before
        self._validation_batch: int | None = None
        self._batches: int | None = None
        self._epoch_began = self._next_drawing = math.inf
        self._closed = False

    @classmethod
    def any_drawn(cls) -> bool:
        """Return whether a bar is drawn now."""
        return cls._drawn is not None

    def open(self) -> None:
        """Draw the bar from now on."""
        interrupts.check()
        self._place = place()
        shown = self._verbose == 1 or (self._verbose == "auto" and self._place != "log")
        if not shown or EpochBar._drawn is not None or not processes.is_main():
            return
        self._drawing, self._display, self._closed = _Drawing(self), _Display(), False
        if self._place == "terminal":
            self._drawing.start()
        elif self._place == "notebook":
            self._draw()
        else:
            self._next_drawing = time.monotonic() + _INTERVAL["log"]
        EpochBar._drawn = self  # last, so that an interrupt before this line leaves no bar that is never closed

    def close(self) -> None:
        """Leave the bar in its last state; remove it if it shows nothing. May be called twice."""
        if EpochBar._drawn is not self:
            return
        EpochBar._drawn, self._closed = None, True
        if self._place == "terminal":
            self._drawing.live.transient = self._is_empty()
            self._drawing.stop()
        else:
            self._draw()
        self._next_drawing = math.inf

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def status(self, text: str) -> None:
        """Show in a few words what is being done, in place of metrics, until the first batch or epoch is complete."""
        interrupts.check()
        self._status = text
        if EpochBar._drawn is self and self._place == "notebook":
            self._draw()

    def notice(self, line: str) -> None:
        """Show a line below the bar, or print it on standard error if the bar is not drawn."""
        if EpochBar._drawn is self and self._place != "log":
            self._notices.append(line)
            self._draw_if_due()
        elif self._verbose != 0 and processes.is_main():
            print(line, file=sys.stderr)

    def begin_epoch(self, done: int, batches: int | None) -> None:
        """Count ``done`` epochs as complete, and begin one of so many batches; None: unknown, or as many as before."""
        if batches is None and self._last_batch is not None:
            batches = self._last_batch + 1
        self.done, self._batches, self._batch, self._validation_batch = done, batches, None, None
        self._epoch_began = time.monotonic()

    def begin_batch(self, batch: int, *, validation: bool = False) -> None:
        """Begin batch ``batch``, counted from 0."""
        if validation:
            self._validation_batch = batch
        else:
            self._batch = batch
        self._draw_if_due()

    def advance(self, metrics: dict[str, float]) -> None:
        """Count one epoch and show its metrics, name to value."""
        interrupts.check()
        self.done += 1
        self._metrics, self._status, self._last_batch, self._batch = metrics, "", self._batch, None
        self._draw_if_due()

    def position(self) -> float:
        """Return the number of epochs that are complete, with the fraction of the one that is not."""
        within = self._batch / self._batches if self._batch is not None and self._batches else 0
        return min(self.total, self.done + within)

    def count(self) -> str:
        """Return the complete epochs and all of them, as "3/20"."""
        return f"{self.done:>{len(str(self.total))}}/{self.total}"

    def text(self) -> str:
        """Return the status or the metrics, and the batch if the epoch has lasted long."""
        if self._status and not self._batch:
            return self._status
        batch = self._batch_text()
        return "  ".join(filter(None, (shortened(self._metrics, 1 if batch else 2), batch)))

    def _batch_text(self) -> str:
        if self._batch is None or self._closed or time.monotonic() - self._epoch_began < LONG_EPOCH:
            return ""
        if self._validation_batch is not None:
            return f"validation batch {self._validation_batch + 1}"
        return f"batch {self._batch + 1}" + (f"/{self._batches}" if self._batches else "")

    def notices(self) -> list[str]:
        """Return the lines below the bar."""
        return self._notices

    def time(self, task: Task) -> str:
        """Return the time left, or the time taken once the bar is closed."""
        if self._closed:
            return _clock(task.elapsed)
        return f"{_clock(task.time_remaining if self.position() else None)} left"

    def _is_empty(self) -> bool:
        return not self.done and not self._notices

    def _draw_if_due(self) -> None:
        if time.monotonic() >= self._next_drawing:
            self._draw()

    def _draw(self) -> None:
        """Draw the bar once, in a notebook or a log."""
        self._next_drawing = time.monotonic() + _INTERVAL[self._place]
        if self._place == "notebook":
            self._display.show("" if self._closed and self._is_empty() else self._drawing.get_renderable())
        elif not self._is_empty():
            print(self._drawing.line(), file=sys.stderr)


def shortened(metrics: dict[str, float], most: int = 2) -> str:
    """Return the loss and the first metric, training/validation, so that a line fits in 80 columns."""
    names = sorted(
        (n for n in metrics if n.removeprefix("val_") == n or n[4:] not in metrics), key=lambda name: name != "loss"
    )
    texts = []
    for name in names[:most]:
        value, validated = f"{metrics[name]:.3f}", metrics.get(f"val_{name}")
        texts.append(f"{name} {value}" if validated is None else f"{name} {value}/{validated:.3f}")
    return "  ".join(texts)


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return "-:--"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class _Text(ProgressColumn):
    """A column of the bar."""

    def __init__(self, text: Callable[[Task], str], style: str = ""):
        super().__init__(table_column=Column(no_wrap=True))
        self._text, self._style = text, style

    def render(self, task: Task) -> Text:
        return Text(self._text(task), self._style)


class _Drawing(Progress):
    """The bar as rich draws it: one line, and the notices below."""

    def __init__(self, bar: EpochBar):
        self._bar = bar
        super().__init__(
            _Text(lambda _: bar.title, "bold"),
            BarColumn(bar_width=None, style="grey50"),  # the width that the other columns leave; seen on white, black
            _Text(lambda _: bar.count()),
            _Text(lambda _: bar.text()),
            _Text(bar.time),
            console=Console(stderr=True),
            refresh_per_second=5,
            expand=True,
            redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),  # what is printed goes above the bar
        )
        self.add_task("", total=bar.total)

    def get_renderables(self) -> Iterable[RenderableType]:
        """Bring the bar up to date."""
        for task in self.task_ids:  # none while Progress itself is being made
            self.update(task, total=self._bar.total, completed=self._bar.position())
        yield from super().get_renderables()
        yield from (Text(notice, "dim") for notice in self._bar.notices())

    def line(self) -> str:
        """Return the bar as text."""
        self.get_renderable()
        bar = self._bar
        return "  ".join(filter(None, (bar.title, bar.count(), bar.text(), bar.time(self.tasks[0]))))


class _Display:
    """An output of a notebook's cell, updated in place. It needs no widgets, which are not stored in the notebook."""

    _handle: Any = None

    def show(self, content: RenderableType) -> None:
        """Replace the output."""
        from IPython.display import display  # it is running: no dependency

        console = Console(
            file=io.StringIO(), record=True, width=_NOTEBOOK_WIDTH, force_jupyter=False, color_system="truecolor"
        )
        console.print(content)
        html = console.export_html(inline_styles=True, code_format=f'<pre style="{_STYLE}">{{code}}</pre>', clear=False)
        output = {"text/plain": console.export_text().strip(), "text/html": html if content else ""}
        if self._handle is None:
            self._handle = display(output, raw=True, display_id=True)
        else:
            self._handle.update(output, raw=True)
