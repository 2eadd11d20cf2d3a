"""From a model's file and a person's data to checked predictions by clicks alone, without a script: equal to the model's own."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests import scoring_models
from tests.browser.dashboard import dashboard as dashboard_on
from tests.browser.walk import Walk
from tests.conftest import home_in

CUSTOMERS, PICTURES = 7_043, 300


@pytest.fixture
def address(tmp_path):
    """Of a dashboard on an empty home."""
    with home_in(tmp_path) as home, dashboard_on(home) as server:
        yield server.address


def test_a_csv_and_a_pipeline_that_wants_named_columns(address, page, tmp_path):
    model = scoring_models.pipeline()
    customers = scoring_models.table(CUSTOMERS)
    customers.insert(0, "customer", [f"C-{number:05}" for number in range(CUSTOMERS)])
    customers.to_csv(tmp_path / "churn.csv", index=False)
    walk = Walk(page, address, "csv")
    walk.register_model(scoring_models.saved(model, tmp_path / "trained", "joblib"), approves=True)
    walk.register_dataset(tmp_path / "churn.csv", "Each row of this file is one item: 7,043 rows, 6 columns")
    walk.run("7,043 rows in 1 mini-batch")
    rows = pd.DataFrame(walk.results("7,043", tmp_path))
    print(rows.head(3).to_string())
    assert rows["Prediction"].tolist() == model.predict(customers).tolist()
    assert rows["probability"].astype(float).tolist() == pytest.approx(model.predict_proba(customers).max(axis=1).tolist())


@pytest.mark.walk
def test_a_folder_of_pictures_and_an_onnx_model(address, page, tmp_path):
    import onnxruntime

    paths = scoring_models.images(tmp_path / "pictures", PICTURES)
    session = onnxruntime.InferenceSession(scoring_models.image_model(tmp_path / "net.onnx"))
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths]).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    (chances,) = session.run(None, {"image": np.ascontiguousarray(pixels)})
    own = {path.name: (scoring_models.LABELS[row.argmax()], float(row.max())) for path, row in zip(paths, chances, strict=True)}
    walk = Walk(page, address, "pictures")
    walk.register_model(tmp_path / "net.onnx", approves=False)
    walk.register_dataset(tmp_path / "pictures", "Each of these 300 files is an image: each is one item", "Folder")
    walk.run("300 files in 30 mini-batches")
    rows = walk.results("300", tmp_path)
    print(rows[:3])
    assert {row["File"]: row["Prediction"] for row in rows} == {name: label for name, (label, _) in own.items()}
    assert [float(row["probability"]) for row in rows] == pytest.approx([own[row["File"]][1] for row in rows], rel=1e-5)
