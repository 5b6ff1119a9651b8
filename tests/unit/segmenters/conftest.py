"""Tiny untrained models of each kind that segments, saved on disk."""

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch


def clip_tokenizer_files(folder: Path) -> None:
    """A CLIP tokenizer whose tokens are letters."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789-'."
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")


def bert_vocabulary(folder: Path) -> Path:
    """A BERT vocabulary of letters, its special tokens numbered as GroundingDINO expects them."""
    tokens = [f"[unused{index}]" for index in range(1100)]
    for index, token in {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}.items():
        tokens[index] = token
    tokens[1012], tokens[1029] = ".", "?"
    letters = "abcdefghijklmnopqrstuvwxyz0123456789-"
    for index, letter in enumerate(letters):
        tokens[200 + index], tokens[300 + index] = letter, f"##{letter}"
    path = folder / "vocab.txt"
    path.write_text("\n".join(tokens))
    return path


def randomise(network: Any, scale: float, seed: int = 0) -> Any:
    """Weights large enough that the answers of an untrained network differ from place to place."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                spread = scale / parameter[0].numel() ** 0.5
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
    return network.eval()


def tiny_sam3_config() -> Any:
    from transformers import Sam3Config

    small = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    return Sam3Config(
        vision_config={
            "backbone_config": {
                **small,
                "model_type": "sam3_vit_model",
                "num_hidden_layers": 2,
                "image_size": 112,
                "patch_size": 14,
                "pretrain_image_size": 56,
                "window_size": 4,
                "global_attn_indexes": [1],
            },
            "fpn_hidden_size": 32,
            "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        },
        text_config={
            **small,
            "num_hidden_layers": 1,
            "vocab_size": 80,
            "projection_dim": 32,
            "max_position_embeddings": 32,
        },
        geometry_encoder_config={**small, "num_layers": 1},
        detr_encoder_config={**small, "num_layers": 1},
        detr_decoder_config={**small, "num_layers": 1, "num_queries": 10},
        mask_decoder_config={"hidden_size": 32, "num_upsampling_stages": 2, "num_attention_heads": 2},
    )


@pytest.fixture(scope="session")
def tiny_sam3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with one untrained SAM 3, saved as the published one is."""
    from transformers import CLIPTokenizer, Sam3ImageProcessor, Sam3Model, Sam3Processor

    folder = tmp_path_factory.mktemp("sam3") / "tiny-sam3"
    folder.mkdir()
    randomise(Sam3Model(tiny_sam3_config()), 2.0).save_pretrained(folder)
    clip_tokenizer_files(folder)
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    Sam3Processor(Sam3ImageProcessor(size={"height": 112, "width": 112}), tokenizer).save_pretrained(folder)
    return folder.parent


@pytest.fixture(scope="session")
def tiny_grounding_dino(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with one untrained GroundingDINO."""
    from transformers import (
        BertTokenizer,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessor,
        GroundingDinoProcessor,
    )

    folder = tmp_path_factory.mktemp("dino") / "tiny-dino"
    folder.mkdir()
    config = GroundingDinoConfig(
        backbone_config={
            "model_type": "swin",
            "embed_dim": 8,
            "depths": [1, 1, 1, 1],
            "num_heads": [1, 2, 2, 2],
            "window_size": 4,
            "image_size": 64,
            "out_indices": [2, 3, 4],
        },
        text_config={
            "model_type": "bert",
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "vocab_size": 1100,
        },
        d_model=64,
        encoder_layers=1,
        encoder_ffn_dim=64,
        encoder_attention_heads=2,
        decoder_layers=2,
        decoder_ffn_dim=64,
        decoder_attention_heads=2,
        num_queries=12,
        max_text_len=256,
    )
    detector = randomise(GroundingDinoForObjectDetection(config), 1.0)
    with torch.no_grad():  # else scores, which are dot products, are all nearly 1
        detector.model.decoder.layer_norm.weight.mul_(0.1)
    detector.save_pretrained(folder)
    tokenizer = BertTokenizer.from_pretrained(bert_vocabulary(folder).parent)
    images = GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 128})
    GroundingDinoProcessor(images, tokenizer).save_pretrained(folder)
    return folder.parent


@pytest.fixture(scope="session")
def tiny_sam2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with one untrained SAM 2 of transformers, named as the published tiny one."""
    from transformers import Sam2Config, Sam2ImageProcessor, Sam2Model, Sam2Processor

    folder = tmp_path_factory.mktemp("sam2") / "sam2.1-hiera-tiny"
    config = Sam2Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": 8,
                "num_attention_heads": 1,
                "image_size": [128, 128],
                "blocks_per_stage": [1, 1, 2, 1],
                "embed_dim_per_stage": [8, 16, 32, 64],
                "num_attention_heads_per_stage": [1, 1, 2, 2],
                "window_size_per_stage": [4, 4, 4, 4],
                "global_attention_blocks": [3],
                "window_positional_embedding_background_size": [4, 4],
            },
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
            "fpn_hidden_size": 32,
        },
        prompt_encoder_config={"hidden_size": 32, "image_size": 128, "mask_input_channels": 4},
        mask_decoder_config={
            "hidden_size": 32,
            "mlp_dim": 64,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 32,
        },
    )
    randomise(Sam2Model(config), 2.0).save_pretrained(folder)
    images = Sam2ImageProcessor(size={"height": 128, "width": 128}, mask_size={"height": 32, "width": 32})
    Sam2Processor(images, target_size=128).save_pretrained(folder)
    return folder.parent


TINY_SAM2_PACKAGE = (
    "model.image_encoder.trunk.embed_dim=8",
    "model.image_encoder.trunk.stages=[1,1,1,1]",
    "model.image_encoder.trunk.global_att_blocks=[]",
    "model.image_encoder.neck.backbone_channel_list=[64,32,16,8]",
    "model.image_encoder.neck.d_model=32",
    "model.image_encoder.neck.position_encoding.num_pos_feats=32",
    "model.memory_attention.d_model=32",
    "model.memory_attention.num_layers=1",
    "model.memory_attention.layer.d_model=32",
    "model.memory_attention.layer.dim_feedforward=64",
    "model.memory_attention.layer.self_attention.embedding_dim=32",
    "model.memory_attention.layer.cross_attention.embedding_dim=32",
    "model.memory_encoder.out_dim=32",
    "model.memory_attention.layer.cross_attention.kv_in_dim=32",
    "model.memory_encoder.position_encoding.num_pos_feats=32",
    "model.memory_encoder.fuser.layer.dim=32",
    "model.image_size=256",
)
"""What makes the package's smallest network a thousand times smaller, and its pictures 16 times."""


@pytest.fixture(scope="session")
def tiny_sam2_package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with sam2.1_hiera_tiny.pt, untrained; until the session ends "tiny" is that tiny."""
    from hydra.utils import instantiate
    from omegaconf import OmegaConf
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    from semantic_focus.segmenters.sam2 import models as sam2_models

    class SmallPicturePredictor(SAM2ImagePredictor):
        """The package's own takes every picture for 1024 pixels wide."""

        def __init__(self, model: Any, **options: Any):
            super().__init__(model, **options)
            self._bb_feat_sizes = [(64, 64), (32, 32), (16, 16)]

    folder = tmp_path_factory.mktemp("sam2-package")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sam2.sam2_image_predictor.SAM2ImagePredictor", SmallPicturePredictor)
        patch.setattr(sam2_models, "OVERRIDES", (*sam2_models.OVERRIDES, *TINY_SAM2_PACKAGE))
        configuration = OmegaConf.merge(
            OmegaConf.load(str(files("sam2") / "configs/sam2.1/sam2.1_hiera_t.yaml")),
            OmegaConf.from_dotlist(list(sam2_models.OVERRIDES)),
        )
        network = instantiate(OmegaConf.select(configuration, "model"), _recursive_=True)
        torch.save({"model": randomise(network, 2.0).state_dict()}, folder / "sam2.1_hiera_tiny.pt")
        yield folder


@pytest.fixture(scope="session")
def tiny_parser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with one untrained SegFormer that names parts as parsers of clothes do."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor

    folder = tmp_path_factory.mktemp("parsers") / "segformer_b2_clothes"
    labels = ("Background", "Hat", "Hair", "Upper-clothes", "Face", "Left-arm", "Bag")
    config = SegformerConfig(
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 8, 16, 16],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
    )
    randomise(SegformerForSemanticSegmentation(config), 3.0).save_pretrained(folder)
    SegformerImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder.parent
