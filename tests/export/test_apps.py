"""The programs around exported files: what is written, what is served, and what a real browser answers."""

import base64
import contextlib
import hashlib
import http.client
import json
import re
import shutil
import subprocess
import threading
import time
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from mobilenet_tf import config, workflow
from mobilenet_tf.data import preprocess
from mobilenet_tf.export import apps, convert, serve
from mobilenet_tf.inference import artifact
from mobilenet_tf.inference.artifact import Metadata
from mobilenet_tf.inference.predict import load_predictor
from mobilenet_tf.prediction import predict_images
from mobilenet_tf.utils.errors import UserError

COUNTS = ["data.counts={train: 20, validation: 10, test: 10}"]
TASKS = {  # config: overrides that make its network small
    "demo": ["model.input_size=[32,32]", "data.crop_fraction=0.875"],
    "attributes_scenes": ["model.input_size=[32,32]", "thresholds=[0.4,0.5,0.5,0.5,0.5,0.5,0.5,0.5]"],
    "embedding_scenes": ["model.input_size=[32,48]", "verification.threshold=0.5"],
    "lraspp_scenes": ["model.input_size=[32,48]"],
    "ssdlite_scenes": ["model.input_size=[64,64]"],
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Returns a function from the name of a config to a .tflite file of its untrained network."""
    files = {}

    def export(name):
        if name not in files:
            cfg = config.load(name, [*COUNTS, *TASKS[name]])
            task = workflow.find_task(cfg.task)(cfg)
            source = task.source("validation")
            metadata = Metadata(
                cfg.task,
                list(source.classes) if task.closed_set else [],
                cfg.model.input_size,
                config=cfg.to_dict(),
                outputs=cfg.export.outputs,
            )
            path = tmp_path_factory.mktemp(name) / "model.tflite"
            files[name] = convert.export(task.serving_model(task.model(source)), path, "tflite", metadata=metadata)
        return files[name]

    return export


def picture(height=90, width=120):
    """A smooth image, whose pixels a browser and Pillow read alike."""
    y, x = np.mgrid[:height, :width] / [[[height]], [[width]]]
    return (255 * np.stack([y, x, (1 + np.sin(9 * x * y)) / 2], -1)).astype(np.uint8)


def test_the_page_has_all_it_needs(exported, tmp_path):
    folder = workflow.write_app("web", exported("demo"), tmp_path / "web")
    about = json.loads((folder / "model.json").read_text())
    assert about["task"] == "classification" and len(about["classes"]) == 10 and about["size"] == [32, 32]
    assert (about["crop_fraction"], about["resize"], about["ending"]) == (0.875, None, "softmax")
    assert [file["name"] for file in about["files"]] == ["model.tflite"]
    assert (folder / "models" / "model.tflite").read_bytes() == exported("demo").read_bytes()
    assert json.loads((folder / "package.json").read_text())["dependencies"] == {"@litertjs/core": apps.LITERT_JS}
    page = (folder / "index.html").read_text()
    [inline] = re.findall(r'<script type="importmap">(.*?)</script>', page)
    wanted = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    assert f"'sha256-{wanted}'" in page and json.loads(inline)["imports"]
    for name in ("index.html", "app.js", "tasks.js", "preprocess.js", "server.mjs"):
        text = (folder / name).read_text()
        assert not re.findall(r"https?://(?!127\.0\.0\.1|localhost)", text), "nothing from elsewhere at run time"
        for other in re.findall(r'from "\./([^"]+)"', text):
            assert (folder / other).is_file()


def test_names_of_strangers_stay_text(exported, tmp_path):
    evil = "<script>alert(1)</script>"
    path = tmp_path / f"{evil.replace('/', '')}.tflite"
    shutil.copy(exported("demo"), path)
    page = (workflow.write_app("web", path, tmp_path / "web") / "index.html").read_text()
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page


@pytest.mark.parametrize("name", sorted(TASKS))
def test_the_android_project_is_whole(name, exported, tmp_path):
    folder = workflow.write_app("android", exported(name), tmp_path / "android")
    manifest = ElementTree.parse(folder / "app/src/main/AndroidManifest.xml")
    assert manifest.getroot().tag == "manifest"
    assert (folder / "app/src/main/assets/model.tflite").read_bytes() == exported(name).read_bytes()
    about = json.loads((folder / "app/src/main/assets/model.json").read_text())
    network = (folder / "app/src/main/java/org/example/mobilenet/Network.kt").read_text()
    for key in re.findall(r'about\.\w+\("(\w+)"\)', network):
        assert key in about, key
    for file in folder.rglob("*.kt*"):
        text = file.read_text()
        assert "{{" not in text and "{%" not in text
        for left, right in ("{}", "()", "[]"):
            assert text.count(left) == text.count(right), file


def test_what_cannot_be_run_is_one_line(exported, tmp_path):
    with pytest.raises(UserError, match="--app must be one of web, android. Received: ios"):
        apps.write_app("ios", tmp_path / "x", [exported("demo")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="must write a .tflite file first. Received: none in"):
        workflow.write_app("web", tmp_path / "empty")
    with pytest.raises(UserError, match="must exist. Received: .*nowhere"):
        workflow.write_app("web", tmp_path / "nowhere")
    other = shutil.copy(exported("demo"), tmp_path / "other.tflite")
    metadata = artifact.read(other)
    artifact.write(other, Metadata("detection", metadata.classes, (32, 32), outputs="raw"))
    with pytest.raises(UserError, match="detection that end in detections: set export.outputs. Received: raw"):
        workflow.write_app("web", other, tmp_path / "x")
    assert not (tmp_path / "x").exists()


@contextlib.contextmanager
def served(folder):
    running = serve.server(folder)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    try:
        yield running
    finally:
        running.shutdown()
        running.server_close()


def asked(running, path, host=None):
    connection = http.client.HTTPConnection(*running.server_address[:2])
    connection.request("GET", path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    return answer.status, answer.getheader("Content-Type"), answer.read()


def test_the_server_is_for_this_machine_and_this_folder(tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    folder = tmp_path / "web"
    (folder / "models").mkdir(parents=True)
    for name in ("index.html", "a.wasm", "b.mjs", "models/model.tflite"):
        (folder / name).write_bytes(b"content")
    with served(folder) as running:
        port = running.server_address[1]
        assert running.server_address[0] == "127.0.0.1" and serve.address(running) == f"http://127.0.0.1:{port}/"
        assert asked(running, "/") == (200, "text/html", b"content")
        assert asked(running, "/a.wasm")[1] == "application/wasm" and asked(running, "/b.mjs")[1] == "text/javascript"
        assert asked(running, "/", f"localhost:{port}")[0] == 200
        assert asked(running, "/", f"evil.example:{port}")[0] == 403, "a name of a stranger's that leads here"
        assert asked(running, "/models/")[0] == 404, "no lists of folders"
        for path in ("/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "//etc/passwd"):
            status, _, content = asked(running, path)
            assert status == 404 and b"secret\n" not in content and b"root:" not in content
        with pytest.raises(UserError, match="--port must be a free port of this machine"):
            serve.server(folder, port)


def test_a_machine_without_npm_is_told_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(apps.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="run npm install in .* Received: no npm on this machine"):
        apps.install(tmp_path)


NODE = shutil.which("node")


@pytest.mark.skipif(NODE is None, reason="there is no node on this machine")
@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"size": [32, 48], "crop_fraction": None, "resize": None}, (90, 120)),
        ({"size": [32, 32], "crop_fraction": 0.875, "resize": None}, (90, 121)),
        ({"size": [64, 64], "crop_fraction": None, "resize": "letterbox"}, (33, 120)),
        ({"size": [64, 64], "crop_fraction": None, "resize": "letterbox"}, (150, 40)),
        ({"size": [64, 64], "crop_fraction": None, "resize": "pad"}, (20, 30)),
        ({"size": [64, 64], "crop_fraction": None, "resize": "stretch"}, (20, 130)),
    ],
)
def test_the_page_prepares_images_as_evaluation_does(options, shape, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    code = (apps.package_files("mobilenet_tf.export") / "templates" / "web" / "preprocess.js").read_text()
    (tmp_path / "preprocess.mjs").write_text(code)
    rgba = np.dstack([image, np.full(shape, 255, np.uint8)]).ravel().tolist()
    given = {"image": {"data": rgba, "height": shape[0], "width": shape[1]}, "options": options}
    (tmp_path / "given.json").write_text(json.dumps(given))
    (tmp_path / "run.mjs").write_text(
        'import { readFileSync } from "node:fs"; import { preprocess } from "./preprocess.mjs";\n'
        'const { image, options } = JSON.parse(readFileSync("given.json"));\n'
        "console.log(JSON.stringify(Array.from(preprocess(image, options))));"
    )
    assert NODE is not None
    done = subprocess.run([NODE, "run.mjs"], cwd=tmp_path, capture_output=True, text=True, check=True)
    got = np.array(json.loads(done.stdout)).reshape(*options["size"], 3)
    size, resize = tuple(options["size"]), options["resize"]
    if resize:
        want = preprocess.letterbox(image, size, resize)
    else:
        want = preprocess.resize(image, size, options["crop_fraction"])
    np.testing.assert_allclose(got, want, atol=0.02)


# In a real browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    with playwright.sync_playwright() as running:
        camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *camera])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    """The folder of LiteRT.js, from the npm registry."""
    folder = tmp_path_factory.mktemp("npm")
    package = {"private": True, "dependencies": {"@litertjs/core": apps.LITERT_JS}}
    (folder / "package.json").write_text(json.dumps(package))
    try:
        apps.install(folder)
    except UserError as error:
        pytest.skip(str(error))
    return folder / "node_modules"


def until(page, expression, seconds=30):
    """Waits for an expression; Playwright's own waiting needs eval, which the page's policy forbids."""
    for _ in range(seconds * 10):
        assert page.evaluate("document.getElementById('status').className") != "failed", page.inner_text("#status")
        if page.evaluate(expression):
            return
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {expression}")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TASKS))
def test_a_real_browser_gives_the_same_outputs(name, exported, browser, runtime, tmp_path):
    """The page runs every task's file unchanged, offline, and what it says is what `predict` says."""
    path, image = exported(name), picture()
    folder = workflow.write_app("web", path, tmp_path / "web")
    (folder / "node_modules").symlink_to(runtime)
    Image.fromarray(image).save(tmp_path / "picture.png")
    predictor, cfg = load_predictor(path), workflow.open_config(path)
    inference = workflow.find_inference(cfg.task)(cfg)
    raw = predictor.run(inference.preprocess(image)[None]) if hasattr(predictor, "run") else {}
    [prediction] = predict_images(inference, predictor, [image])
    with served(folder) as running:
        page = browser.new_page(viewport={"width": 390, "height": 844})
        elsewhere, faults = [], []
        own = (serve.address(running), "blob:", "data:")
        page.on("request", lambda request: None if request.url.startswith(own) else elsewhere.append(request.url))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(serve.address(running))
        until(page, "document.getElementById('status').textContent === 'ready'")
        page.set_input_files("#picture", [str(tmp_path / "picture.png")])
        until(page, "window.mobilenet.last !== null")
        outputs = page.evaluate(
            "Object.fromEntries(Object.entries(window.mobilenet.last.outputs).map(([k, v]) => [k, Array.from(v)]))"
        )
        lines = page.inner_text("#lines")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it fits a phone"
        page.close()
    assert not elsewhere and not faults
    for key, values in raw.items():
        want, got = np.asarray(values), np.reshape(outputs[key], np.shape(values))
        if "num_detections" in raw and want.ndim > 1:  # what stands behind the last detection is undefined
            want, got = (rows[:, : int(raw["num_detections"][0])] for rows in (want, got))
        np.testing.assert_allclose(got, want, rtol=1e-2, atol=2e-3, err_msg=key)
    classes = predictor.metadata.classes
    if cfg.task == "classification":
        best = classes[int(prediction["probabilities"].argmax())]
        assert lines.startswith(best)
    elif cfg.task == "attributes":
        assert [n for n, p in zip(classes, prediction["present"], strict=True) if p] == [
            n for n in classes if n in lines
        ]
    elif cfg.task == "segmentation":
        assert classes[np.bincount(prediction["mask"].ravel()).argmax()] in lines
    elif cfg.task == "embedding":
        assert "the first picture" in lines


DROP = """async () => {
  const canvas = new OffscreenCanvas(64, 48);
  canvas.getContext("2d").fillRect(0, 0, 20, 20);
  const data = new DataTransfer();
  data.items.add(new File([await canvas.convertToBlob()], "dropped.png", { type: "image/png" }));
  document.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
}"""


@pytest.mark.slow
def test_the_camera_a_dropped_picture_an_example_and_another_file(exported, browser, runtime, tmp_path):
    shutil.copy(exported("lraspp_scenes"), tmp_path / "model.tflite")
    shutil.copy(exported("lraspp_scenes"), tmp_path / "model_b.tflite")
    Image.fromarray(picture()).save(files_below(tmp_path, "examples") / "1.png")
    folder = workflow.write_app("web", tmp_path, tmp_path / "web")
    (folder / "node_modules").symlink_to(runtime)
    with served(folder) as running:
        page = browser.new_page()
        page.goto(serve.address(running))
        until(page, "document.getElementById('status').textContent === 'ready'")
        page.click("#camera")
        until(page, "window.mobilenet.last?.name === 'camera'")
        page.click("#camera")
        until(page, "window.mobilenet.stream === null && !window.mobilenet.busy")
        page.evaluate(DROP)
        until(page, "window.mobilenet.last.name === 'dropped.png'")
        page.click("#examples button")
        until(page, "window.mobilenet.last.name === 'examples/1.png'")
        page.select_option("#file", "model_b.tflite")
        until(page, "window.mobilenet.entry.name === 'model_b.tflite' && window.mobilenet.times.length === 1")
        (tmp_path / "notes.txt").write_text("no picture")
        page.set_input_files("#picture", [str(tmp_path / "notes.txt")])
        time.sleep(0.5)
        assert page.inner_text("#status") == "notes.txt is no picture that this browser reads"
        page.close()


def files_below(folder, name):
    (folder / name).mkdir()
    return folder / name
