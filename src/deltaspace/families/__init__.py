"""How each family of PLM reads a task as text."""

from deltaspace.families.decoder import Decoder
from deltaspace.families.encoder_decoder import EncoderDecoder
from deltaspace.families.family import Batch, Evaluation, Family, Item
from deltaspace.families.masked_encoder import MaskedEncoder
from deltaspace.families.sentence_encoder import SentenceEncoder

FAMILIES: dict[str, type[Family]] = {family.name: family for family in (EncoderDecoder, Decoder, MaskedEncoder, SentenceEncoder)}

__all__ = ["FAMILIES", "Batch", "Decoder", "EncoderDecoder", "Evaluation", "Family", "Item", "MaskedEncoder", "SentenceEncoder"]
