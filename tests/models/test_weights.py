"""Loading weights: every Keras format, nested and flat, the reports, the published files, and the errors."""

import functools
import hashlib
import http.server
import json
import os
import shutil
import threading
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from mobilenet_tf.models import builder, specs, weights
from mobilenet_tf.models.weights import catalog, loading
from mobilenet_tf.utils.errors import UserError

SIZE = 64


def randomise(model, seed=0):
    """Random weights and BatchNorm statistics, the same for the same order of weights."""
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        low, high = (0.5, 1.5) if variable.path.endswith(("gamma", "moving_variance")) else (-0.3, 0.3)
        variable.assign(low + (high - low) * generator.random(variable.shape, "float32"))
    return model


@functools.cache
def _keras_model(name, top, alpha, classes, size):
    options = {"minimalistic": True} if name.endswith("minimalistic") else {}
    builder = {
        "mobilenet_v1": keras.applications.MobileNet,
        "mobilenet_v2": keras.applications.MobileNetV2,
        "mobilenet_v3_large": keras.applications.MobileNetV3Large,
        "mobilenet_v3_small": keras.applications.MobileNetV3Small,
    }[name.removesuffix("_minimalistic")]
    shape = (size, size, 3)
    return builder(shape, alpha=alpha, include_top=top, weights=None, classes=classes, **options)


def keras_model(name, top=True, alpha=1.0, classes=1000, size=SIZE):
    """The network as keras.applications builds it, with random weights; built once."""
    return randomise(_keras_model(name, top, alpha, classes, size))


@functools.cache
def _our_model(name, top, alpha, classes):
    options = {"minimalistic": True} if name.endswith("minimalistic") else {}
    network = {
        "mobilenet_v1": builder.MobileNetV1,
        "mobilenet_v2": builder.MobileNetV2,
        "mobilenet_v3_large": builder.MobileNetV3Large,
        "mobilenet_v3_small": builder.MobileNetV3Small,
    }[name.removesuffix("_minimalistic")]
    return network((SIZE, SIZE, 3), alpha=alpha, include_top=top, weights=None, classes=classes, **options)


def our_model(name, top=True, alpha=1.0, classes=1000):
    """The network as we build it, with other random weights; built once."""
    return randomise(_our_model(name, top, alpha, classes), seed=99)


def classifier(name="mobilenet_v2", alpha=0.35, classes=5):
    """Our kind of classifier: a nested backbone, pooling, dropout, logits."""
    image = keras.Input((SIZE, SIZE, 3))
    x = builder.backbone(name, alpha, (SIZE, SIZE, 3))(image)["s32"]
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, layers.Dense(classes, name="logits")(x))


def keras_classifier(classes=5, alpha=0.35):
    """What users of Keras save: a Sequential around keras.applications' network."""
    base = keras_model("mobilenet_v2", top=False, alpha=alpha)
    parts = [keras.Input((SIZE, SIZE, 3)), base, layers.GlobalAveragePooling2D(), layers.Dense(classes)]
    return randomise(keras.Sequential(parts), seed=1)


def same(ours, theirs):
    """Whether all weights agree, in order."""
    return len(ours) == len(theirs) and all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def save(model, path):
    """Saves as the file's ending says; ".h5" is the legacy format of the published files, weights only."""
    if path.name.endswith(".weights.h5") or not path.name.endswith("only.h5"):
        model.save_weights(path) if path.name.endswith(".weights.h5") else model.save(path)
        return path
    whole = path.with_name("whole.h5")
    model.save(whole)
    with h5py.File(whole) as source, h5py.File(path, "w") as target:
        for name, value in source["model_weights"].attrs.items():
            target.attrs[name] = value
        for name in source["model_weights"]:
            source.copy(f"model_weights/{name}", target)
    return path


def rename(path, change):
    """Renames the layers of a legacy file as `change` says: name -> name."""
    with h5py.File(path) as source, h5py.File(path.with_name("renamed.h5"), "w") as target:
        names = [n if isinstance(n, str) else n.decode() for n in source.attrs["layer_names"]]
        target.attrs["layer_names"] = [change(n).encode() for n in names]
        for name in names:
            group = target.create_group(change(name))
            tensors = [t if isinstance(t, str) else t.decode() for t in source[name].attrs["weight_names"]]
            renamed = [f"{change(name)}/{t.rpartition('/')[2]}:0" for t in tensors]
            group.attrs["weight_names"] = [t.encode() for t in renamed]
            for old, new in zip(tensors, renamed, strict=True):
                group[new] = source[name][old][()]
    return path.with_name("renamed.h5")


def keras2_v2(name):
    """V2's layer names in Keras 2.2.0, when its files were published."""
    for old, new in (("expanded_conv_", "block_0_"), ("predictions", "Logits")):
        name = name.replace(old, new)
    if not name.startswith("block_"):
        return name
    _, block, part = name.split("_", 2)
    if part.endswith("_BN"):
        return f"bn{block}_conv_{block}_bn_{part.removesuffix('_BN')}"
    return f"mobl{block}_conv_{block}_{part}"


def keras2_v3(name):
    """V3's layer names in tf.keras, when its files were published: "expanded_conv_1/expand/BatchNorm"."""
    name = "Conv" + name[4:] if name.startswith("conv") else name.replace("logits", "Logits")
    for part in ("expand", "depthwise", "project", "squeeze_excite"):
        name = name.replace(f"_{part}", f"/{part}")
    name = name.replace("squeeze_excite_conv", "squeeze_excite/Conv")
    return name.removesuffix("_bn") + "/BatchNorm" if name.endswith("_bn") else name


# Formats -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["only.h5", "model.h5", "net.weights.h5", "model.keras"])
@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small"])
def test_every_format_of_keras_applications_loads_whole(tmp_path, name, file):
    theirs, ours = keras_model(name), our_model(name)
    report = weights.load(ours, save(theirs, tmp_path / file))
    assert same(ours.get_weights(), theirs.get_weights())
    assert (report.loaded, report.skipped, report.reset) == (len(ours.weights), 0, 0)


@pytest.mark.parametrize("name", ["mobilenet_v3_large", "mobilenet_v3_large_minimalistic"])
def test_v3_large_loads_too(tmp_path, name):
    theirs, ours = keras_model(name, top=False), our_model(name, top=False)
    weights.load(ours, save(theirs, tmp_path / "net.weights.h5"), net=name, alpha=1.0)
    assert same(ours.get_weights(), theirs.get_weights())


@pytest.mark.parametrize("file", ["only.h5", "model.h5", "net.weights.h5", "model.keras"])
def test_every_format_of_a_nested_model_loads(tmp_path, file):
    theirs, ours = keras_classifier(), classifier()
    report = weights.load(ours, save(theirs, tmp_path / file), net="mobilenet_v2", alpha=0.35)
    assert same(ours.get_weights(), theirs.get_weights())
    assert (report.skipped, report.reset) == (0, 0)


@pytest.mark.parametrize("file", ["model.h5", "net.weights.h5", "model.keras"])
def test_our_own_files_load(tmp_path, file):
    first, second = randomise(classifier("mobilenet_v3_small", 1.0)), classifier("mobilenet_v3_small", 1.0)
    weights.load(second, save(first, tmp_path / file))
    assert same(second.get_weights(), first.get_weights())
    flat = our_model("mobilenet_v3_small", top=False)
    report = weights.load(flat, tmp_path / file)
    assert same(flat.get_weights(), first.get_layer("backbone").get_weights())
    assert (report.skipped, report.reset) == (2, 0)


def test_a_frozen_nested_backbone_in_a_legacy_file_loads(tmp_path):
    # Keras lists trainable tensors before frozen ones there, so the layers are out of order
    theirs = keras_classifier()
    for layer in theirs.layers[0].layers[:100]:
        layer.trainable = False
    theirs.save(tmp_path / "model.h5")
    theirs.trainable = True
    ours = classifier()
    weights.load(ours, tmp_path / "model.h5")
    assert same(ours.get_weights(), theirs.get_weights())


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small"])
def test_keras3_files_without_layer_names_load_by_class_and_number(tmp_path, name):
    theirs, ours = keras_model(name), our_model(name)
    path = save(theirs, tmp_path / "net.weights.h5")
    with h5py.File(path, "a") as file:
        file.visititems(lambda _, item: item.attrs.pop("name", None) and None)
    weights.load(ours, path)
    assert same(ours.get_weights(), theirs.get_weights())


@pytest.mark.parametrize(
    ("name", "change"),
    [("mobilenet_v2", keras2_v2), ("mobilenet_v3_small", keras2_v3), ("mobilenet_v1", lambda n: f"other_{n}")],
)
@pytest.mark.parametrize("top", [True, False])
def test_keras2_layer_names_load(tmp_path, name, change, top):
    theirs = keras_model(name, top)
    path = rename(save(theirs, tmp_path / "only.h5"), change)
    ours = our_model(name, top)
    weights.load(ours, path)
    assert same(ours.get_weights(), theirs.get_weights())


# Heads -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small"])
def test_another_number_of_classes_resets_the_classifier_only(tmp_path, name, capsys):
    theirs, ours = keras_model(name, classes=7), our_model(name, classes=5)
    before = [w.numpy() for w in ours.layers[-1].weights or ours.weights[-2:]]
    report = weights.load(ours, save(theirs, tmp_path / "only.h5"))
    assert (report.loaded, report.skipped, report.reset) == (len(ours.weights) - 2, 2, 2)
    head = {"mobilenet_v1": "conv_preds", "mobilenet_v2": "predictions"}.get(name, "logits")
    assert report.reset_layers == (head,)
    assert same(ours.get_layer(head).get_weights(), before)
    title = specs.NETS[name].title
    line = f"Weights of {title} alpha=1.0 from only.h5: {report.loaded} tensors loaded, 2 skipped, 2 reset ({head})"
    assert capsys.readouterr().err.strip() == str(report) == line


def test_a_file_without_top_resets_the_head(tmp_path):
    path = save(keras_model("mobilenet_v3_small", top=False), tmp_path / "only.h5")
    report = weights.load(our_model("mobilenet_v3_small"), path)
    assert (report.skipped, report.reset, report.reset_layers) == (0, 4, ("conv_2", "logits"))


def test_a_1x1_convolution_loads_into_a_dense_classifier(tmp_path):
    theirs = keras_model("mobilenet_v1", alpha=0.25, classes=5)
    ours = classifier("mobilenet_v1", 0.25)
    report = weights.load(ours, save(theirs, tmp_path / "only.h5"))
    assert report.reset == 0
    np.testing.assert_array_equal(ours.get_layer("logits").kernel, theirs.get_layer("conv_preds").kernel[0, 0])


def test_any_output_stride_takes_the_same_weights(tmp_path):
    theirs = keras_model("mobilenet_v2", top=False, alpha=0.35)
    ours = builder.backbone("mobilenet_v2", 0.35, (None, None, 3), output_stride=8)
    weights.load(ours, save(theirs, tmp_path / "only.h5"))
    assert same(ours.get_weights(), theirs.get_weights())


# Mistakes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "wanted", "message"),
    [
        (
            ("mobilenet_v2", 1.0),
            ("mobilenet_v2", 0.35),
            "those of MobileNetV2 alpha=0.35; only.h5 holds MobileNetV2 alpha=1.0.",
        ),
        (
            ("mobilenet_v1", 0.25),
            ("mobilenet_v2", 0.35),
            "MobileNetV2 alpha=0.35; only.h5 holds MobileNetV1 alpha=0.25.",
        ),
        (("mobilenet_v2", 0.6), ("mobilenet_v1", 0.25), "MobileNetV1 alpha=0.25; only.h5 holds MobileNetV2 alpha=0.6."),
        (
            ("mobilenet_v3_small_minimalistic", 1.0),
            ("mobilenet_v3_small", 1.0),
            "MobileNetV3Small alpha=1.0; only.h5 holds MobileNetV3Small minimalistic alpha=1.0.",
        ),
    ],
)
def test_another_network_or_width_is_named_and_nothing_changes(tmp_path, held, wanted, message):
    path = save(keras_model(held[0], alpha=held[1]), tmp_path / "only.h5")
    ours = our_model(wanted[0], alpha=wanted[1])
    before = ours.get_weights()
    with pytest.raises(UserError) as error:
        weights.load(ours, path, net=wanted[0], alpha=wanted[1])
    assert message in str(error.value) and str(error.value).endswith(f"Received: {path}")
    assert same(ours.get_weights(), before)


def test_a_reduced_tail_is_named():
    model = builder.backbone("mobilenet_v3_large", 1.0, reduced_tail=True)
    identity = weights.identify(v.shape for v in model.weights)
    assert str(identity) == "MobileNetV3Large alpha=1.0 with a reduced tail"


@pytest.mark.parametrize("name", list(specs.NETS))
def test_every_published_width_is_identified(name):
    for alpha in specs.NETS[name].alphas:
        model = builder.backbone(name, alpha)
        assert weights.identify(v.shape for v in model.weights) == weights.Identity(name, alpha)


def test_an_incomplete_backbone_fails(tmp_path):
    theirs = keras_model("mobilenet_v2", top=False, alpha=0.35)
    cut = keras.Model(theirs.input, theirs.get_layer("block_16_depthwise").output)
    path = save(cut, tmp_path / "only.h5")
    with pytest.raises(UserError, match=r"lacks 14 of its 260 tensors .* in layer block_16_depthwise_BN\. Received: "):
        weights.load(classifier(), path)


def test_an_unknown_network_is_named_as_such(tmp_path):
    other = keras.Sequential([keras.Input((8,)), layers.Dense(4)])
    with pytest.raises(UserError, match=r"only\.h5 holds an unknown network of 36 parameters"):
        weights.load(classifier(), save(other, tmp_path / "only.h5"))


def test_a_keras_file_with_a_lambda_is_refused(tmp_path):
    inputs = keras.Input((SIZE, SIZE, 3))
    inner = keras.Sequential([keras.Input((SIZE, SIZE, 3)), layers.Lambda(lambda x: x / 2), layers.Dense(2)])
    keras.Model(inputs, inner(inputs)).save(tmp_path / "evil.keras")
    with pytest.raises(UserError, match=r"without Lambda layers.*Received: .*evil\.keras"):
        weights.load(classifier(), tmp_path / "evil.keras")


def make_bad(folder, kind):
    path = folder / "bad.h5"
    if kind == "text":
        path.write_text("no weights")
    elif kind == "empty h5":
        h5py.File(path, "w").close()
    elif kind == "cut":
        good = save(keras_model("mobilenet_v2", top=False, alpha=0.35), folder / "only.h5")
        path.write_bytes(good.read_bytes()[:100_000])
    elif kind in ("zip", "no config"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json" if kind == "zip" else "other", json.dumps({}))
    elif kind == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize("kind", ["missing", "folder", "text", "empty h5", "cut", "zip", "no config"])
def test_a_bad_file_is_one_clear_line(tmp_path, kind):
    path = make_bad(tmp_path, kind)
    with pytest.raises(UserError) as error:
        weights.load(classifier(), path)
    text = str(error.value)
    assert text.startswith("weights must be") and text.endswith(f"Received: {path}") and "\n" not in text


# Published files ---------------------------------------------------------------------------------


def test_the_table_of_published_files_is_kerass():
    from keras.src.applications import mobilenet, mobilenet_v2, mobilenet_v3

    assert len(weights.PUBLISHED) == 2 * (16 + 22 + 6)
    assert len({r.url for r in weights.PUBLISHED}) == len(weights.PUBLISHED)
    hashes = {r.file: r.md5 for r in weights.PUBLISHED if "v3" in r.net}
    for name, (top, no_top) in mobilenet_v3.WEIGHTS_HASHES.items():
        assert hashes[f"weights_mobilenet_v3_{name}.h5"] == top
        assert hashes[f"weights_mobilenet_v3_{name}_no_top_v2.h5"] == no_top
    bases = {"mobilenet_v1": mobilenet, "mobilenet_v2": mobilenet_v2}
    for record in weights.PUBLISHED:
        base = bases.get(record.net, mobilenet_v3).BASE_WEIGHT_PATH
        assert record.url == base + record.file
        assert record.alpha in specs.NETS[record.net].alphas and record.size in specs.NETS[record.net].sizes
    for net in specs.NETS.values():
        assert not net.sizes or all(weights.published(net.name, alpha).size == 224 for alpha in net.alphas)


@pytest.mark.parametrize(
    ("name", "alpha", "top", "options"),
    [
        ("MobileNet", 0.75, True, {}),
        ("MobileNetV2", 1.4, False, {}),
        ("MobileNetV2", 0.35, True, {}),
        ("MobileNetV3Small", 1.0, False, {"minimalistic": True}),
    ],
)
def test_keras_asks_for_the_files_of_the_table(monkeypatch, name, alpha, top, options):
    asked = []

    class Asked(Exception):
        pass

    def get_file(file, url, **kwargs):
        asked.append((file, url, kwargs.get("file_hash")))
        raise Asked

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    with pytest.raises(Asked):
        getattr(keras.applications, name)((224, 224, 3), alpha=alpha, include_top=top, weights="imagenet", **options)
    net = {"MobileNet": "mobilenet_v1", "MobileNetV2": "mobilenet_v2"}.get(name, "mobilenet_v3_small_minimalistic")
    record = weights.published(net, alpha, 224, top)
    assert asked[0][:2] == (record.file, record.url) and asked[0][2] in (None, record.md5)


@pytest.mark.parametrize(
    ("net", "alpha", "message"),
    [
        (
            "mobilenet_v1",
            0.6,
            "alpha must be one of 0.25, 0.5, 0.75, 1.0 for published MobileNetV1 weights. Received: alpha=0.6",
        ),
        (
            "mobilenet_v3_large_minimalistic",
            0.75,
            "alpha must be one of 1.0 for published MobileNetV3Large minimalistic",
        ),
        ("resnet", 1.0, "Received: resnet"),
    ],
)
def test_what_is_not_published_is_an_error(net, alpha, message):
    with pytest.raises(UserError) as error:
        weights.published(net, alpha)
    assert message in str(error.value)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "models"


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A server on this machine in place of Keras's; returns its folder. "short" in a name breaks off half-way."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args):
            pass

        def copyfile(self, source, out):
            data = source.read()
            out.write(data[: len(data) // 2] if (folder / "short").exists() else data)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_address[1]}/"
    records = [weights.Published(**{**vars(r), "url": base + r.file, "md5": None}) for r in weights.PUBLISHED]
    monkeypatch.setattr(catalog, "PUBLISHED", tuple(records))
    yield folder
    server.shutdown()
    server.server_close()


def pinned(monkeypatch, file, md5):
    records = [weights.Published(**{**vars(r), "md5": md5 if r.file == file else r.md5}) for r in catalog.PUBLISHED]
    monkeypatch.setattr(catalog, "PUBLISHED", tuple(records))


def test_imagenet_weights_are_downloaded_verified_and_kept(home, served, tmp_path, monkeypatch, capsys):
    theirs = keras_model("mobilenet_v2", top=False, alpha=0.35)
    name = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"
    shutil.copy(save(theirs, tmp_path / "only.h5"), served / name)
    digest = hashlib.md5((served / name).read_bytes()).hexdigest()
    ours = builder.MobileNetV2((SIZE, SIZE, 3), alpha=0.35, include_top=False, weights="imagenet")
    assert same(ours.get_weights(), theirs.get_weights())
    assert f"{name}: no published checksum to compare with; md5 {digest}" in capsys.readouterr().err
    assert [p.name for p in home.iterdir()] == [name]

    (served / name).unlink()  # kept: no second download, also under a checksum
    pinned(monkeypatch, name, digest)
    model = classifier()
    weights.load(model, "imagenet", net="mobilenet_v2", alpha=0.35)
    assert same(model.get_layer("backbone").get_weights(), theirs.get_weights())


@pytest.mark.parametrize(
    ("model", "file"),
    [
        (
            lambda: classifier("mobilenet_v2", 0.35),
            "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5",
        ),
        (lambda: classifier("mobilenet_v1", 0.25, 1000), "mobilenet_2_5_224_tf.h5"),
        (lambda: our_model("mobilenet_v1", alpha=0.5), "mobilenet_5_0_224_tf.h5"),
        (lambda: our_model("mobilenet_v3_small", classes=5), "weights_mobilenet_v3_small_224_1.0_float.h5"),
        (lambda: builder.backbone("mobilenet_v3_large"), "weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5"),
        (
            lambda: builder.backbone("mobilenet_v2", 0.35, (96, 96, 3)),
            "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96_no_top.h5",
        ),
        (
            lambda: builder.backbone("mobilenet_v2", 0.35, (96, 128, 3)),
            "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5",
        ),
    ],
)
def test_imagenet_chooses_the_file_that_fits_the_model(monkeypatch, model, file):
    class Chosen(Exception):
        pass

    def download(record):
        raise Chosen(record.file)

    monkeypatch.setattr(loading, "download", download)
    with pytest.raises(Chosen) as chosen:
        weights.load(model(), "imagenet")
    assert chosen.value.args == (file,)


def test_imagenet_weights_are_for_mobilenets(home):
    other = keras.Sequential([keras.Input((8,)), layers.Dense(4)])
    with pytest.raises(UserError, match='must be a MobileNet for weights="imagenet"'):
        weights.load(other, "imagenet")
    with pytest.raises(UserError, match=r"Received: alpha=0\.6"):
        builder.MobileNetV1((SIZE, SIZE, 3), alpha=0.6, weights="imagenet")


@pytest.mark.parametrize("trouble", ["offline", "absent", "short", "wrong md5", "read-only"])
def test_a_failed_download_names_file_address_and_place(home, served, monkeypatch, trouble):
    record = weights.published("mobilenet_v1", 0.25)
    if trouble != "absent":
        (served / record.file).write_bytes(b"weights" * 1000)
    reason = {
        "offline": "refused",
        "absent": "404",
        "short": "broke off after 3500 of 7000 bytes",
        "wrong md5": "a file with md5",
        "read-only": "Not a directory",
    }[trouble]
    if trouble == "short":
        (served / "short").touch()
    if trouble == "wrong md5":
        record = weights.Published(**{**vars(record), "md5": "0" * 32})
    if trouble == "offline":
        record = weights.Published(**{**vars(record), "url": f"http://127.0.0.1:9/{record.file}"})
    if trouble == "read-only":
        home.parent.write_text("a file where the folder should be")
    with pytest.raises(UserError) as error:
        weights.download(record)
    text = str(error.value)
    assert text.startswith(
        f"{record.file} must be downloaded from {record.url}, or put by hand at {home / record.file}."
    )
    assert reason.lower() in text.lower() and "\n" not in text
    assert not home.is_dir() or list(home.iterdir()) == []


def test_a_damaged_cached_file_is_downloaded_again(home, served, monkeypatch):
    record = weights.published("mobilenet_v1", 0.25)
    (served / record.file).write_bytes(b"right")
    record = weights.Published(**{**vars(record), "md5": hashlib.md5(b"right").hexdigest()})
    home.mkdir(parents=True)
    (home / record.file).write_bytes(b"damaged")
    assert weights.download(record).read_bytes() == b"right"


def test_file_addresses_work_and_the_cache_is_kerass(home, tmp_path, monkeypatch):
    (tmp_path / "here.h5").write_bytes(b"weights")
    record = weights.published("mobilenet_v1", 0.25)
    digest = hashlib.md5(b"weights").hexdigest()
    record = weights.Published(**{**vars(record), "url": (tmp_path / "here.h5").as_uri(), "md5": digest})
    assert weights.download(record) == home / record.file
    monkeypatch.delenv("KERAS_HOME")
    assert weights.cache_folder() == Path.home() / ".keras" / "models"


# Real data ---------------------------------------------------------------------------------------


@pytest.mark.real_data
@pytest.mark.skipif("MOBILENET_TF_TEST_DATA" not in os.environ, reason="MOBILENET_TF_TEST_DATA is not set")
def test_the_dogs_classifier_gives_kerass_probabilities():
    path = Path(os.environ["MOBILENET_TF_TEST_DATA"]) / "weights" / "mobilenet_v2_160_dogs19.h5"
    reference = keras.models.load_model(path, compile=False)
    image = keras.Input((160, 160, 3))
    x = builder.backbone("mobilenet_v2", 1.0, (160, 160, 3))(image)["s32"]
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    ours = keras.Model(image, layers.Dense(19, activation="softmax")(x))
    report = weights.load(ours, path, net="mobilenet_v2", alpha=1.0)
    assert (report.loaded, report.skipped, report.reset) == (262, 0, 0)
    images = np.random.default_rng(0).integers(0, 256, (4, 5, 5, 3))
    images = np.asarray(keras.ops.image.resize(images.astype("float32"), (160, 160)))
    expected = np.asarray(reference(images / 127.5 - 1, training=False))
    assert expected.std(axis=0).max() > 0.01
    np.testing.assert_allclose(np.asarray(ours(images, training=False)), expected, rtol=0, atol=1e-5)
