"""The packages that the tasks are made of, pinned by version and SHA-256."""

from __future__ import annotations

from tools.clients import Package

PACKAGES: dict[str, Package] = {
    "animal-mnist": Package(
        "pypi", "animal-mnist", "0.4", "aeebf3d9de4552d6fd2d5701424e1a5b9020f8e5115d68df9db252f2f53ce2ce", "MIT"
    ),
    "textiles": Package(
        "pypi", "conformal-clip-data", "0.1.4", "00144ccc179a887dbea15923be8cf236d0c0f49bf7fb6f7bb288e40b53fb1bcb", "MIT"
    ),
    "flag-icons": Package(
        "npm", "flag-icons", "7.5.0", "c0b80bf0e08006a60f56621d6bc49f8c7131f4d1fef6737a165a673431f4b518", "MIT"
    ),
    "flagpack": Package(
        "npm", "@iconify-json/flagpack", "1.2.8", "165ea189ef6ee00b8c10d66c0a2702a6afe1d89d7feafdc3a02a459d65580483", "MIT"
    ),
    "circle-flags": Package(
        "npm", "@iconify-json/circle-flags", "1.2.11", "ee9a03f6a6fdd79cc6325bdcb7bb93b83d331e60b16e226188f154a64b6bb4a9", "MIT"
    ),
    "coreui-flags": Package(
        "npm", "@iconify-json/cif", "1.2.7", "804801450b77e3b2c9a2b716fb45b44ee2a97e702e21ac6bca6358d0f7eb13c8", "CC0-1.0"
    ),
    "iso-flags": Package(
        "debian",
        "iso-flags-png-320x240",
        "1.0.2-2",
        "991cd465a366c38713e5ef1409c279841f64ce1043f21c6f064cb4516787aba0",
        "public domain",
    ),
    "openmoji": Package(
        "npm", "openmoji", "17.0.0", "55ee7d13485dec86e9f38c1f3a645a13382d33ff97c0cd845ee824b0aef45e68", "CC-BY-SA-4.0"
    ),
    "emojione": Package(
        "npm",
        "@iconify-json/emojione",
        "1.2.3",
        "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e",
        "CC-BY-4.0",
    ),
    "emojione-v1": Package(
        "npm",
        "@iconify-json/emojione-v1",
        "1.2.3",
        "6641d59d48a42823fdc2b84e7427e9f302944eb98d2c7d94d6e67c139e7b37b3",
        "CC-BY-SA-4.0",
    ),
    "noto-v1": Package(
        "npm",
        "@iconify-json/noto-v1",
        "1.2.5",
        "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37",
        "Apache-2.0",
    ),
    "hanzi": Package(
        "npm",
        "hanzi-writer-data",
        "2.0.1",
        "72baf3d82b114e60d6e40ea05f24d2262a05cd39d544e2f322ba2fceb7beff15",
        "Arphic Public License",
    ),
    "healthicons": Package(
        "npm", "@iconify-json/healthicons", "1.2.13", "4c2552c45737788a6599da3c5b72610c7fb4e7f87075d401c56fa16d487d4caf", "MIT"
    ),
    "pychess": Package(
        "debian", "pychess", "1.0.3-1", "63bd95b5445365566eade8122d64ba3d28e38b167bb791db479654b3291698a5", "GPL-3.0-or-later"
    ),
    "cards": Package(
        "debian",
        "gnome-cards-data",
        "1:3.22.23-1",
        "54ef445826dd7701d3ea83f999fbc8f058d304b714732425b23cde5c632596e0",
        "GPL-3.0-or-later",
    ),
    "noto-fonts": Package(
        "debian", "fonts-noto-core", "20201225-1", "58f4f0bb6720f919f92096b3508e1412a0f1544424ade6c5b5bf1eb694dd64ba", "OFL-1.1"
    ),
    "openclipart": Package(
        "debian",
        "openclipart-svg",
        "1:0.18+dfsg-19",
        "989712d90d57dfa3230049f553bb43b76c30ee4d4b8c5f6e106e33f7db5cbdc5",
        "public domain",
    ),
    "gnome-icons": Package(
        "debian",
        "gnome-icon-theme",
        "3.12.0-5",
        "243520edcff2c309065b7e12ae08f666580e6098ecafa0c0f7d28c75aedcfdc3",
        "GPL-2.0-or-later",
    ),
    "tango-icons": Package(
        "debian",
        "tango-icon-theme",
        "0.8.90-11",
        "dff317aca52fde744b884a02dd9fc2702a0cc6aaecc22271b5abf6906cd90b94",
        "public domain",
    ),
    "oxygen-icons": Package(
        "debian",
        "oxygen-icon-theme",
        "5:5.103.0-1",
        "3e49023e148906e41457a98a19a09858ddd761ef4f212fa356232924b3cebcce",
        "LGPL-3.0-or-later",
    ),
    "elementary-icons": Package(
        "debian",
        "elementary-xfce-icon-theme",
        "0.17-1",
        "012bd2eda0e19b162b9cdc167e904a4a4254f7c2e6409862d0f29a56d3630b75",
        "GPL-2.0-or-later, CC-BY-SA-2.0",
    ),
}
"""The packages by the short names that `recipes.py` uses."""
