"""Small packages in the real layouts, written as the archives that the clients fetch, and a stand-in for the SVG renderer."""

import gzip
import io
import json
import pickle
import tarfile
import zipfile
import zlib
from itertools import product
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from benchmarks.broad.study_data_rows import STUDY_DATA
from tools import clients
from tools.study_data import characters, emoji, flags, games, icons, svg
from tools.study_data.opening import opener
from tools.study_data.packages import PACKAGES

EACH = 5
"""Pictures of one class in tasks that are divided at random."""
SANS, SERIF = (Path(matplotlib.get_data_path(), "fonts", "ttf", f"DejaVu{kind}.ttf") for kind in ("Sans", "Serif"))


def encoded(picture, kind):
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue()


def noise(*names, size=(16, 12), mode="RGB"):
    """Return a picture that depends on names only: 26 x 10 squares of colour, enlarged."""
    rng = np.random.default_rng([zlib.crc32(str(name).encode()) for name in names])
    squares = Image.fromarray(rng.integers(0, 256, (10, 26, 3), np.uint8))
    return squares.resize(size, Image.Resampling.NEAREST).convert(mode)


def drawing(*names):
    return f'<svg id="{" ".join(map(str, names))}"/>'.encode()


def iconify(package, names, **other):
    collection = {"icons": {name: {"body": f"{package} {name}"} for name in names}, "width": 24, "height": 24, **other}
    return {"package/icons.json": json.dumps(collection).encode()}


def animal_mnist():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 12)
    scans = rng.integers(0, 256, (len(labels), 28, 28), np.uint8)
    scans[1] = scans[0]
    folder = "animal_mnist/data/Animal_MNIST"
    return {
        f"{folder}/animal_data_version_3.gz": gzip.compress(pickle.dumps(scans)),
        f"{folder}/animal_label_version_3.gz": gzip.compress(pickle.dumps(labels)),
    }


def textile_pictures():
    folder = "conformal_clip_data/data/textile_images/simulated"
    return {
        f"{folder}/{kind}/textile_{i:04}.jpg": encoded(noise(kind, i), "JPEG")
        for kind, i in product(("nominal", "global", "local"), range(EACH))
    }


def openmoji(named):
    entries, files = [], {}

    def add(name, group, code, skintone=""):
        entries.append({"annotation": name, "group": group, "hexcode": code, "skintone": skintone})
        files[f"package/color/svg/{code}.svg"] = drawing("openmoji", code)

    for n, name in enumerate(named):
        add(name, "food-drink", f"A{n}")
    for group, i in product(emoji.GROUPS, range(EACH)):
        add(f"{group} {i}", group, f"{group}{i}")
    add("waving hand: dark skin tone", "people-body", "DARK", skintone=5)
    for code in flags.EUROPE:
        points = "-".join(f"{0x1F1E6 + ord(letter) - ord('a'):X}" for letter in code)
        files[f"package/color/svg/{points}.svg"] = drawing("openmoji flag", code)
    files["package/data/openmoji.json"] = json.dumps(entries).encode()
    return files


def flag_icons():
    countries = [{"code": code, "name": code, "continent": "Europe"} for code in flags.EUROPE]
    countries += [
        {"code": f"{k}{i}", "continent": continent} for k, continent in enumerate(flags.CONTINENTS) for i in range(EACH)
    ]
    countries.append({"code": "un", "name": "United Nations"})
    files = {"package/country.json": json.dumps(countries).encode()}
    for shape, country in product(("4x3", "1x1"), countries):
        files[f"package/flags/{shape}/{country['code']}.svg"] = drawing("flag-icons", shape, country["code"])
    return files, [country["code"] for country in countries]


def pychess():
    folder, files = "usr/share/pychess/pieces", {}
    for name in (name for names in games._SETS_OF_SPLIT.values() for name in names):
        if name in ("celtic", "fantasy"):
            files[f"{folder}/{name}/{name}.svg"] = drawing("sheet", name)
            continue
        for colour, piece in product("wb", games.PIECES):
            files[f"{folder}/{name}/{colour}{piece}.svg"] = drawing(name, colour, piece)
    return {**files, f"{folder}/ttf/{games._FONTS[0]}.ttf": SANS.read_bytes()}


def health_icons():
    categories = {
        category: [f"{category}-{i}{style}" for i in range(EACH) for style in ("", "-outline", "-24px")]
        for category in icons.HEALTH.values()
    }
    names = [name for members in categories.values() for name in members]
    return {**iconify("health", names), "package/metadata.json": json.dumps({"categories": categories}).encode()}


def theme(name, folder, contexts, ending):
    content = (lambda *n: encoded(noise(*n), "PNG")) if ending == "png" else drawing
    return {
        f"usr/share/icons/{folder.format(context)}/{context}-{i}.{ending}": content(name, context, i)
        for context, i in product(contexts, range(EACH))
    }


def contents():
    """Return the files of every package by its short name."""
    named = [name for task in ("emoji-animals", "emoji-food") for name in STUDY_DATA[task].classnames]
    slugs = [name.replace(" ", "-") for name in named]
    grouped = [f"{group}-{i}" for group in emoji.GROUPS for i in range(EACH)]
    flag_files, codes = flag_icons()
    european = [f"flag-for-{country}" for country in flags.EUROPE.values()]
    cards = "usr/share/aisleriot/cards"
    contexts = icons.CONTEXTS
    characters_of = {chr(0x4E00 + i): 3 + i % 18 for i in range(18 * EACH)}
    return {
        "animal-mnist": animal_mnist(),
        "textiles": textile_pictures(),
        "flag-icons": flag_files,
        "flagpack": iconify("flagpack", flags.EUROPE),
        "circle-flags": iconify("circle-flags", flags.EUROPE),
        "coreui-flags": iconify("coreui-flags", codes),
        "iso-flags": {f"usr/share/iso-flags-png-320x240/{c}.png": encoded(noise("iso", c), "PNG") for c in flags.EUROPE},
        "openmoji": openmoji(named),
        "emojione": iconify("emojione", ["first", *slugs[1:], *grouped, *european], aliases={slugs[0]: {"parent": "first"}}),
        "emojione-v1": iconify("emojione-v1", slugs),
        "noto-v1": iconify("noto-v1", slugs),
        "hanzi": {
            f"package/{letter}.json": json.dumps({"strokes": [f"M {ord(letter)} {i}" for i in range(count)]}).encode()
            for letter, count in characters_of.items()
        },
        "healthicons": health_icons(),
        "pychess": pychess(),
        "cards": {
            f"{cards}/{deck}.svgz": gzip.compress(drawing("deck", deck))
            for decks in games._DECKS_OF_SPLIT.values()
            for deck in decks
        },
        "noto-fonts": {
            f"{characters._FONT_FOLDER}/Noto{font}-Regular.ttf": (SERIF if font == "Serif" else SANS).read_bytes()
            for font in ("Sans", "Serif", "SansArmenian")
        },
        "openclipart": {
            f"usr/share/openclipart/svg/{folder}/{i}.svg": drawing(folder, i)
            for folder, i in product(icons.CLIP_ART.values(), range(EACH))
        },
        "gnome-icons": theme("gnome", "gnome/48x48/{}", contexts, "png"),
        "tango-icons": theme("tango", "Tango/scalable/{}", contexts, "svg"),
        "oxygen-icons": theme("oxygen", "oxygen/base/48x48/{}", contexts, "png"),
        "elementary-icons": theme("elementary", "elementary-xfce/{}/48", ("actions", "mimes"), "svg"),
    }


def write(path, files, compression="xz"):
    """Write files as a wheel, a Debian package or a tar.gz file, by the ending of the path."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path, "w") as wheel:
            for name, content in files.items():
                wheel.writestr(name, content)
        return
    packed = io.BytesIO()
    mode = f"w:{compression if path.suffix == '.deb' else 'gz'}"
    with tarfile.open(fileobj=packed, mode=mode) as package:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}" if path.suffix == ".deb" else name)
            member.size = len(content)
            package.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("usr/share/link.svg")
        link.type, link.linkname = tarfile.SYMTYPE, "target.svg"
        package.addfile(link)
    data = packed.getvalue()
    if path.suffix != ".deb":
        path.write_bytes(data)
        return
    archive = b"!<arch>\n"
    for name, member in (("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd"), ("data.tar.xz", data)):
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(member):<10}".encode() + b"`\n"
        archive += header + member + b"\n" * (len(member) % 2)
    path.write_bytes(archive)


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A folder with all packages as archives, which are not compressed because compression takes seconds."""
    folder = tmp_path_factory.mktemp("packages")
    for short, files in contents().items():
        write(folder / clients.file_name(PACKAGES[short]), files, compression="")
    return folder


@pytest.fixture
def read(packages, monkeypatch):
    """Read the hand-made packages. SVG pictures are noise that depends on their source; three scripts."""
    for short, package in PACKAGES.items():
        monkeypatch.setitem(PACKAGES, short, package._replace(sha256=""))
    monkeypatch.setattr(svg, "picture", lambda source, width=96: noise(source, size=(width, width // 2), mode="RGBA"))
    scripts = {name: characters.SCRIPTS[name] for name in ("Latin", "Greek", "Armenian")}
    monkeypatch.setattr(characters, "SCRIPTS", scripts)
    monkeypatch.setattr(characters, "_SERIF", ("Greek",))
    monkeypatch.setattr(characters, "MOST_LETTERS", 12)
    monkeypatch.setattr(games, "_CARD_WIDTH", 12)
    monkeypatch.setattr(games, "_FONTS", games._FONTS[:1])
    return opener(packages)


@pytest.fixture
def archive_of(tmp_path):
    """Write files as an archive and return its path."""

    def make(name, files):
        write(tmp_path / name, files)
        return tmp_path / name

    return make
