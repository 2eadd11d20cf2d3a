"""Scores files of text, each of which is one item, with a model of texts of any format.

`--encoding` says how the files are encoded; UTF-8 is taken, and UTF-16 with a byte-order mark. `--probabilities all` adds the probability
of each class, `off` leaves out that of the prediction; `--top 3` adds the two next likeliest classes, with theirs.

A file that can't be read, or that the model refuses, fails alone: it is missing from what run() returns, and the log says which and why.
"""

import codecs

import _scoring as scoring
import numpy as np
import pandas as pd


def init():
    """Load the model. Raises what says why it can't be loaded, ValueError where it takes no text."""
    global model, arguments  # noqa: PLW0603 - this is how an entry script keeps what init() made
    arguments = scoring.arguments_of(lambda parser: parser.add_argument("--encoding", default="utf-8"))
    codecs.lookup(arguments.encoding)
    model = scoring.load_model(arguments)
    if model.wants != "texts" and not (model.wants == "frame" and len(model.names) == 1):
        raise ValueError("the model does not take a single text: score_tables.py scores rows of a table")


def run(mini_batch):
    """Score a mini-batch: a list of paths of files. Returns a DataFrame with a row for each, `file` first, without those that failed."""
    texts, places = [], []
    for place, path in enumerate(mini_batch):
        try:
            texts.append(scoring.text_of(scoring.content_of(path), arguments.encoding))
            places.append(place)
        except ValueError as error:
            scoring.file_failed(path, error)
    data = texts if model.wants == "texts" else pd.DataFrame({model.names[0]: texts})

    def failed(place, error):
        scoring.file_failed(mini_batch[place], scoring.reason_of(error))

    done, scores = scoring.joined(scoring.score(model.predict, data, np.array(places, dtype=np.int64), failed))
    return scoring.frame_of_files(mini_batch, done, scores, arguments)
