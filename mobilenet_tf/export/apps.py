"""Small programs around an exported .tflite file: a page that runs it in the browser, and an Android project."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from mobilenet_tf import viz
from mobilenet_tf.export.pages import render, write
from mobilenet_tf.inference import artifact
from mobilenet_tf.inference.artifact import Metadata
from mobilenet_tf.inference.tflite import open_tflite, tflite_outputs
from mobilenet_tf.utils import files
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.viz.masks import palette

LITERT_JS = "2.5.3"  # of @litertjs/core in the npm registry
RUNTIME = Path("node_modules") / "@litertjs" / "core" / "package.json"
ENDINGS = {  # that the programs decode, by task
    "classification": {"logits", "softmax"},
    "attributes": {"logits", "sigmoid"},
    "embedding": {"embedding"},
    "detection": {"detections"},
    "segmentation": {"logits", "softmax", "class_map"},
}
EXAMPLES = "examples"  # the folder of images beside exported files that the page offers for a first try
WEB_FILES = ("app.css", "app.js", "preprocess.js", "tasks.js", "server.mjs")
ANDROID = {  # template: its place in the project
    "settings.gradle.kts.txt": "settings.gradle.kts",
    "build.gradle.kts.txt": "build.gradle.kts",
    "gradle.properties.txt": "gradle.properties",
    "app.gradle.kts.txt": "app/build.gradle.kts",
    "AndroidManifest.xml.txt": "app/src/main/AndroidManifest.xml",
    "MainActivity.kt.txt": "app/src/main/java/org/example/mobilenet/MainActivity.kt",
    "Network.kt.txt": "app/src/main/java/org/example/mobilenet/Network.kt",
    "README.md.txt": "README.md",
}
IMPORTS = {"@litertjs/core": "core/dist/index.js", "@litertjs/wasm-utils": "wasm-utils/dist/index.js"}


def write_app(kind: str, folder: Path, models: Sequence[Path], examples: Sequence[np.ndarray] = ()) -> Path:
    """Writes a program that runs exported .tflite files into a folder, which it returns.

    Args:
        kind: "web", a page for browsers, or "android", a Gradle project.
        models: exported files; those that are no .tflite file, or take whole numbers with a sign, are left out.
        examples: images uint8 [H, W, 3] that the page offers for a first try.

    Raises:
        UserError: the kind is unknown, or no file can be run by it; the line says why.
    """
    check_kind(kind)
    usable = [path for path in models if path.suffix == ".tflite" and _input_type(path) in ("float32", "uint8")]
    if not usable:
        names = ", ".join(path.name for path in models) or "no files"
        raise UserError(f"--app {kind} needs a .tflite file with float32 or uint8 inputs. Received: {names}")
    metadata = artifact.read(usable[0])
    if metadata is None:
        raise UserError(f"{usable[0]} must carry the metadata of this package. Received: none")
    endings = ENDINGS.get(metadata.task, set())
    if metadata.outputs not in endings:
        raise UserError(
            f"--app {kind} decodes files of the task {metadata.task} that end in {' or '.join(sorted(endings))}: set "
            f"export.outputs. Received: {metadata.outputs}"
        )
    return APPS[kind](folder, metadata, usable, examples)


def check_kind(kind: str) -> None:
    """Raises UserError for the name of a program that cannot be written around a file."""
    if kind not in APPS:
        raise UserError(f"--app must be one of {', '.join(APPS)}. Received: {kind}")


def _input_type(path: Path) -> str:
    return np.dtype(open_tflite(path).get_input_details()[0]["dtype"]).name


# A page


def write_web(folder: Path, metadata: Metadata, models: Sequence[Path], examples: Sequence[np.ndarray]) -> Path:
    """Writes the page into a folder; `install` brings the runtime, after which it needs no network."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in models:
        copy(path, folder / "models" / path.name)
    pictures = []
    for index, image in enumerate(examples):
        pictures.append(f"{EXAMPLES}/{index + 1}.png")
        viz.save_image(image, folder / pictures[-1])
    templates = package_files("mobilenet_tf.export") / "templates"
    for name in WEB_FILES:
        write(folder / name, (templates / "web" / name).read_text(encoding="utf-8"))
    write(folder / "page.css", (templates / "page.css").read_text(encoding="utf-8"))
    title = f"{models[0].stem}: {metadata.task}"
    import_map = json.dumps({"imports": {name: f"./node_modules/@litertjs/{path}" for name, path in IMPORTS.items()}})
    size = f"{metadata.input_size[0]} x {metadata.input_size[1]}"
    page = render(
        "web/index.html",
        title=title,
        about=f"{metadata.task}, input {size}" + (f", {len(metadata.classes)} classes." if metadata.classes else "."),
        compares=metadata.task == "embedding",
        examples=pictures,
        import_map=Markup(import_map),
        map_hash=base64.b64encode(hashlib.sha256(import_map.encode()).digest()).decode(),
    )
    write(folder / "index.html", page)
    write(folder / "package.json", render("web/package.json", litert=LITERT_JS))
    write(folder / "README.md", render("web/README.md", title=title))
    write(folder / "model.json", json.dumps(description(metadata, models), indent=2, ensure_ascii=False))
    return folder


def description(metadata: Metadata, models: Sequence[Path]) -> dict[str, Any]:
    """What the programs have to know of the files: the task, the classes, how an image is prepared, the thresholds."""
    config = metadata.config
    data = config.get("data", {})
    is_padded = metadata.task in ("detection", "segmentation")
    return {
        "task": metadata.task,
        "classes": metadata.classes,
        "size": list(metadata.input_size),
        "ending": metadata.outputs,
        "resize": data.get("resize", "stretch") if is_padded else None,
        "crop_fraction": None if is_padded else data.get("crop_fraction"),
        "background": data.get("background") or "white",
        "thresholds": config.get("thresholds"),
        "threshold": config.get("verification", {}).get("threshold"),
        "colors": _colors(metadata),
        "files": [{"name": path.name, "size": files.size(path), "outputs": _quantization(path)} for path in models],
    }


def _colors(metadata: Metadata) -> list[str]:
    if metadata.task == "segmentation":
        return [
            "#{:02x}{:02x}{:02x}".format(*color) for color in palette(len(metadata.classes))[: len(metadata.classes)]
        ]
    return list(viz.COLORS)


def _quantization(path: Path) -> dict[str, dict[str, float]]:
    """The scale and zero point of each output by name, for files whose outputs are whole numbers."""
    found = {}
    for name, detail in tflite_outputs(open_tflite(path)).items():
        scale, zero_point = detail["quantization"]
        found[name] = {"scale": float(scale), "zero_point": int(zero_point)}
    return found


def copy(source: Path, target: Path) -> None:
    """Copies a file whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(target) as temporary:
        shutil.copyfile(source, temporary)


def install(folder: Path) -> None:
    """Brings LiteRT.js into a page's folder by npm, unless it is there. Raises UserError where that fails."""
    if (folder / RUNTIME).is_file():
        return
    npm = shutil.which("npm")
    cure = f"run npm install in {folder} on a machine with Node.js, and copy its node_modules here"
    if npm is None:
        raise UserError(f"the page needs LiteRT.js, which npm brings: {cure}. Received: no npm on this machine")
    command = [npm, "install", "--omit=dev", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode or not (folder / RUNTIME).is_file():
        reason = " ".join((done.stderr or done.stdout).split())[:300]
        raise UserError(f"npm install must bring LiteRT.js: {cure}. Received: {reason}")


# An Android project


def write_android(folder: Path, metadata: Metadata, models: Sequence[Path], examples: Sequence[np.ndarray]) -> Path:
    """Writes a minimal Gradle project that runs the first file by LiteRT's CompiledModel."""
    floats = [path for path in models if _input_type(path) == "float32"]
    if not floats:
        raise UserError(f"--app android needs a .tflite file with float32 inputs. Received: {models[0].name}")
    assets = folder / "app" / "src" / "main" / "assets"
    copy(floats[0], assets / "model.tflite")
    write(assets / "model.json", json.dumps(description(metadata, floats[:1]), indent=2, ensure_ascii=False))
    for template, place in ANDROID.items():
        text = render(f"android/{template}", task=metadata.task, file=floats[0].name)
        write(folder / place, text)
    return folder


APPS: dict[str, Callable[[Path, Metadata, Sequence[Path], Sequence[np.ndarray]], Path]] = {
    "web": write_web,
    "android": write_android,
}
