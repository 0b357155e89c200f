"""The generated pages say what the code says, and every config key and public name says what it is for."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from mobilenet_tf import config, config_keys

DOCS = next(folder for folder in Path(__file__).parents if (folder / "setup.cfg").exists()) / "docs"
pytest.importorskip("griffe")
spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
generate = importlib.util.module_from_spec(spec)
sys.modules["generate"] = generate  # where dataclasses look for it
spec.loader.exec_module(generate)


# Pages that name files, and the tests that they name, wherever in tests/ those lie
GUIDES = ("ARCHITECTURE.md", "CONTRIBUTING.md")


@pytest.fixture(scope="module")
def api():
    return generate.api_page()


@pytest.mark.parametrize("name", generate.PAGES)
def test_a_page_is_up_to_date(name):
    page = generate.PAGES[name]()
    assert (DOCS / name).read_text(encoding="utf-8") == page, f"docs/{name} is out of date: run {generate.COMMAND}"


def test_check_tells_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(generate, "DOCS", tmp_path)
    monkeypatch.setattr(generate, "PAGES", {"config.md": lambda: "new\n"})
    monkeypatch.setattr(sys, "argv", ["generate.py", "--check"])
    with pytest.raises(SystemExit, match="out of date: config.md; run python docs/generate.py"):
        generate.main()
    monkeypatch.setattr(sys, "argv", ["generate.py"])
    generate.main()
    assert (tmp_path / "config.md").read_text() == "new\n" and not generate.outdated()


def test_the_pages_need_no_tensorflow():
    code = (
        "import runpy, sys; found = runpy.run_path(sys.argv[1]); found['config_page'](); found['api_page']();"
        "print([name for name in ('tensorflow', 'keras') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, DOCS / "generate.py"], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("guide", GUIDES)
def test_the_files_that_a_guide_names_exist(guide):
    text = (DOCS.parent / guide).read_text(encoding="utf-8")
    spans = set(re.findall(r"`([^`\s]+(?:\.(?:py|md|cfg|toml|yaml)|/))`", text))
    named = {re.sub("<[a-z]+>", "*", span) for span in spans}
    patterns = ("{}", "mobilenet_tf/**/{}", "tasks/**/{}", "tests/**/{}")
    lost = {name for name in named if not any(any(DOCS.parent.glob(each.format(name))) for each in patterns)}
    assert len(named) > 10 and not lost


@pytest.mark.parametrize("name", generate.PAGES)
def test_a_page_renders_as_it_is_meant(name):
    tokens = MarkdownIt("commonmark").enable("table").parse(generate.PAGES[name]())
    kinds = {token.type for token in tokens} | {child.type for token in tokens for child in token.children or ()}
    assert not kinds & {"html_block", "html_inline", "em_open", "strong_open", "link_open", "image", "code_block"}


def test_pipes_in_cells_are_escaped():
    cells = [len(re.split(r"(?<!\\)\|", line)) for line in generate.config_page().splitlines() if line.startswith("|")]
    assert len(cells) > 150 and set(cells) == {6}


def undescribed(section, prefix=""):
    for name, field in section.model_fields.items():
        inner = config_keys.sections(field.annotation)
        if not inner and name != "name" and not config_keys.described(section, name):
            yield prefix + name
        for one in inner:
            yield from undescribed(one, f"{prefix}{name}.")


@pytest.mark.parametrize("task", sorted(path.parent.name for path in DOCS.parent.glob("tasks/*/config.py")))
def test_every_key_says_what_it_is_for(task):
    assert not list(undescribed(config.schema(task)))


def test_every_public_name_says_what_it_is_for(api):
    bare = re.findall(r"^#+ ([\w.]+)\n\n```python\n[^`]*```\n+(?=#|\Z)", api, flags=re.MULTILINE)
    assert not bare


@pytest.mark.parametrize(
    ("value", "escaped"),
    [
        ("[*input_size, 3] | _x_", r"[\*input_size, 3] \| \_x\_"),
        ("`a | <b> * c` < d <e>", r"`a \| <b> * c` < d \<e>"),
    ],
)
def test_markup_is_escaped_outside_of_code(value, escaped):
    assert generate.text(value) == escaped
