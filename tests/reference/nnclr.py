"""NNCLR's loss and queue in plain loops (arXiv 2104.14548, algorithm 1)."""

import torch


class SlowQueue:
    """First-in-first-out queue, as a list of rows that is overwritten from its start again.

    A batch that passes the end fills the rows up to the end; its other rows are dropped, and the
    next batch starts at the first row.

    Args:
        rows: (Q, D) initial rows.
        start: Index of the row that the next batch overwrites first.
    """

    def __init__(self, rows, start=0):
        self.rows = [row.detach().clone() for row in rows]
        self.start = start

    def nearest(self, query):
        """Return the row with the largest cosine similarity with a (D,) query."""
        best, best_value = None, -2.0
        for row in self.rows:
            value = _dot(_unit(row), _unit(query.detach())).item()
            if value > best_value:
                best, best_value = row, value
        return best

    def add(self, batch):
        """Overwrite the oldest rows with (B, D) rows."""
        for row in batch:
            self.rows[self.start] = row.detach().clone()
            self.start += 1
            if self.start == len(self.rows):
                self.start = 0
                break

    def table(self):
        """Return the (Q, D) rows."""
        return torch.stack(self.rows)


def slow_nnclr_loss(z, p, queue, *, temperature, negatives):
    """Compute the loss of a batch, and add the rows of the second view to the queue.

    Args:
        z: Pair of (B, D) projections of the two views, which get no gradient through this loss.
        p: Pair of (B, D) predictions of the two views.
        queue: :class:`SlowQueue`, which both views are looked up in before it is changed.
        temperature: Temperature of the softmax.
        negatives: ``both``: a row is compared with all other rows of neighbours and predictions;
            ``other``: a neighbour is compared with the predictions of the other view.
    """
    neighbours = [[queue.nearest(row) for row in view] for view in z]
    form = {"both": slow_nt_xent, "other": _one_way}[negatives]
    loss = (form(neighbours[0], p[1], temperature) + form(neighbours[1], p[0], temperature)) / 2
    queue.add(z[1])
    return loss


def slow_nt_xent(neighbours, predictions, temperature):
    """Mean over 2 B rows of the cross-entropy of the partner among all rows but the row itself.

    This is also the loss of SimCLR (arXiv 2002.05709, section 2.1) for two views of B images.
    """
    batch = len(neighbours)
    rows = [_unit(row) for row in [*neighbours, *predictions]]
    total = 0.0
    for i, row in enumerate(rows):
        partner = (i + batch) % (2 * batch)
        logits = {j: _dot(row, other) / temperature for j, other in enumerate(rows) if j != i}
        total = total + _log_sum_exp(list(logits.values())) - logits[partner]
    return total / (2 * batch)


def _one_way(neighbours, predictions, temperature):
    """Mean over B neighbours of the cross-entropy of the own prediction among all predictions."""
    keys = [_unit(row) for row in predictions]
    total = 0.0
    for i, row in enumerate(neighbours):
        logits = [_dot(_unit(row), key) / temperature for key in keys]
        total = total + _log_sum_exp(logits) - logits[i]
    return total / len(neighbours)


def _dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def _unit(row):
    return row / _dot(row, row).sqrt()


def _log_sum_exp(logits):
    largest = max(x.item() for x in logits)
    return largest + sum((x - largest).exp() for x in logits).log()
