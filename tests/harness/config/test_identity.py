"""The identity of a run and its key do not change, so that the folders of older runs are found again.

`identities.json` was recorded once. To record it again after an intended change of a default, run this file as a script.
"""

import json
from pathlib import Path

import pytest

from harness.config.resolve import outline
from harness.config.run_config import RunConfig
from harness.records.run_json import key_of

RECORDED = Path(__file__).parent / "identities.json"
# Digests of shipped files and drawn data, which may change for other reasons.
DIGESTS = ("weights_sha256", "data_version", "reference_version")
CONFIGURATIONS = {
    "mtil": RunConfig(),
    "mtil II, lora": RunConfig(
        "mtil", "lora", order="II", seed=3, limit=40, shots=5, measure_n=50, heldout=(),
        options={"iterations": "7", "lr": "0.01", "tuning.rank": "4"},
    ),
    "mtil full": RunConfig("mtil", "wise-ft", edition="full", order="II", data_root="nowhere"),
    "precision and measures": RunConfig("mtil", "finetune", precision="bf16", measures=("gbc", "cka"), microbatch=4, workers=3),
    "default measures by name": RunConfig(
        "mtil", "finetune",
        measures=("cka", "iimm", "iimm_intra", "iimm_inter", "silhouette", "correct_pair"), precision="fp32",
    ),
    "custom order": RunConfig("mtil", "icarl", order=("shapes", "digits"), protocol="agnostic", tuning="visual"),
    "cil": RunConfig("cil", "zscl", steps=2),
    "cil from a base": RunConfig("cil", "lwf", dataset="nature", base=6, steps=4, protocol="task"),
    "stream with plugins": RunConfig(
        "stream", "finetune", tasks=("digits", "letters"), heldout=("shapes",), plugins=("ewc",),
        options={"ewc.ewc_lambda": "3", "batch_size": "8"}, checkpoint_minutes=0.0, cache=False, out="elsewhere", fresh=True,
    ),
}  # fmt: skip


def recorded(config):
    """Return the identity without digests of files, its key, and the name of the run's folder without the key."""
    resolved = outline(config)
    identity = {name: "digest" if name in DIGESTS and value else value for name, value in resolved.identity().items()}
    folder = f"{resolved.folder.parent.name}/{resolved.strategy_slug}"
    return json.loads(json.dumps({"key": key_of(identity), "folder": folder, "identity": identity}))


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_identity_and_key_are_those_of_older_runs(name):
    assert recorded(CONFIGURATIONS[name]) == json.loads(RECORDED.read_text(encoding="utf-8"))[name]


if __name__ == "__main__":
    RECORDED.write_text(json.dumps({name: recorded(c) for name, c in CONFIGURATIONS.items()}, indent=1) + "\n", "utf-8")
