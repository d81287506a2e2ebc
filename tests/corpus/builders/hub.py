"""Families of keras-hub in small configurations, as their own tests make them."""

import keras_hub

from tb_ckptmeta import builder

TEXT = {"vocabulary_size": 20, "num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
DECODER = {
    "vocabulary_size": 20,
    "num_layers": 2,
    "num_query_heads": 4,
    "num_key_value_heads": 2,
    "hidden_dim": 8,
    "intermediate_dim": 16,
}


@builder("backbone")
def backbone(family: str):
    return getattr(keras_hub.models, f"{family}Backbone")(**CONFIGURATIONS[family])


CONFIGURATIONS = {
    "Albert": {
        **{k: v for k, v in TEXT.items() if k != "num_layers"},
        "num_layers": 2,
        "embedding_dim": 4,
        "max_sequence_length": 12,
    },
    "Bart": {**TEXT, "max_sequence_length": 12},
    "Bert": {**TEXT, "max_sequence_length": 12},
    "DebertaV3": {**TEXT, "max_sequence_length": 12, "bucket_size": 8},
    "DistilBert": {**TEXT, "max_sequence_length": 12},
    "FNet": {**{k: v for k, v in TEXT.items() if k != "num_heads"}, "max_sequence_length": 12},
    "Gemma": {**DECODER, "head_dim": 4},
    "GPT2": {**TEXT, "max_sequence_length": 12},
    "Llama": DECODER,
    "Mistral": {**DECODER, "sliding_window": 4},
    "T5": TEXT,
    "Whisper": {**TEXT, "num_mels": 8, "max_encoder_sequence_length": 12, "max_decoder_sequence_length": 12},
    "DenseNet": {"stackwise_num_repeats": [2, 2], "growth_rate": 4, "image_shape": (32, 32, 3)},
    "ResNet": {
        "input_conv_filters": [64],
        "input_conv_kernel_sizes": [7],
        "stackwise_num_filters": [64, 64],
        "stackwise_num_blocks": [1, 1],
        "stackwise_num_strides": [1, 2],
        "block_type": "basic_block",
        "image_shape": (32, 32, 3),
    },
    "ViT": {
        "image_shape": (32, 32, 3),
        "patch_size": 8,
        "num_layers": 2,
        "num_heads": 2,
        "hidden_dim": 8,
        "mlp_dim": 16,
    },
}
