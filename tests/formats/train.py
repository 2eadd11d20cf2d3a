"""Trains a small model in an environment of its framework: `python train.py FRAMEWORK KIND FOLDER [ROWS]`.

Leaves in the folder the model (`model`, a file or a folder, by its usual ending), what to score (`rows.csv`, or the folder `images`), and
`expected.json`: the framework's own predictions, in the order of the rows or of the names of the images, and `probability` of each.
Python 3.8; nothing of this project.
"""

import json
import os
import sys

import numpy as np
import pandas as pd

ROWS, COLUMNS, SIDE = 80, ["age", "income", "visits", "score"], 8


def table():
    x = np.random.default_rng(3).normal(size=(ROWS, len(COLUMNS))).round(4)
    return pd.DataFrame(x, columns=COLUMNS), (x.sum(axis=1) > 0).astype(int), np.digitize(x[:, 0], [-0.5, 0.5])


def with_city(x):
    return x.assign(city=np.where(x["age"] > 0, "Rome", "Oslo"))


def of_classifier(model, x, folder, save):
    save(model, os.path.join(folder, "model.joblib"))
    return model.predict(x), model.predict_proba(x).max(axis=1)


def xgboost(kind, folder):
    import xgboost

    x, two, three = table()
    if kind == "regressor":
        model = xgboost.XGBRegressor(n_estimators=5).fit(x, x["age"])
        model.save_model(os.path.join(folder, "model.ubj"))
        return x, model.predict(x), None
    if kind == "categories":
        x = with_city(x)
        y = x.astype({"city": "category"})
        model = xgboost.XGBClassifier(n_estimators=5, enable_categorical=True).fit(y, two)
    else:
        y = x
        model = xgboost.XGBClassifier(n_estimators=5).fit(x, three if kind == "three classes" else two)
    model.save_model(os.path.join(folder, "model.json" if kind == "two classes" else "model.ubj"))
    return (x, model.predict(y), model.predict_proba(y).max(axis=1))


def lightgbm(kind, folder):
    import lightgbm

    x, two, three = table()
    if kind == "regressor":
        model = lightgbm.LGBMRegressor(n_estimators=5, verbose=-1).fit(x, x["age"])
        model.booster_.save_model(os.path.join(folder, "model.txt"))
        return x, model.predict(x), None
    x = with_city(x) if kind == "categories" else x
    y = x.astype({"city": "category"}) if kind == "categories" else x
    model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(y, three if kind == "three classes" else two)
    model.booster_.save_model(os.path.join(folder, "model.txt"))
    return x, model.predict(y), model.predict_proba(y).max(axis=1)


def catboost(kind, folder):
    import catboost

    x, two, three = table()
    settings = {"iterations": 5, "verbose": 0, "allow_writing_files": False}
    if kind == "regressor":
        model = catboost.CatBoostRegressor(**settings).fit(x, x["age"])
        model.save_model(os.path.join(folder, "model.cbm"))
        return x, model.predict(x), None
    if kind == "categories":
        x = with_city(x).astype({"city": object})
        settings["cat_features"] = ["city"]
    model = catboost.CatBoostClassifier(**settings).fit(x, np.array(["low", "mid", "high"])[three] if kind == "three classes" else two)
    model.save_model(os.path.join(folder, "model.cbm"))
    return x, model.predict(x).ravel(), model.predict_proba(x).max(axis=1)


def scikit_learn(kind, folder):
    import joblib
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    x, two, _ = table()
    x = with_city(x)
    by_type = ColumnTransformer([("n", StandardScaler(), COLUMNS), ("c", OneHotEncoder(handle_unknown="ignore"), ["city"])])
    model = make_pipeline(by_type, LogisticRegression())
    return (x, *of_classifier(model.fit(x, np.array(["stays", "leaves"])[two]), x, folder, joblib.dump))


def mlflow(kind, folder):
    import mlflow.pyfunc
    import mlflow.sklearn
    from mlflow.models import infer_signature
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    x, two, _ = table()
    place = os.path.join(folder, "model")
    if kind == "own code":

        class Sums(mlflow.pyfunc.PythonModel):
            def predict(self, context, model_input, params=None):
                return model_input.sum(axis=1)

        mlflow.pyfunc.save_model(place, python_model=Sums(), signature=infer_signature(x, x.sum(axis=1)), pip_requirements=[])
        return x, mlflow.pyfunc.load_model(place).predict(x), None
    if kind == "regressor":
        model = LinearRegression().fit(x, x["age"])
    else:
        x = with_city(x)
        by_type = ColumnTransformer([("c", OneHotEncoder(handle_unknown="ignore"), ["city"])], remainder="passthrough")
        model = make_pipeline(by_type, LogisticRegression()).fit(x, np.array(["no", "yes"])[two])
    mlflow.sklearn.save_model(
        model, place, signature=infer_signature(x, model.predict(x)), pip_requirements=["scikit-learn"], serialization_format="cloudpickle"
    )
    own = mlflow.pyfunc.load_model(place)
    return x, own.predict(x), None if kind == "regressor" else model.predict_proba(x).max(axis=1)


def torch(kind, folder):
    """Images: the mean of each channel, weighted. As TorchScript or torch.export; rows: a linear layer."""
    import torch

    torch.manual_seed(0)
    if kind == "rows":
        x, _, _ = table()
        network = torch.nn.Sequential(torch.nn.Linear(len(COLUMNS), 3), torch.nn.Softmax(dim=1)).eval()
        shape = torch.zeros(2, len(COLUMNS))
        program = torch.export.export(network, (shape,), dynamic_shapes=({0: torch.export.Dim("n")},))
        torch.export.save(program, os.path.join(folder, "model.pt2"))
        with torch.inference_mode():
            own = network(torch.from_numpy(x.to_numpy(np.float32))).numpy()
        return x, own.argmax(axis=1), own.max(axis=1)

    class Means(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weights = torch.nn.Parameter(torch.tensor([[4.0, -2, 0], [0, 4, -2], [-2, 0, 4]]))

        def forward(self, image):
            return torch.softmax(image.mean(dim=(2, 3)) @ self.weights, dim=1)

    network = Means().eval()
    if kind == "torchscript":
        torch.jit.script(network).save(os.path.join(folder, "model.pt"))
    else:
        program = torch.export.export(network, (torch.zeros(2, 3, SIDE, SIDE),), dynamic_shapes=({0: torch.export.Dim("n")},))
        torch.export.save(program, os.path.join(folder, "model.pt2"))
    pixels = images(folder)
    with torch.inference_mode():
        own = network(torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))).numpy()
    return None, own.argmax(axis=1), own.max(axis=1)


def keras(kind, folder):
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    keras.utils.set_random_seed(0)
    if kind == "images":
        layers = [keras.layers.Input((SIDE, SIDE, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3, activation="softmax")]
        x, data = None, images(folder)
    else:
        layers = [keras.layers.Input((len(COLUMNS),)), keras.layers.Dense(1, activation="sigmoid" if kind == "two classes" else None)]
        x, _, _ = table()
        data = x.to_numpy(np.float32)
    network = keras.Sequential(layers)
    network.save(os.path.join(folder, "model.keras"))
    own = network.predict(data, verbose=0)
    if kind == "images":
        return None, own.argmax(axis=1), own.max(axis=1)
    if kind == "two classes":
        return x, (own[:, 0] > 0.5).astype(int), np.maximum(own[:, 0].astype(float), 1 - own[:, 0].astype(float))
    return x, own[:, 0], None


def images(folder):
    from PIL import Image

    os.mkdir(os.path.join(folder, "images"))
    made = []
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 80, (SIDE, SIDE, 3)).astype(np.uint8)
        pixels[..., number % 3] += 150
        Image.fromarray(pixels).save(os.path.join(folder, "images", "picture" + str(number) + ".png"))
        made.append(pixels)
    return np.stack(made).astype(np.float32) / np.float32(255)


def main():
    framework, kind, folder, *rows = sys.argv[1:]
    if rows:
        globals()["ROWS"] = int(rows[0])
    x, predictions, probability = globals()[framework](kind, folder)
    if x is not None:
        x.to_csv(os.path.join(folder, "rows.csv"), index=False)
    expected = {
        "predictions": np.asarray(predictions).tolist(),
        "probability": None if probability is None else np.asarray(probability).tolist(),
    }
    with open(os.path.join(folder, "expected.json"), "w") as out:
        json.dump(expected, out)


if __name__ == "__main__":
    sys.path = [place for place in sys.path if os.path.abspath(place or ".") != os.path.dirname(os.path.abspath(__file__))]
    main()
