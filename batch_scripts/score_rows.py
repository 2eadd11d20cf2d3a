"""Scores files of one row each with a model of any format: rows of numbers, and with a header of anything.

With a header (`--header auto` takes one where a file has two lines and the first is not all numbers; `on` and `off` say so) the model's
columns are taken by name, else by their order. `--input MODEL_INPUT=COLUMN` chooses a column that is called otherwise, `--by-order`
ignores the names. Fields are separated by commas, else by semicolons or tabs. An empty field is NaN.

`--probabilities all` adds the probability of each class, `off` leaves out that of the prediction; `--top 3` adds the two next likeliest
classes, with theirs.

A file that can't be read, or whose row the model refuses, fails alone: it is missing from what run() returns, and the log says which and
why.
"""

import csv
import io
import re

import _scoring as scoring
import numpy as np
import pandas as pd


def init():
    """Load the model. Raises what says why it can't be loaded, ValueError where it takes no rows."""
    global model, arguments  # noqa: PLW0603 - this is how an entry script keeps what init() made

    def own(parser):
        parser.add_argument("--header", choices=["auto", "on", "off"], default="auto")
        parser.add_argument("--input", action="append", default=[])
        parser.add_argument("--by-order", action="store_true")
        parser.add_argument("--encoding", default="utf-8")

    arguments = scoring.arguments_of(own)
    model = scoring.load_model(arguments)
    if model.wants == "tensor":
        raise ValueError("the model takes images or other tensors, not rows: score_images.py scores files of images")


def run(mini_batch):
    """Score a mini-batch: a list of paths of files. Returns a DataFrame with a row for each, `file` first, without those that failed."""
    alike = {}  # by separator, header and number of fields: files whose rows make one table
    for place, path in enumerate(mini_batch):
        try:
            separator, header, row, fields = parts_of(scoring.text_of(scoring.content_of(path), arguments.encoding))
        except ValueError as error:
            scoring.file_failed(path, error)
        else:
            places, rows = alike.setdefault((separator, header, fields), ([], []))
            places.append(place)
            rows.append(row)
    done = [part for (separator, header, _), (places, rows) in alike.items() for part in score(mini_batch, separator, header, places, rows)]
    places, scores = scoring.joined(done)
    return scoring.frame_of_files(mini_batch, places, scores, arguments)


def score(mini_batch, separator, header, places, rows):
    """[(places, Scores), ...] of files that have the same columns."""
    table = table_of(rows, separator)
    if len(table) != len(rows):  # quotes that one doesn't close
        if len(rows) == 1:
            scoring.file_failed(mini_batch[places[0]], f"it is not one row, but {len(table):,}")
            return []
        each = zip(places, rows)  # noqa: B905 - Python 3.8
        return [part for place, row in each for part in score(mini_batch, separator, header, [place], [row])]
    if header is not None:
        table.columns = next(csv.reader([header], delimiter=separator))
    else:
        table.columns = [str(number + 1) for number in range(table.shape[1])]
    try:
        chosen = scoring.columns_for(model, table.columns, arguments.input, by_order=arguments.by_order or header is None)
        table = with_texts(table, rows, separator, chosen)
        data, odd = scoring.data_for(model, table, chosen)
    except ValueError as error:
        for place in places:
            scoring.file_failed(mini_batch[place], str(error).replace("the table", "it"))
        return []
    for row, reason in sorted(odd.items()):
        scoring.file_failed(mini_batch[places[row]], reason)
    taken = np.setdiff1d(np.arange(len(places)), np.array(sorted(odd), dtype=np.int64))
    if odd:
        data = scoring.rows_of(data, taken)

    def failed(row, error):
        scoring.file_failed(mini_batch[places[row]], scoring.refusal(error, table.iloc[row, chosen]))

    numbers = np.array(places, dtype=np.int64)
    return [(numbers[each], scores) for each, scores in scoring.score(model.predict, data, taken, failed)]


def with_texts(table, rows, separator, chosen):
    """The same table, where the model takes a text with the text that stands in the file: what it is must not depend on the other files of
    a mini-batch, and 007 stays 007."""
    kinds = [each.get("type") for each in model.inputs] if model.names is not None else [model.wants.rstrip("s")] * len(chosen)
    texts = [place for place, kind in zip(chosen, kinds) if kind == "text"]  # noqa: B905 - Python 3.8
    return table_of(rows, separator, dict.fromkeys(texts, str)).set_axis(table.columns, axis=1) if texts else table


def table_of(rows, separator, types=None):
    """Rows as a DataFrame, with these types by the columns' places; an empty one where they can't be read."""
    try:
        content = io.StringIO("\n".join(rows))
        return pd.read_csv(content, sep=separator, header=None, skip_blank_lines=False, dtype=types)
    except (pd.errors.ParserError, pd.errors.EmptyDataError):
        return pd.DataFrame()


def parts_of(text):
    """(separator, header or None, row, how many fields) of a file's text. Raises ValueError for what is not one row."""
    lines = [line for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n") if line.strip()]
    if not lines:
        raise ValueError("it is empty")
    with_header = arguments.header == "on" or (arguments.header == "auto" and len(lines) > 1 and not is_all_numbers(lines[0]))
    expected = 2 if with_header else 1
    if len(lines) != expected and '"' in text:
        lines = quoted_lines(text)
    if len(lines) < expected:
        raise ValueError("it has a header and no row")
    if len(lines) > expected:
        what = f"{len(lines) - 1:,} rows after its header" if with_header else f"{len(lines):,} rows"
        else_ = "" if with_header or len(lines) > 2 else ", and with --header on the first is the header"
        raise ValueError(f"it has {what}, and one is expected; files of many rows are registered as a table{else_}")
    row, header = lines[-1], lines[0] if with_header else None
    separator = next((each for each in ",;\t" if each in lines[0]), ",")
    fields = count_of(row, separator)
    if header is not None and count_of(header, separator) != fields:
        raise ValueError(f"it has {fields} fields, and its header {count_of(header, separator)}")
    return separator, header, row, fields


def is_all_numbers(line):
    """Whether a line can be no header: a row of numbers, some of them missing perhaps."""
    fields = [field.strip().strip('"') for field in re.split("[,;\t]", line)]
    try:
        return any(fields) and all(not field or float(field) is not None for field in fields)
    except ValueError:
        return False


def quoted_lines(text):
    """The records of a text in which a field in quotes may hold line ends."""
    records, quotes = [], 0
    for line in text.replace("\r\n", "\n").split("\n"):
        if quotes % 2:
            records[-1] += f"\n{line}"
        elif line.strip():
            records.append(line)
        quotes += line.count('"')
    return records


def count_of(line, separator):
    if '"' not in line:
        return line.count(separator) + 1
    csv.field_size_limit(1 << 30)
    return len(next(csv.reader(io.StringIO(line), delimiter=separator), []))
