"""The two task orders of MTIL (ZSCL, 2303.06628): I is alphabetical, II is the paper's second one."""

from __future__ import annotations

ORDER_I = (
    "Aircraft", "Caltech101", "CIFAR100", "DTD", "EuroSAT", "Flowers", "Food", "MNIST", "OxfordPet", "StanfordCars", "SUN397",
)  # fmt: skip
ORDER_II = (
    "StanfordCars", "Food", "MNIST", "OxfordPet", "Flowers", "SUN397", "Aircraft", "Caltech101", "DTD", "EuroSAT", "CIFAR100",
)  # fmt: skip
ORDERS: dict[str, tuple[str, ...]] = {"I": ORDER_I, "II": ORDER_II}
