"""The well-known batch scoring tutorial's script, in the tutorial's shape: what the built-in script is compared with."""
# ruff: noqa: PLW0603, UP032
# fmt: off

import os

import joblib
import numpy as np
from azureml.core import Model


def init():
    global model
    model_path = Model.get_model_path('classification_model')
    model = joblib.load(model_path)


def run(mini_batch):
    resultList = []
    for f in mini_batch:
        data = np.genfromtxt(f, delimiter=',')
        prediction = model.predict(data.reshape(1, -1))
        resultList.append("{}: {}".format(os.path.basename(f), prediction[0]))
    return resultList
