"""Keys of the trainer None_Z-image-Turbo_trainer that mean nothing here."""

from collections.abc import Mapping

ORIGIN_SECTIONS = ("advanced", "optimization", "network", "optimizer", "reg_dataset", "controlnet", "general")
"""Sections of the origin trainer alone: what is not read of them is ignored."""
ORIGIN_KEYS: Mapping[str, str] = {
    "model": "dit vae text_encoder vae_path text_encoder_path model_type",
    "lora": "train_adaln train_norm train_single_stream train_refiner resume_training resume_lora_path",
    "acrf": "snr_gamma snr_floor use_anchor use_dynamic_shifting base_shift max_shift enable_turbo raft_mode "
    "free_stream_ratio latent_jitter_scale l2_schedule_mode l2_initial_ratio l2_final_ratio l2_milestones "
    "l2_include_anchor l2_anchor_ratio enable_timestep_aware_loss timestep_high_threshold "
    "timestep_low_threshold enable_curvature lambda_curvature curvature_interval curvature_start_epoch "
    "cfg_training cfg_scale cfg_training_ratio loss_weighting",
    "training": "lr_num_cycles lambda_l1 lambda_cosine lambda_fft enable_freq lambda_freq alpha_hf beta_lf "
    "enable_style lambda_style lambda_struct lambda_light lambda_color lambda_tex loss_mode snr_gamma "
    "snr_floor mixed_precision adafactor_relative_step",
    "dataset": "shuffle enable_bucket num_workers max_sequence_length cache_arch",
}
"""Keys of the origin trainer in sections that we have too, without a meaning here."""
