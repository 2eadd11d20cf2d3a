"""Scoring scripts for the pages: what they predict depends on the number in a file's name."""

SCRIPT = """
    import os, time
    def predict(path):
        name, number = os.path.basename(path), int(os.path.basename(path)[:4])
        return f"{{name}}: {prediction}"
    def run(mini_batch):
        {before}
        return [predict(path) for path in mini_batch]
"""
THREE_CLASSES = SCRIPT.format(prediction="class {number % 3}", before="")
NUMBERS = SCRIPT.format(prediction="{number / 7}", before="")
HALF_BAD = SCRIPT.format(prediction="1", before="assert '0001' not in str(mini_batch), ':red[odd] one'")
STOPS_AT_THREE = SCRIPT.format(prediction="1", before="while '0003' in str(mini_batch): time.sleep(0.01)")
