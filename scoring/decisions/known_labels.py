"""What is known of past decisions: the newest verdict on each, in the form that the feature state takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from scoring.models import Label, LabelKind
from scoring.truth import FRAUD_KINDS

# Each chunk is applied between two batches, which wait for it.
_CHUNK = 500


@dataclass(frozen=True)
class Truths:
    """Verdicts on n decisions, and their canonical texts: fraud is uint8 [n]; `last_label_id` is the newest label read."""

    texts: list[bytes]
    decision_ids: list[str]
    fraud: np.ndarray
    last_label_id: int


def read_truths_after(last_label_id: int) -> Iterator[Truths]:
    """Yield, in chunks, the present verdict on each decision that got a label since `last_label_id`.

    The label with the latest `reported_at` counts; a dispute is not a verdict and takes none back.
    """
    while True:
        new = list(Label.objects.filter(id__gt=last_label_id).order_by("id").values_list("id", "decision_id")[:_CHUNK])
        if not new:
            return
        last_label_id = new[-1][0]
        newest: dict[int, tuple] = {}
        rows = (
            Label.objects.filter(decision_id__in={seq for _, seq in new}, id__lte=last_label_id)
            .exclude(label=LabelKind.DISPUTE)
            .order_by("reported_at", "id")
            .values_list("decision_id", "label", "decision__decision_id", "decision__transaction")
        )
        for seq, label, decision_id, text in rows:
            newest[seq] = (label, decision_id, text)
        yield Truths(
            texts=[text.encode() for _, _, text in newest.values()],
            decision_ids=[decision_id for _, decision_id, _ in newest.values()],
            fraud=np.array([label in FRAUD_KINDS for label, _, _ in newest.values()], np.uint8),
            last_label_id=last_label_id,
        )
