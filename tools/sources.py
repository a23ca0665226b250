"""The npm packages that the tiny CLIP's pretraining pictures come from, with pinned versions. None is used at run time."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import NamedTuple

from tools import clients


class Source(NamedTuple):
    """One npm package. It holds "icons", "logos", "emoji", "font" or "hand" (a handwritten font)."""

    package: str
    version: str
    holds: str
    licence: str


SOURCES: tuple[Source, ...] = (
    Source("@iconify-json/ant-design", "1.2.9", "icons", "MIT"),
    Source("@iconify-json/bi", "1.2.7", "icons", "MIT"),
    Source("@iconify-json/bx", "1.2.3", "icons", "MIT"),
    Source("@iconify-json/carbon", "1.2.29", "icons", "Apache-2.0"),
    Source("@iconify-json/fluent", "1.2.60", "icons", "MIT"),
    Source("@iconify-json/fontisto", "1.2.1", "icons", "MIT"),
    Source("@iconify-json/game-icons", "1.2.4", "icons", "CC-BY-3.0"),
    Source("@iconify-json/healthicons", "1.2.13", "icons", "MIT"),
    Source("@iconify-json/icon-park-outline", "1.2.4", "icons", "Apache-2.0"),
    Source("@iconify-json/iconoir", "1.2.11", "icons", "MIT"),
    Source("@iconify-json/ion", "1.2.7", "icons", "MIT"),
    Source("@iconify-json/lucide", "1.2.137", "icons", "ISC"),
    Source("@iconify-json/maki", "1.2.5", "icons", "CC0-1.0"),
    Source("@iconify-json/material-symbols", "1.2.98", "icons", "Apache-2.0"),
    Source("@iconify-json/mingcute", "1.2.8", "icons", "Apache-2.0"),
    Source("@iconify-json/solar", "1.2.13", "icons", "CC-BY-4.0"),
    Source("@iconify-json/tabler", "1.2.41", "icons", "MIT"),
    Source("@iconify-json/temaki", "1.2.6", "icons", "CC0-1.0"),
    Source("@iconify-json/uil", "1.2.3", "icons", "Apache-2.0"),
    Source("@iconify-json/devicon", "1.2.68", "logos", "MIT"),
    Source("@iconify-json/logos", "1.2.19", "logos", "CC0-1.0"),
    Source("@iconify-json/simple-icons", "1.2.102", "logos", "CC0-1.0"),
    Source("@iconify-json/skill-icons", "1.2.4", "logos", "MIT"),
    Source("@iconify-json/fluent-emoji-flat", "1.2.6", "emoji", "MIT"),
    Source("@iconify-json/noto", "1.2.9", "emoji", "Apache-2.0"),
    Source("@iconify-json/twemoji", "1.2.5", "emoji", "CC-BY-4.0"),
    Source("@fontsource/abril-fatface", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/alegreya", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/amatic-sc", "5.3.0", "hand", "OFL-1.1"),
    Source("@fontsource/anton", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/architects-daughter", "5.3.0", "hand", "OFL-1.1"),
    Source("@fontsource/arvo", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/bebas-neue", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/bitter", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/bungee", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/cabin-sketch", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/cardo", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/caveat", "5.3.0", "hand", "OFL-1.1"),
    Source("@fontsource/coming-soon", "5.3.0", "hand", "Apache-2.0"),
    Source("@fontsource/cormorant", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/courier-prime", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/covered-by-your-grace", "5.3.0", "hand", "OFL-1.1"),
    Source("@fontsource/crimson-text", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/dosis", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/eb-garamond", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/fira-sans", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/gaegu", "5.3.0", "hand", "OFL-1.1"),
    Source("@fontsource/gloria-hallelujah", "5.3.0", "hand", "OFL-1.1"),
    Source("@fontsource/gochi-hand", "5.3.0", "hand", "OFL-1.1"),
    Source("@fontsource/handlee", "5.3.0", "hand", "OFL-1.1"),
    Source("@fontsource/inconsolata", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/indie-flower", "5.3.0", "hand", "OFL-1.1"),
    Source("@fontsource/inter", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/jetbrains-mono", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/josefin-sans", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/just-another-hand", "5.3.0", "hand", "Apache-2.0"),
    Source("@fontsource/kalam", "5.3.0", "hand", "OFL-1.1"),
    Source("@fontsource/lato", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/libre-baskerville", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/lobster", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/lora", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/merriweather", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/montserrat", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/nanum-pen-script", "5.3.0", "hand", "OFL-1.1"),
    Source("@fontsource/neucha", "5.3.0", "hand", "OFL-1.1"),
    Source("@fontsource/nunito", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/old-standard-tt", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/open-sans", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/orbitron", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/oswald", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/pacifico", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/patrick-hand", "5.3.0", "hand", "OFL-1.1"),
    Source("@fontsource/permanent-marker", "5.3.0", "hand", "Apache-2.0"),
    Source("@fontsource/playfair-display", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/press-start-2p", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/quicksand", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/raleway", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/reenie-beanie", "5.3.0", "hand", "OFL-1.1"),
    Source("@fontsource/righteous", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/roboto", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/roboto-mono", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/roboto-slab", "5.3.0", "font", "Apache-2.0"),
    Source("@fontsource/rock-salt", "5.3.0", "hand", "Apache-2.0"),
    Source("@fontsource/schoolbell", "5.3.0", "hand", "Apache-2.0"),
    Source("@fontsource/shadows-into-light", "5.3.0", "hand", "OFL-1.1"),
    Source("@fontsource/source-code-pro", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/space-mono", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/special-elite", "5.3.0", "font", "Apache-2.0"),
    Source("@fontsource/ubuntu", "5.3.0", "font", "UFL-1.0"),
    Source("@fontsource/vt323", "5.3.0", "font", "OFL-1.1"),
    Source("@fontsource/work-sans", "5.3.0", "font", "OFL-1.1"),
)


def fetch(source: Source, folder: Path) -> Path:
    """Return the package's tar file, fetched with `npm pack` if it is missing."""
    return clients.fetch(clients.Package("npm", source.package, source.version, "", source.licence), folder)


def read(archive: Path, ending: str) -> dict[str, bytes]:
    """Return the contents, by base name, of the members of a package whose path ends in `ending`."""
    with tarfile.open(archive) as package:
        return {
            Path(member.name).name: file.read()
            for member in package.getmembers()
            if member.name.endswith(ending) and (file := package.extractfile(member)) is not None
        }
