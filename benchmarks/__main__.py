"""`make bench`: what is measured, side by side in one run. `python -m benchmarks pages` runs one part.

Times on another machine, or on this one when it is busy, differ; ratios travel. Nothing here is a pass mark of a test.
"""

import argparse
import importlib

PARTS = {
    "engines": "what an engine adds for each mini-batch",
    "script": "the built-in script, a file",
    "tables": "a CSV file of two million rows: registered and scored",
    "images": "10,000 images through a small ONNX model",
    "growth": "from 10,000 to 1,000,000 files: time a file, memory, start-up",
    "results": "ten million predictions: making the table, asking it, taking it away",
    "results_growth": "1, 10 and 100 million predictions beside each other; 12 minutes",
    "failures": "one million failed items: their causes, and pages of them",
    "first_screen": "ten million predictions in a browser, on a warm server",
    "brush": "a brush over a million predictions, in a browser, beside an empty fragment's tick",
    "plain_dataframe": "what st.dataframe makes of as many predictions, in a browser",
    "pages": "first paint and page switch, in a browser",
    "runs_list": "100,000 runs, 1,000 models, 1,000 datasets: each list and the home page, a look at a time",
    "azure_pages": "the same on Azure ML that takes two seconds a call, beside this machine",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="; ".join(f"{name}: {what}" for name, what in PARTS.items()))
    for part in parser.parse_args().parts or PARTS:
        print(f"\n{part}: {PARTS[part]}", flush=True)
        importlib.import_module(f"benchmarks.{part}").main()


if __name__ == "__main__":
    main()
