"""How an exported file is used on a phone, in a browser and on a small computer, with the code of its task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mobilenet_tf.export.pages import render
from mobilenet_tf.inference.artifact import Metadata


@dataclass(frozen=True)
class Use:
    """A place where a file runs: sentences, and the lines of a program."""

    place: str
    text: Sequence[str]
    code: Sequence[str]


@dataclass(frozen=True)
class Api:
    """The class of MediaPipe Tasks that runs the files of a task."""

    name: str
    call: str  # its method for one image
    result: str  # what it returns, in Kotlin
    show: str  # a line of Kotlin that prints it
    swift: str  # and of Swift


APIS = {
    "classification": Api(
        "ImageClassifier",
        "classify",
        "classificationResult().classifications()[0].categories()",
        'result.forEach { Log.i("model", "${it.categoryName()} ${it.score()}") }',
        'result.classificationResult.classifications[0].categories.forEach { print($0.categoryName ?? "", $0.score) }',
    ),
    "detection": Api(
        "ObjectDetector",
        "detect",
        "detections()",
        'result.forEach { Log.i("model", "${it.categories()[0].categoryName()} ${it.boundingBox()}") }',
        'result.detections.forEach { print($0.categories[0].categoryName ?? "", $0.boundingBox) }',
    ),
    "segmentation": Api(
        "ImageSegmenter",
        "segment",
        "categoryMask().get()",
        'Log.i("model", "${result.width} x ${result.height} class ids")',
        "print(result.categoryMask?.width ?? 0, result.categoryMask?.height ?? 0)",
    ),
    "embedding": Api(
        "ImageEmbedder",
        "embed",
        "embeddingResult().embeddings()[0]",
        'Log.i("model", "${result.floatEmbedding().size} numbers; compare with ImageEmbedder.cosineSimilarity")',
        "print(result.embeddingResult.embeddings[0].floatEmbedding?.count ?? 0)",
    ),
}
APIS["attributes"] = APIS["classification"]
OPENED = {"softmax", "sigmoid", "detections", "embedding"}  # endings that MediaPipe Tasks take, of any task


def of(metadata: Metadata, names: Sequence[str], run: str) -> list[Use]:
    """Returns how to use the files of those names, which were exported from `run`."""
    tflite = [name for name in names if name.endswith(".tflite")]
    others = [name for name in names if not name.endswith(".tflite")]
    uses = _tflite(metadata, tflite[0], run) if tflite else []
    for name in others:
        code = render("use/onnx.py.txt" if name.endswith(".onnx") else "use/saved_model.py.txt", file=name)
        uses.append(Use(f"{name} in Python", [], code.splitlines()))
    code = render("use/load.py.txt", file=names[0])
    text = ["With this package, preprocessing and decoding are those of the evaluation."]
    return [*uses, Use("Python, with this package", text, code.splitlines())]


def _tflite(metadata: Metadata, name: str, run: str) -> list[Use]:
    api = APIS.get(metadata.task)
    takes = metadata.outputs in OPENED or (metadata.task == "segmentation" and metadata.outputs == "logits")
    values = {"api": api, "file": name, "height": metadata.input_size[0], "width": metadata.input_size[1]}
    uses = []
    if api and takes:
        android = [f"mobilenet-tf export {run} --app android writes a Gradle project that runs {name}."]
        ios = ["Add the pod MediaPipeTasksVision and drag the file into the project."]
        uses += [
            Use("Android", android, render("use/android.kt.txt", **values).splitlines()),
            Use("iOS", ios, render("use/ios.swift.txt", **values).splitlines()),
        ]
    else:
        text = [
            f"MediaPipe Tasks do not open files that end in {metadata.outputs}; LiteRT does. mobilenet-tf export {run} "
            f"--app android writes a Gradle project that runs {name}."
        ]
        uses.append(Use("Android and iOS", text, []))
    browser = [
        f"mobilenet-tf try {run} opens a page on this machine that runs the file: drop a picture or use the camera.",
        f"mobilenet-tf export {run} --app web writes that page as a folder for a server of yours.",
    ]
    pi = ["pip install ai-edge-litert numpy pillow"]
    uses += [
        Use("Browser", browser, []),
        Use("Raspberry Pi", pi, render("use/pi.py.txt", **values).splitlines()),
    ]
    return uses
