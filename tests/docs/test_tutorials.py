"""Every command and every Python block of a tutorial works, in order, on tiny data and with few updates."""

import re
import shlex
from glob import glob
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cli

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
TUTORIALS = [*sorted((ROOT / "docs" / "tutorials").glob("*.md")), ROOT / "docs" / "method.md", ROOT / "docs" / "index.md"]
BLOCK = re.compile(
    r"(<!-- not executed: .+? -->\n)?^```(bash|python|toml)(?: title=\"(.+?)\")?\n(.*?)^```", re.DOTALL | re.MULTILINE
)
# What shortens a command without changing what it shows.
FEW = "--limit 24 --measure-n 24"
SHORT = {
    "bench": f"{FEW} --measures iimm --set iterations=1 batch_size=8 warmup=0",
    "sweep": f"{FEW} --measures iimm --set iterations=1 batch_size=8 warmup=0",
    "study": f"{FEW} --measures iimm --set iterations=1 batch_size=8 warmup=0",
    "measure": FEW,
    "predict": "--measure-n 24",
}
TINY = ROOT / "models" / "tiny" / "open_clip_model.safetensors"
TWO_TASKS = {
    "bench": "--order counting,mnist --heldout digits",
    "sweep": "--orders counting,mnist --heldout digits",
}
WIDTH = 100
CLASSES = ("ash", "birch", "cedar", "elm", "fir", "oak")


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A working directory with PHOTOS: six classes of sixteen images that differ in colour."""
    generator = np.random.default_rng(0)
    for i, name in enumerate(CLASSES):
        (tmp_path / "PHOTOS" / name).mkdir(parents=True)
        for j in range(16):
            noise = generator.integers(0, 60, (40, 50, 3)) + np.array([30 * i, 180 - 30 * i, 15 * i])
            Image.fromarray(noise.astype(np.uint8)).save(tmp_path / "PHOTOS" / name / f"{j}.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    return tmp_path


def blocks(page):
    """Yield (language, title or None, text) of the blocks that are to be executed."""
    for skipped, language, title, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if not skipped:
            yield language, title or None, text


def commands(text):
    """Return the arguments of each `python cli.py` in a block; a backslash continues a line."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line.removeprefix("python cli.py ") for line in lines if line.startswith("python cli.py ")]


def execute(command, model=None):
    """Run a command on few images and with few updates; `model` replaces the tiny one by one that is smaller still."""
    words = [match for word in shlex.split(command) for match in (sorted(glob(word)) if "*" in word else [word])]
    if words[:2] == ["bench", "mtil"] or (words[0] == "sweep" and words[1].startswith("-")):
        words += [] if {"--order", "--orders", "--heldout"} & {*words} else TWO_TASKS[words[0]].split()
    words += SHORT.get(words[0], "").split()
    if "--jobs" in words:
        # Each run of a sweep is a process that imports torch. One seed of each strategy shows the same.
        words[words.index("--seeds") + 1] = "0"
    if model and words[0] in ("bench", "sweep", "check"):
        words += ["--model", str(model)]
    status = cli.main(words)
    assert status == 0, command


@pytest.mark.slow
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial(page, desk, model_directory):
    # The photos' tutorial needs the tiny model: the study that predicts is its own, and it deploys it.
    model = None if page.stem == "own-photos" else model_directory
    for language, title, text in blocks(page):
        if language == "bash":
            for command in commands(text):
                execute(command, model)
        elif title:
            Path(title).write_text(text, encoding="utf-8")
        else:
            exec(compile(text, page.name, "exec"), {"__name__": "__main__"})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["data", "logging", "records"])
def test_the_scripts_of_a_page_work_on_a_run(name, desk, model_directory):
    execute("bench mtil --strategy finetune", model_directory)
    for _, title, text in blocks(ROOT / "docs" / f"{name}.md"):
        if title:
            exec(compile(text, title, "exec"), {"__name__": "__main__"})


@pytest.mark.slow
def test_the_comparison_with_other_code(desk, capsys):
    """The assertions of the script hold. The second block continues the first one."""
    names = {"__name__": "__main__"}
    for language, title, text in blocks(ROOT / "docs" / "other_code.md"):
        if language == "python":
            exec(compile(text, title or "other_code.md", "exec"), names)
    assert capsys.readouterr().out.count("\n") == 8 and names["zscl"].images_seen == 6


@pytest.mark.slow
def test_the_update_of_lora_is_merged(desk):
    from safetensors.torch import load_file

    execute("bench stream --tasks PHOTOS --strategy lora --heldout none")
    ((_, title, text),) = [block for block in blocks(ROOT / "docs" / "checkpoints.md") if block[1]]
    exec(compile(text, title, "exec"), {"__name__": "__main__"})
    assert {name.removeprefix("clip.") for name in load_file("merged.safetensors")} == set(load_file(TINY))


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=lambda path: path.stem)
def test_commands_parse(page):
    parser = cli.parser()
    for *_, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        for command in commands(text):
            parser.parse_args(shlex.split(command))


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda path: path.stem)
def test_no_line_of_a_command_block_is_cut_at_page_width(page):
    texts = [text for _, language, _, text in BLOCK.findall(page.read_text(encoding="utf-8")) if language == "bash"]
    assert [line for text in texts for line in text.splitlines() if len(line) > WIDTH] == []
