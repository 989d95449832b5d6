"""The labels of reviews as users write them, read as 0 for negative and 1 for positive."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
import re
import reprlib

from k3torch.errors import InputError

DEFAULT_NAMES = ("negative", "positive")
_PAIRS = (DEFAULT_NAMES, ("neg", "pos"), ("0", "1"), ("-1", "1"), ("false", "true"))
_LISTED = 10  # values in a message


@dataclass(frozen=True)
class ReviewFormat:
    """What the caller says about a table or a folder of reviews. None: to be recognised.

    Attributes:
        text_column: name of the column of texts.
        label_column: name of the column of labels.
        labels: the negative and the positive label; each may be several, joined by commas. Other labels are left out.
            Empty: to be recognised.
    """

    text_column: str | None = None
    label_column: str | None = None
    labels: Sequence[str] = ()


@dataclass(frozen=True)
class Labels:
    """Two labels, or two groups of labels.

    Attributes:
        names: how to call the negative and the positive label.
        targets: 0 or 1 for each label, normalized.
    """

    names: tuple[str, str]
    targets: Mapping[str, int]

    def target(self, label: str) -> int | None:
        """Return 0 for a negative label, 1 for a positive one, and None for any other."""
        return self.targets.get(normalized(label))


def normalized(label: str) -> str:
    """Return a label in lower case, without surrounding spaces and quotes, and with "1" for "1.0"."""
    return re.sub(r"^([+-]?\d+)\.0+$", r"\1", label.strip().strip("\"'").strip().casefold())


def find_labels(found: Collection[str], chosen: Sequence[str], where: str, others_allowed: bool = False) -> Labels:
    """Tell which of the labels in a file are negative and positive.

    Args:
        found: all labels of the file, each at least once.
        chosen: the negative and the positive label; empty for 0 and 1, -1 and 1, neg and pos, negative and positive,
            or false and true, whichever are found.
        where: how messages call the place of the labels.
        others_allowed: whether labels beside a recognised pair are left out, instead of refused.

    Raises:
        InputError: if no pair is recognised, or ``chosen`` does not name labels that are there.
    """
    by_value = {normalized(label): label.strip() for label in found}
    if len(chosen):
        return _chosen(chosen, by_value, where)
    for pair in _PAIRS:
        if set(pair) == set(by_value) or (others_allowed and set(pair) <= set(by_value)):
            return Labels(DEFAULT_NAMES, {value: target for target, value in enumerate(pair)})
    if len(by_value) < 2:
        raise InputError(f"expected two labels in {where}, found only {listed(by_value.values())}")
    raise InputError(
        f"expected labels as two of those in {where}, the negative one first, got none: "
        f"it has {listed(by_value.values())}"
    )


def _chosen(chosen: Sequence[str], by_value: Mapping[str, str], where: str) -> Labels:
    if len(chosen) != 2:
        raise InputError(f"expected labels as two, the negative one first, got {listed([*chosen])}")
    groups = [[normalized(label) for label in name.split(",")] for name in chosen]
    if set(groups[0]) & set(groups[1]):
        raise InputError(f"expected labels as two different values, got {chosen[0]!r} and {chosen[1]!r}")
    if missing := [label for group in groups for label in group if label not in by_value]:
        raise InputError(
            f"expected labels as those in {where}, got {listed(missing)}: it has {listed(by_value.values())}"
        )
    targets = {label: target for target, group in enumerate(groups) for label in group}
    return Labels((chosen[0].strip(), chosen[1].strip()), targets)


def listed(values: Iterable[str]) -> str:
    """Return values for a message: short ones first, each cut to 30 characters, and not too many."""
    ordered = sorted(values, key=lambda value: (len(value), value))
    shown = ", ".join(map(reprlib.repr, ordered[:_LISTED]))
    return f"{shown} and {len(ordered) - _LISTED:,} others" if len(ordered) > _LISTED else shown or "none"
