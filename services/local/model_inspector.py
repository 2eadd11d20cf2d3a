"""Loads one model and says what it is, in an answer file: `python model_inspector.py BATCH_SCRIPTS MODEL ANSWER MEMORY`.

Executed by the interpreter that the person chose, Python 3.8 or newer, in a process of its own: loading a model runs whatever is in it.
Standard library only; how a model is loaded and described is the built-in scorers' own knowledge, batch_scripts/_model_formats.py.
"""

import json
import os
import sys
import traceback

LONGEST_TEXT = 2000  # characters of a message
LONGEST_TRACEBACK = 20000


def limit_memory(size):
    """As a worker's: see worker.py."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    if size:
        resource.setrlimit(resource.RLIMIT_DATA, (size if hard == resource.RLIM_INFINITY else min(size, hard), hard))


def answer_for(scripts, model):
    """`{"card": {...}}`; `{"missing": package, "message": ...}` where a package isn't there; or `{"message": ..., "traceback": ...}`."""
    sys.path[0] = scripts  # in place of this file's own folder, whose modules are none of the model's business
    try:
        import _model_formats

        described = _model_formats.load(model).describe()
        return {"card": json.loads(json.dumps(described, default=str))}
    except MemoryError:
        return {"message": "it takes more memory than one worker may have"}
    except BaseException as error:  # noqa: BLE001 - of code that is not ours: a SystemExit too is an answer
        text = "".join(traceback.format_exception_only(type(error), error)).strip()
        answer = {"message": text[:LONGEST_TEXT], "traceback": traceback.format_exc()[-LONGEST_TRACEBACK:]}
        if isinstance(error, ModuleNotFoundError) and error.name:
            answer["missing"] = error.name.partition(".")[0]
        return answer


def main():
    scripts, model, answer_file, memory = sys.argv[1:]
    limit_memory(int(memory))
    answer = json.dumps(answer_for(scripts, model))
    with open(answer_file + ".part", "w", encoding="ascii") as file:
        file.write(answer)
    os.replace(answer_file + ".part", answer_file)
    sys.stdout.flush()
    os._exit(0)  # threads and exit handlers that the model left behind have no say


if __name__ == "__main__":
    main()
