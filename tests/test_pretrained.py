"""What transformers wrote is loaded through one function, and code that lies beside it is never run."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

import deltaspace
from deltaspace import load_backbone
from deltaspace.errors import DeltaspaceError
from deltaspace.pretrained import load_pretrained
from tests.tiny import save_tiny

SOURCE = Path(deltaspace.__file__).parent


def test_nothing_is_loaded_past_it():
    calls = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("from_pretrained", "from_config")
    }
    assert calls == {"pretrained.py"}


def test_no_option_makes_it_trust_code_or_ask_the_hub():
    class Recorded:
        @staticmethod
        def from_pretrained(folder, **options):
            return options

    given = load_pretrained(Recorded, Path("here"), trust_remote_code=True, local_files_only=False, dtype="float32")
    assert given == {"dtype": "float32", "local_files_only": True, "trust_remote_code": False}


@pytest.mark.parametrize("kind", ["strange", "bert"])
def test_code_in_a_model_s_folder_is_never_run(kind, tmp_path, monkeypatch):
    """Of a model that only the code knows, and of one that transformers knows too: nobody is asked whether to trust it."""
    folder = save_tiny("bert", tmp_path / "model")
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w')\nEvil = EvilConfig = None\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": kind, "auto_map": {"AutoConfig": "evil.EvilConfig", "AutoModelForMaskedLM": "evil.Evil"}}
    (folder / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asks whether to trust the code"))
    if kind == "bert":
        assert load_backbone(str(folder)).family.name == "masked_encoder"
    else:
        with pytest.raises(DeltaspaceError, match="its configuration cannot be used"):
            load_backbone(str(folder))
    assert not (tmp_path / "was_run").exists()
