"""vLLM's resolver, in vLLM's own registry. The model runner is not started: what it loads is compared as tensors."""

from __future__ import annotations

import asyncio
from importlib.metadata import entry_points

import pytest
import torch

pytest.importorskip("vllm", reason="vLLM is not installed")

from vllm.config.lora import LoRAConfig
from vllm.lora.lora_model import LoRAModel
from vllm.lora.peft_helper import PEFTHelper
from vllm.lora.resolver import LoRAResolverRegistry

from deltaspace.errors import DeltaspaceError
from deltaspace.serving import LoraFolders, vllm_resolver
from tests.serving.test_lora_folders import space


@pytest.fixture
def resolver(tmp_path, monkeypatch):
    """The resolver as vLLM has it, after its own start."""
    _, _, subspace = space(tmp_path)
    monkeypatch.setattr(LoRAResolverRegistry, "resolvers", {})
    monkeypatch.setenv("DELTASPACE_SUBSPACE", str(tmp_path / "space"))
    monkeypatch.setenv("DELTASPACE_LORA_CACHE", str(tmp_path / "cache"))
    vllm_resolver.register()
    return LoRAResolverRegistry.get_resolver("deltaspace"), str(tmp_path / "model"), subspace


def resolve(resolver, model, name):
    return asyncio.run(resolver.resolve_lora(model, name))


def test_vllm_loads_what_the_space_decodes(resolver):
    resolver, base, subspace = resolver
    request = resolve(resolver, base, "y")
    helper = PEFTHelper.from_local_dir(request.lora_path, None)
    helper.validate_legal(LoRAConfig())
    loaded = LoRAModel.from_local_checkpoint(request.lora_path, {"q_proj", "v_proj"}, helper, device="cpu", dtype=torch.float32)
    expected = dict(zip(resolver.folders.writer().layout.entries, range(99), strict=False))
    parts = resolver.folders.writer().layout.split(subspace.decode("lora", subspace.vector("y")))
    assert len(expected) == len(parts) == 2 * len(loaded.loras)
    for name, lora in loaded.loras.items():
        weights = [parts[f"base_model.model.{name}.lora_{side}.weight"] for side in "AB"]
        update = helper.vllm_lora_scaling_factor * weights[1] @ weights[0]
        torch.testing.assert_close(lora.scaling * lora.lora_b @ lora.lora_a, update)


def test_names_as_vllm_expects_them(resolver, tmp_path):
    resolver, base, subspace = resolver
    first = resolve(resolver, base, "x")
    assert first.lora_name.startswith("x@") and first.lora_int_id >= 1
    assert resolve(resolver, base, first.lora_name) == first
    assert resolve(resolver, base, "nothing") is None and resolve(resolver, "another/model", "x") is None
    subspace.vectors.add("x", "lora", torch.ones(3))
    from deltaspace.subspace import save_subspace

    save_subspace(subspace, tmp_path / "space")
    second = resolve(resolver, base, "x")
    assert second != first and second.lora_path != first.lora_path


def test_other_requests_go_on_while_it_decodes(resolver, monkeypatch):
    resolver, base, _ = resolver
    import threading

    going = threading.Event()
    find = resolver.folders.find
    monkeypatch.setattr(resolver.folders, "find", lambda name: going.wait(60) and find(name))

    async def both():
        asked = asyncio.create_task(resolver.resolve_lora(base, "x"))
        await asyncio.sleep(0)
        going.set()
        return await asked

    assert asyncio.run(both()).lora_name.startswith("x@")


def test_limits_are_checked_with_the_reason(tmp_path, monkeypatch):
    space(tmp_path, ("wide",))
    folders = LoraFolders(tmp_path / "space")
    vllm_resolver.check_limits(folders, 4, None)
    with pytest.raises(DeltaspaceError, match=r"higher rank(.|\n)*rank 4(.|\n)*at most 2(.|\n)*--max-lora-rank 4"):
        vllm_resolver.check_limits(folders, 2, None)
    with pytest.raises(DeltaspaceError, match=r"leaves alone(.|\n)*down_proj"):
        vllm_resolver.check_limits(folders, 4, ["q_proj", "v_proj"])
    monkeypatch.setenv("DELTASPACE_SUBSPACE", str(tmp_path / "space"))
    for name, value, message in (
        ("DELTASPACE_MAX_LORA_RANK", "2", "higher rank"),
        ("DELTASPACE_MAX_LORA_RANK", "two", "is no number"),
        ("DELTASPACE_TARGET_MODULES", "q_proj, v_proj", "leaves alone"),
    ):
        with monkeypatch.context() as patched:
            patched.setenv(name, value)
            with pytest.raises(DeltaspaceError, match=message):
                vllm_resolver.register()


def test_without_a_subspace_nothing_is_registered(monkeypatch):
    monkeypatch.setattr(LoRAResolverRegistry, "resolvers", {})
    monkeypatch.delenv("DELTASPACE_SUBSPACE", raising=False)
    vllm_resolver.register()
    assert not LoRAResolverRegistry.get_supported_resolvers()


def test_vllm_finds_it():
    named = [entry.value for entry in entry_points(group="vllm.general_plugins") if entry.name == "deltaspace"]
    assert named in ([], ["deltaspace.serving.vllm_resolver:register"])  # none where this checkout is not installed
