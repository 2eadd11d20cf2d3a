"""Scores the rows of tables with a model of any format: a DataFrame in, one with the predictions out.

The model's columns are taken by name; where none of its names is in the table, by their order, which the log warns of. A column that
is called otherwise is chosen with `--input MODEL_INPUT=COLUMN`, by number (`1=age`) where the model's inputs have no names, as
`text=COLUMN` for a model of texts. `--by-order` ignores the names. `--keep COLUMN` puts columns of the table beside the predictions.

`--probabilities all` adds the probability of each class, `off` leaves out that of the prediction; `--top 3` adds the two next likeliest
classes, with theirs.

A row that the model refuses fails alone: it is missing from what run() returns, and the log says which and why, with what `--keep` keeps
of it. Whatever is wrong with the whole table, such as a column that is missing, fails the mini-batch.
"""

import logging

import _scoring as scoring
import numpy as np

log = logging.getLogger(__name__)


def init():
    """Load the model. Raises what says why it can't be loaded."""
    global model, arguments  # noqa: PLW0603 - this is how an entry script keeps what init() made

    def own(parser):
        parser.add_argument("--input", action="append", default=[])
        parser.add_argument("--keep", action="append", default=[])
        parser.add_argument("--by-order", action="store_true")

    arguments = scoring.arguments_of(own)
    model = scoring.load_model(arguments)
    if model.wants == "tensor":
        raise ValueError("the model takes images or other tensors, not rows of a table; score_images.py scores files of images")


def run(mini_batch):
    """Score a mini-batch: a DataFrame. Returns one with a row for each of its rows, without those that failed; its index says which."""
    table = mini_batch.reset_index(drop=True)
    columns = list(map(str, table.columns))
    at = scoring.places_by_name(columns)
    kept = [scoring.place_of(column, columns, at) for column in arguments.keep]
    places = scoring.columns_for(model, columns, arguments.input, by_order=arguments.by_order, kept=arguments.keep)
    data, odd = scoring.data_for(model, table, places)

    def failed(row, reason):
        log.warning("Row %d of %d in its mini-batch failed: %s", row + 1, len(table), reason)
        if kept:
            log.info("Row %d: %s", row + 1, ", ".join(f"{columns[place]} {str(table.iat[row, place])[:100]!r}" for place in kept))

    rows = np.arange(len(table))
    if odd:
        for row in sorted(odd):
            failed(row, odd[row])
        rows = np.setdiff1d(rows, np.fromiter(odd, dtype=np.int64))
        data = scoring.rows_of(data, rows)
    results = scoring.score(model.predict, data, rows, lambda row, error: failed(row, scoring.refusal(error, table.iloc[row, places])))
    done, scores = scoring.joined(results)
    whole = len(done) == len(table)
    beside = None if not kept else table.iloc[:, kept] if whole else table.iloc[done, kept]
    return scoring.frame_of(scores, arguments, kept=beside, index=None if whole else done)
