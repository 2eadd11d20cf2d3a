"""10,000 PNG files of 224 by 224 pixels through a small convolutional model in ONNX by the built-in script, two workers, beside the same
loop in two processes without an engine. Steady state: start-up is left out of both.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.engines import peer
from benchmarks.measured_run import home, measure, request
from benchmarks.table import Table, rounds
from services.intake.entry_scripts import BUILT_IN
from services.local.workspace import LocalWorkspace

IMAGES = 10_000
PEERS = Path(__file__).with_name("image_peers.py")
LOOP = "the same loop in two processes"
MAKE = """
import io, numpy, onnx, pathlib, sys
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
folder, count = pathlib.Path(sys.argv[1]), int(sys.argv[2])
numbers = numpy.random.default_rng(0)
weights = {"filters": (8, 3, 5, 5), "matrix": (8, 10), "bias": (10,)}
nodes = [
    helper.make_node("Conv", ["image", "filters"], ["maps"], strides=[4, 4]),
    helper.make_node("Relu", ["maps"], ["lit"]),
    helper.make_node("GlobalAveragePool", ["lit"], ["pooled"]),
    helper.make_node("Flatten", ["pooled"], ["row"]),
    helper.make_node("Gemm", ["row", "matrix", "bias"], ["scores"]),
    helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
]
graph = helper.make_graph(
    nodes, "small",
    [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 224, 224])],
    [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 10])],
    [numpy_helper.from_array(numbers.normal(size=shape).astype(numpy.float32), name) for name, shape in weights.items()],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
onnx.save(model, folder / "model.onnx")
pictures = []
for _ in range(100):
    small = Image.fromarray(numbers.integers(0, 256, (28, 28, 3), dtype=numpy.uint8))
    content = io.BytesIO()
    small.resize((224, 224), Image.BICUBIC).save(content, "png")
    pictures.append(content.getvalue())
for number in range(count):
    path = folder / "images" / f"{number // 1000:02}" / f"image-{number:06}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pictures[number % len(pictures)])
"""


def main() -> None:
    with home() as folder:
        folder.mkdir()
        print(f"  making {IMAGES:,} images", flush=True)
        subprocess.run([sys.executable, "-c", MAKE, str(folder.parent), str(IMAGES)], check=True)
        workspace = LocalWorkspace(folder)
        paths = sorted((folder.parent / "images").rglob("*.png"))
        model = workspace.register_model("model", folder.parent / "model.onnx", approve=True).reference
        dataset = workspace.register_dataset("images", folder.parent / "images").reference
        listed = folder.parent / "paths.txt"
        listed.write_text("\n".join(map(str, paths)), encoding="utf-8")
        kilobytes = sum(path.stat().st_size for path in paths) / len(paths) / 1e3
        table = Table(f"{IMAGES:,} PNG of 224 pixels, {kilobytes:.0f} kB each", "µs an image", 1e6)
        for _ in rounds():
            table.add(LOOP, peer(PEERS, workspace.model(model).path, str(listed), str(IMAGES), python=sys.executable))
            for size in (10, 50):
                run = measure(workspace, request(dataset, BUILT_IN / "score_images.py", size, model))
                table.add(f"the built-in script, mini-batch {size}", run.per_item())
        table.show(of_the_loop=lambda number, name: f"{number(LOOP) / number(name):.0%}")


if __name__ == "__main__":
    main()
