"""The worker's datasets: a mini-batch's place in a manifest -> what `run()` gets. Runs in the run's own interpreter, as worker.py does."""

import datetime
import io
import os
import re
from json import loads  # by its name: a script may put another in its place


class MiniBatchContext:
    """The second parameter of `run(mini_batch, mini_batch_context)`, as on Azure."""

    def __init__(self, minibatch_index, dataset, partition_key_value=None):
        self.minibatch_index = minibatch_index
        self.dataset = dataset
        self.partition_key_value = partition_key_value


class FileInput:
    """A dataset of the run. A mini-batch of it is a list of absolute paths."""

    def __init__(self, dataset, manifest):
        self.root = dataset["root"]
        self._manifest = manifest
        self._partition = dataset["partition"]

    def entries(self, offset, length):
        """What the manifest's bytes [offset, offset + length) list: relative paths."""
        self._manifest.seek(offset)
        lines = self._manifest.read(length)
        if b"\\" not in lines:  # no path has an escape, so each stands between two quotes: a fifth of the time
            return lines.decode("ascii").split('"')[1::2]
        return [entry[0] for entry in _parsed(lines)]

    @staticmethod
    def item_count(entries):
        return len(entries)

    @staticmethod
    def names(entries):
        """What the items of a mini-batch are called."""
        return entries

    def mini_batch(self, paths):
        prefix, sep = os.path.join(self.root, ""), os.sep
        return [prefix + path for path in paths] if sep == "/" else [prefix + path.replace("/", sep) for path in paths]

    def keys_of(self, path):
        """The values of the partition keys in a relative path: texts, and a datetime where the format has a date."""
        if self._partition is None:
            return {}
        match = re.search(self._partition["pattern"], "/" + path, re.DOTALL)
        if match is None:  # of a dataset that an earlier version took
            format_, rule = self._partition["text"], "a key's value ends at a dot, slash or backslash"
            raise ValueError(f"the path {path} is not of the partition format {format_}: {rule}; register the dataset again")
        values_found = match.groupdict()
        date_key = self._partition["date_key"]
        values = {key: values_found[f"k{place}"] for place, key in enumerate(self._partition["keys"]) if key != date_key}
        if date_key:
            parts = (("yyyy", 1), ("MM", 1), ("dd", 1), ("HH", 0), ("mm", 0), ("ss", 0))
            values[date_key] = datetime.datetime(*(int(values_found.get(part) or least) for part, least in parts))
        return values


class TabularInput(FileInput):
    """A tabular dataset of the run. A mini-batch of it is a DataFrame, with the columns and types that were settled at registration."""

    def __init__(self, dataset, manifest):
        super().__init__(dataset, manifest)
        self._read = {"csv": self._read_csv, "parquet": self._read_parquet}[dataset["format"]]
        self._types = dict(dataset["columns"])
        self._missing = list(dataset["missing"])
        self._may_lack_nothing = all(dtype in ("int64", "float64") for dtype in self._types.values())
        try:
            import pandas

            if dataset["format"] == "parquet":
                import pyarrow.parquet

                self._parquet = pyarrow.parquet
        except ImportError as error:
            raise ImportError(f"a tabular dataset needs pandas, and pyarrow for Parquet, in the run's environment: {error}") from error
        self._pandas = pandas

    def entries(self, offset, length):
        self._manifest.seek(offset)
        return _parsed(self._manifest.read(length))

    @staticmethod
    def item_count(entries):
        return sum(rows for _, _, _, _, _, rows in entries)

    @staticmethod
    def names(entries):
        return []  # a row has no name

    def mini_batch(self, entries):
        following = [entries[:1]]
        for before, entry in zip(entries, entries[1:]):  # noqa: B905, RUF007 - Python 3.8
            if entry[0] == before[0] and entry[3] == before[4]:
                following[-1].append(entry)
            else:
                following.append([entry])
        frames = [self._frame(slices[0][0], slices) for slices in following]
        return frames[0] if len(frames) == 1 else self._pandas.concat(frames, ignore_index=True)

    def _frame(self, path, slices):
        """The rows of slices that follow each other in one file, and its partition keys as columns after the file's own."""
        absolute = super().mini_batch([path])[0]
        changed = OSError(f"{path} was changed since it was registered; register the dataset again")
        if os.stat(absolute).st_mtime_ns != slices[0][2]:
            raise changed
        frame = self._read(absolute, slices[0][3], slices[-1][4])
        if len(frame) != sum(rows for _, _, _, _, _, rows in slices):
            raise changed
        for key, value in self.keys_of(path).items():
            frame[key] = value
        return frame

    def _read_csv(self, path, begin, end):
        with open(path, "rb") as file:
            file.seek(begin)
            content = file.read(end - begin)
        types = {name: dtype for name, dtype in self._types.items() if dtype != "object"}
        options = {"header": None, "names": list(self._types), "dtype": types, "index_col": False, "low_memory": False}
        if self._may_lack_nothing:  # a sixth of the time is the look for missing values
            try:
                return self._pandas.read_csv(io.BytesIO(content), na_filter=False, **options)
            except ValueError:  # of a field that is empty, or a word
                self._may_lack_nothing = False
        frame = self._pandas.read_csv(io.BytesIO(content), keep_default_na=False, na_values=self._missing, **options)
        for name in self._types.keys() - types.keys():  # True, False and nothing: pandas finds out by itself
            frame[name] = frame[name].astype(object)
        return frame

    def _read_parquet(self, path, begin, end):
        with open(path, "rb") as file:
            frame = self._parquet.ParquetFile(file).read_row_groups(list(range(begin, end))).to_pandas(ignore_metadata=True)
        for name, dtype in self._types.items():
            if frame[name].dtype.kind in "iub":  # another slice may hold a missing value, which turns the type
                frame[name] = frame[name].astype(dtype)
        return frame


def _parsed(lines):
    return loads(b"[" + lines.rstrip(b"\n").replace(b"\n", b",") + b"]")
