"""The language of the project: phrases that make a sentence hard to read do not occur in code or pages.

Run as a script, `python tests/test_words.py PATH ...` prints each place in files and folders.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("benchmarks", "harness", "metrics", "models", "reference_data", "strategies", "tools", "examples")
NOUN = (
    "row|line|file|method|image|folder|bar|figure|page|task|column|measure|name|class|picture|cell|domain|seed|run|table|sentence|"
    "number|value|prompt|step|entry|test|module|batch|plot|tensor|key|example"
)
BANNED = {
    "a heading that is a free relative clause": r"^(What|Which|Who|Whose|Whom|Where|How|Why|Whether|When|From what|As)\b",
    "is no X (write: is not an X)": r"(?<!there )(?<!There )\b(is|are) no (?!longer\b|more\b|less\b)",
    "a row a domain (write: one row per domain)": rf"\b(one|a|an|the|each) ({NOUN}) an? \w+",
    "there is none": r"\b(there is|there are|has|have|is|are|if|where) none\b",
    "an ellipsis": r"what is one\b|if (it|they) (has|have) any\b|\bno such\b",
    "own as filler": r"\bof (its|their|your|his|our|a task's|one's) own\b|\bof (yours|theirs)\b",
    "alone (write: only)": r"\balone\b",
    "goes on (write: continues)": r"\b(go|goes|went|going|gone) on\b",
    "stands (write: is)": r"\b(stands?|stood) (for itself|beside|in|on|at|there|here)\b",
    "lies (write: is)": r"\b(lies|lie|lay|lain) (in|on|at|beside|under)\b",
    "comes along, comes to": r"\bcomes? (along|to it)\b",
    "is said (write: is reported)": r"\b(is|are|was|be|been) said\b",
    "what X says of": r"\b(say|says|said|saying) of\b|\bwhat [\w' ]{1,30} says?\b",
    "anew (write: again)": r"\banew\b",
    "beside (write: next to)": r"\bbeside\b",
    "to the bit (write: bit-exact)": r"\bto the bit\b",
    "no less, none the less": r"\b(no|none the) less\b",
    "that which is": r"\bthat which\b|\bsuch as (have|are|is)\b|\bso many of\b|\bas (it stands|they stand)\b",
    "of what": r"\bof what\b|\bwhat of\b",
    "put right (write: fix)": r"\bput right\b",
    "a matter of": r"\ba matter of\b",
}
PATTERNS = {name: re.compile(pattern) for name, pattern in BANNED.items()}
HEADING = "a heading that is a free relative clause"


def sentences(path: Path) -> Iterator[tuple[int, str, bool]]:
    """Yield (line number, text, whether it is the start of a docstring or heading) of all prose in a file.

    Strings of tests, and the sentences of the mini edition's reference data, are data.
    """
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        code = False
        for number, line in enumerate(text.splitlines(), 1):
            if line.startswith("```"):
                code = not code
            elif not code:
                yield number, line.lstrip("# "), line.startswith("#")
        return
    strings = not path.is_relative_to(ROOT / "tests") and path != ROOT / "benchmarks" / "mini" / "reference.py"
    tree = ast.parse(text)
    docstrings = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            for statement in body:
                if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                    docstrings.add(id(statement.value))
                    if isinstance(statement.value.value, str):
                        first = statement is body[0] and not isinstance(node, ast.If | ast.For | ast.With | ast.Try)
                        yield statement.lineno, " ".join(statement.value.value.split()), first
    if strings:
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and id(node) not in docstrings
                and " " in node.value
            ):
                yield node.lineno, " ".join(node.value.split()), False
    comments: list[tuple[int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            if comments and comments[-1][0] + comments[-1][1].count("\n") + 1 == token.start[0]:
                comments[-1] = (comments[-1][0], comments[-1][1] + "\n" + token.string.lstrip("# "))
            else:
                comments.append((token.start[0], token.string.lstrip("# ")))
    for number, comment in comments:
        yield number, " ".join(comment.split()), False


def found(path: Path) -> list[str]:
    """Return "path:line: kind: the phrase in its surroundings" for every banned phrase in a file."""
    out = []
    for number, text, heading in sentences(path):
        for name, pattern in PATTERNS.items():
            if name == HEADING and not heading:
                continue
            for match in pattern.finditer(text):
                out.append(f"{path}:{number}: {name}: ...{text[max(0, match.start() - 30) : match.end() + 30]}...")
    return out


def files(*roots: Path) -> list[Path]:
    """Return the Python files and pages of folders, in order."""
    return sorted(p for root in roots for p in ([root] if root.is_file() else [*root.rglob("*.py"), *root.rglob("*.md")]))


PROSE = files(*(ROOT / name for name in (*PACKAGES, "docs", "tests", "cli.py", "README.md", "CONTRIBUTING.md")))


@pytest.mark.parametrize("path", [p for p in PROSE if p != Path(__file__)], ids=lambda p: str(p.relative_to(ROOT)))
def test_plain_english(path):
    places = found(path)
    assert not places, "\n".join(places)


def test_the_phrases_are_found(tmp_path):
    path = tmp_path / "code.py"
    path.write_text(
        '"""What a method does."""\n# A file is no folder, it\n# goes on.\nWORDS = "one row a domain", "where there is none"\n',
        encoding="utf-8",
    )
    kinds = [line.split(": ")[1] for line in found(path)]
    assert len(kinds) == 5, kinds


if __name__ == "__main__":
    lines = [line for path in files(*(Path(name).resolve() for name in sys.argv[1:])) for line in found(path)]
    print("\n".join(lines), f"\n{len(lines)} places")


def test_no_conflict_of_a_merge_is_left():
    marks = re.compile("^(<{7} |>{7} |={7}$)", re.MULTILINE)
    roots = [path for path in ROOT.iterdir() if path.is_file() and not path.name.startswith(".")]
    data = [path for path in (ROOT / "reference_data").rglob("*.csv")]
    assert not [path for path in (*PROSE, *roots, *data) if marks.search(path.read_text(encoding="utf-8"))]
    assert marks.search("a\n" + "<" * 7 + " HEAD\n") and marks.search("=" * 7) and not marks.search("=" * 8)
