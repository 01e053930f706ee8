"""Which settings of peft's methods are taken: none that load or run something; from others' files only known ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from deltaspace.errors import DeltaspaceError

# They name modules that are imported, tokenizers or files that are loaded, other models, or weights of the model itself.
LOADING = frozenset(
    """adapters arrow_config auto_mapping corda_config eva_config loftq_config lora_ga_config megatron_config megatron_core
    modules_to_save prompt_tuning_init_state_dict_path prompt_tuning_init_text runtime_config shadow_model tokenizer_kwargs
    tokenizer_name_or_path velora_config""".split()
)
# Methods of which no vector says it all, and why.
REFUSED = {
    "ADALORA": "it changes its ranks while it trains, for every task in another way",
    "CARTRIDGE": "it is made from a text's own keys and values, not from an initial vector",
    "CPT": "its prompts are the examples of one task",
    "MULTITASK_PROMPT_TUNING": "its model asks for a task number beside the text",
    "POLY": "its model asks for a task number beside the text",
    "XLORA": "it mixes LoRAs that are trained already",
}
# With them no vector says what the delta computes, and why.
UNFIT = {
    "alora_invocation_tokens": "it acts behind certain tokens alone, which no task's text has",
    "kasa_config": "it changes the model's own weights",
    "layer_replication": "it gives the model more layers",
    "monteclora_config": "it trains distributions, from which peft's own training draws",
    "sample_at_inference": "it draws other numbers at every call",
}
# How LoRA may begin: in other ways (pissa, olora, corda, loftq, lora_ga) it changes the model's own weights, or (eva) needs data.
_BEGINNINGS = (True, False, "gaussian", "orthogonal", "mica")
# Numbers, names of modules, and switches: all that peft 0.21 has beside those above.
SAFE = frozenset(
    """ab_svd_init act_fn adapter_layers adapter_len alpha alpha_pattern apply_GS bias block_share block_size block_size_pattern
    boft_block_num boft_block_size boft_dropout boft_n_butterfly_factor cayley_neumann_eps coft config_A_B config_C config_D_E
    d_initial decompose_both decompose_factor decomposition_method deft_dropout delora_lambda depth effective_rank
    encoder_dropout encoder_hidden_size encoder_num_layers encoder_reparameterization_type ensure_weight_tying eps
    exclude_modules fan_in_fan_out feedforward_modules frod_dropout generator_seed gralora_dropout gralora_k group_size
    hidden_size hira_dropout hybrid_r init_ia3_weights init_logits_std init_lora_weights init_scale init_theta_d_bound
    init_v_bound init_vector_bank_bound init_weights lambda_pattern layers_pattern layers_to_transform lora_alpha lora_bias
    lora_dropout mask_type mini_r miss_dropout module_dropout n_frequency n_frequency_pattern num_B num_attention_heads
    num_cayley_neumann_terms num_layers num_subspaces num_transformer_submodules num_vectors num_virtual_tokens oft_block_size
    para prefix_projection progressbar proj_seed projection_prng_key projection_seed prompt_tuning_init
    proportional_parameters psoft_alpha psoft_dropout psoft_mag_a psoft_mag_b psoft_orth psoft_svd psoft_svd_lowrank_niter
    pvera_dropout qalora_group_size r randlora_alpha randlora_dropout random_loc_seed random_seed rank_dropout
    rank_dropout_scale rank_pattern regularization_alpha runtime_offload_base_weight save_indices save_only_topk_weights
    save_precomputed_indices save_projection scaling select_top share_embeddings sparse sparse_rate sparsity stride_A
    subspace_rank svd_threshold target_modules target_parameters target_svd_config task_type theta_d_length tinylora_dropout
    token_dim token_indices topk trainable_token_indices u unilora_dropout use_asa use_bdlora use_cayley_neumann use_dora
    use_dynamic_rank use_effective_conv2d use_idwt use_qalora use_rslora variant vblora_dropout vector_length vera_dropout
    very_sparse wavelet_family weight_tying asa_importance_beta asa_schedule_exponent asa_target_subspaces
    asa_uncertainty_beta init_warmup final_warmup mask_interval shadow_alpha shadow_dropout shadow_hidden_size
    shadow_intermediate_size shadow_num_attention_heads shadow_num_hidden_layers update_hidden_size
    auxiliary_loss_weight""".split()
)
# Widths beyond it fit no model; counts and lengths of vectors may be longer.
WIDTH, LENGTH = 65_536, 2**24
_LENGTHS = frozenset("n_frequency vector_length theta_d_length num_vectors".split())


def without_defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says beyond what every file of peft says: nothing that is empty or off, and not where Megatron would be."""
    off = {k for k, v in settings.items() if (k in LOADING or k in UNFIT) and not v}
    return {k: v for k, v in settings.items() if k not in off and (k, v) != ("megatron_core", "megatron.core")}


def check_known(settings: Mapping[str, Any], where: str) -> None:
    """Raise DeltaspaceError unless all settings that a file of somebody else has are known to be numbers, names and switches.

    Args:
        settings: of peft's configuration.
        where: the file, for messages.
    """
    if wrong := _unfit(settings):
        raise DeltaspaceError(
            f"{where}: {wrong[1]}",
            expected="a delta that its parameters say in full, beside the model as it is",
            mend="have peft write it as plain LoRA: save_pretrained(folder, path_initial_model_for_weight_conversion=…)",
        )
    if unknown := sorted(key for key in settings if key not in SAFE):
        loads = unknown[0] in LOADING
        raise DeltaspaceError(
            f"{where}: the setting {unknown[0][:100]} is not taken from a file of others",
            found=repr(settings[unknown[0]])[:200],
            expected="settings that load and run nothing" if loads else "settings of peft that are known to load and run nothing",
            mend="remove it there if the checkpoint does not need it",
        )


def check_in_memory(method: str, settings: Mapping[str, Any], name: str) -> None:
    """Raise DeltaspaceError unless a configuration that was made in Python is of a method, and has settings, that a vector fits.

    Args:
        method: peft's name of it.
        settings: of peft's configuration.
        name: of the configuration's class, for messages.
    """
    refused = f"{name} cannot be attached"
    if method in REFUSED:
        raise DeltaspaceError(
            refused, found=f"{method}: {REFUSED[method]}", mend="choose another method, such as LoraConfig(r=8)"
        )
    if wrong := _unfit(settings):
        key = wrong[0]
        raise DeltaspaceError(
            refused,
            found=wrong[1],
            expected="a delta that its parameters say in full, beside the model as it is",
            mend=f"leave {key} out of the {name}",
        )
    if unknown := sorted(key for key in settings if key not in SAFE):
        raise DeltaspaceError(
            refused,
            found=f"{unknown[0]}={settings[unknown[0]]!r}"[:200],
            expected="settings of peft that load nothing, run nothing, and train nothing but the delta",
            mend=f"leave {unknown[0]} out of the {name}",
        )


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise ValueError where a setting makes peft load or run something, or is a number that fits no model."""
    if loading := sorted(key for key, value in without_defaults(settings).items() if key in LOADING and value):
        raise ValueError(f"{loading[0]} would make peft load or train something else: leave it out")
    if wrong := _unfit(settings):
        raise ValueError(wrong[1])
    if settings.get("prompt_tuning_init") == "TEXT":
        raise ValueError("prompt_tuning_init: TEXT would load a tokenizer; RANDOM or SAMPLE_VOCAB")
    for key, value in _numbers(settings):
        limit = LENGTH if key in _LENGTHS else WIDTH
        if abs(value) > limit and not key.endswith(("seed", "prng_key")):
            raise ValueError(f"{key} is at most {limit:,}, found {value:.3g}")


def _unfit(settings: Mapping[str, Any]) -> tuple[str, str] | None:
    """With which setting no vector says what the delta computes, and why, if that is so."""
    if unfit := sorted(key for key in settings if key in UNFIT and settings[key]):
        return unfit[0], f"with {unfit[0]} it is not one vector: {UNFIT[unfit[0]]}"
    begins = settings.get("init_lora_weights", True)
    if not any(begins is known or (isinstance(begins, str) and begins == known) for known in _BEGINNINGS):
        known = ", ".join(str(beginning).lower() for beginning in _BEGINNINGS)
        key = "init_lora_weights"
        return key, f"{key}: {begins!r:.50} changes the model's own weights, or needs data; there are {known}"
    return None


def _numbers(settings: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for key, value in settings.items():
        for entry in value.values() if isinstance(value, dict) else [value]:
            if isinstance(entry, int):
                yield key, entry
