"""Small models that are known to work here, with the languages that they are for: the table of docs/models.md.

Languages as the models' own cards list them: those of paraphrase-multilingual-MiniLM-L12-v2 in the card's field
`language`; the 52 that granite-embedding-97m-multilingual-r2 was trained for retrieval in (its encoder has seen 200);
those of XLM-RoBERTa for multilingual-e5-small, as the benchmark MTEB has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model on the hub."""

    name: str
    dimension: int
    languages: frozenset[str]
    """Two-letter codes."""
    prompts: bool
    """True when questions and documents need prompts."""
    licence: str


def _codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


_GRANITE = _codes(
    "sq ar az bn bg ca zh hr cs da nl en et fi fr ka de el he hi hu is id it ja kk km ko lv lt ms mr no fa pl pt ro ru "
    "sr sk sl es sw sv tl te th tr uk ur uz vi"
)
_PARAPHRASE = _codes(
    "ar bg ca cs da de el en es et fa fi fr gl gu he hi hr hu hy id it ja ka ko ku lt lv mk mn mr ms my no nl pl pt ro "
    "ru sk sl sq sr sv th tr uk ur vi zh"
)
_XLM_ROBERTA = _codes(
    "af am ar as az be bg bn br bs ca cs cy da de el en eo es et eu fa fi fr fy ga gd gl gu ha he hi hr hu hy id is it "
    "ja jv ka kk km kn ko ku ky la lo lt lv mg mk ml mn mr ms my ne nl no om or pa pl ps pt ro ru sa sd si sk sl so sq "
    "sr su sv sw ta te th tl tr ug uk ur uz vi xh yi zh"
)

KNOWN = MappingProxyType(
    {
        known.name: known
        for known in (
            KnownModel("sentence-transformers/all-MiniLM-L6-v2", 384, frozenset({"en"}), False, "Apache-2.0"),
            KnownModel("ibm-granite/granite-embedding-97m-multilingual-r2", 384, _GRANITE, False, "Apache-2.0"),
            KnownModel("intfloat/multilingual-e5-small", 384, _XLM_ROBERTA, True, "MIT"),
            KnownModel(
                "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2", 384, _PARAPHRASE, False, "Apache-2.0"
            ),
        )
    }
)
"""In the order in which they are recommended."""
