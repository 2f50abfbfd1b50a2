"""Reads a transformer's `config.json`: how wide its vectors are, and how many tokens it can place."""

from __future__ import annotations

from typing import Any

import msgspec

COUNTED_FROM_PADDING = (
    *("roberta", "camembert", "mpnet", "data2vec-text", "longformer", "luke", "ibert", "layoutlmv3", "lilt"),
    *("markuplm", "xmod", "esm"),
)
"""Kinds whose first position is the padding token's id + 1 (`create_position_ids_from_input_ids` in transformers), so
that a table of 514 positions takes 512 tokens."""

PADDING_OF_ROBERTA = 1
"""Where such a model's file does not say it."""

UNBOUNDED = ("rope", "rotary", "alibi")
"""In the name of a setting: positions are computed, not looked up, so a longer text is worse but no error."""

LOOKED_UP = ("absolute", "relative_key", "relative_key_query")


class Network(msgspec.Struct):
    """`config.json`; a multimodal model has the text model's under `text_config`."""

    model_type: str = ""
    hidden_size: int | None = None
    d_model: int | None = None
    dim: int | None = None
    n_embd: int | None = None
    max_position_embeddings: int | None = None
    position_embedding_type: str | None = None
    relative_attention: bool = False
    position_biased_input: bool = True
    pad_token_id: object = None
    computed_positions: bool = False
    """Filled in by `network_of`, from the names of the other settings."""

    @property
    def width(self) -> int | None:
        return self.hidden_size or self.d_model or self.dim or self.n_embd

    @property
    def positions(self) -> int | None:
        """Positions that the model was made for, whether or not it can do without."""
        if self.max_position_embeddings is None or self.max_position_embeddings <= 0:
            return None
        if not any(kin in self.model_type for kin in COUNTED_FROM_PADDING):
            return self.max_position_embeddings
        padding = self.pad_token_id if isinstance(self.pad_token_id, int) else PADDING_OF_ROBERTA
        return self.max_position_embeddings - padding - 1

    @property
    def most_tokens(self) -> int | None:
        """Tokens beyond which the model fails, for its table of positions ends there; None without such a table."""
        looked_up = (self.position_embedding_type or "absolute") in LOOKED_UP
        biased = self.position_biased_input or not self.relative_attention  # DeBERTa has no table without
        return self.positions if looked_up and biased and not self.computed_positions else None


def network_of(settings: dict[str, Any]) -> Network:
    """The network of a `config.json`'s contents.

    Raises:
        msgspec.ValidationError: a setting is not what it should be.
    """
    text = settings.get("text_config")
    own = text if isinstance(text, dict) else settings
    network = msgspec.convert(own, Network)
    network.computed_positions = any(
        word in name.lower() and value not in (None, False) for name, value in own.items() for word in UNBOUNDED
    )
    return network
