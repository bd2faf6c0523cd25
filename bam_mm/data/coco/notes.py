"""What a reader changed or counted, with numbers, for one line of a log."""

from __future__ import annotations

from collections import Counter


class Notes:
    """Counts by description.

    Attributes:
        counts: Number by (subject, description), such as ``("annotations", "without area")``.
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()

    def add(self, subject: str, text: str, number: int = 1) -> None:
        """Count ``number`` more of a subject with a description; 0 leaves no trace."""
        if number:
            self.counts[subject, text] += number

    def __str__(self) -> str:
        # One subject is named once, with its descriptions behind.
        groups: dict[str, list[str]] = {}
        for (subject, text), number in self.counts.items():
            groups.setdefault(subject, []).append(f"{number:,} {text}")
        return "; ".join(f"{subject}: {', '.join(texts)}" for subject, texts in groups.items())

    def __bool__(self) -> bool:
        return bool(self.counts)
