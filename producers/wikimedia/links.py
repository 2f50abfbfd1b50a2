"""Targets of links in wikitext: a page of the wiki, a file, a category, or the same page in another language."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

import msgspec

MEDIA, FILE, CATEGORY = -2, 6, 14
"""Numbers of these namespaces in every wiki."""

ENGLISH_NAMES = {MEDIA: ("media",), FILE: ("file", "image"), CATEGORY: ("category",)}
"""Understood by every wiki, whatever its language."""

_CODES = """
aa ab ace ady af ak als alt am ami an ang ann anp ar arc ary arz as ast atj av avk awa ay az azb ba ban bar bat-smg
bbc bcl bdr be be-tarask be-x-old bew bg bh bi bjn blk bm bn bo bpy br bs btm bug bxr ca cbk-zam cdo ce ceb ch cho
chr chy ckb cmn co cr crh cs csb cu cv cy da dag de dga din diq dk dsb dtp dty dv dz ee egl el eml en eo es et eu
ext fa fat ff fi fiu-vro fj fo fon fr frp frr fur fy ga gag gan gcr gd gl glk gn gom gor got gpe gsw gu guc gur guw
gv ha hak haw he hi hif ho hr hsb ht hu hy hyw hz ia iba id ie ig igl ii ik ilo inh io is it iu ja jam jbo jv ka kaa
kab kbd kbp kcg kg kge ki kj kk kl km kn knc ko koi kr krc ks ksh ku kus kv kw ky la lad lb lbe lez lfn lg li lij
lld lmo ln lo lrc lt ltg lv lzh mad mai map-bms mdf mg mh mhr mi min minnan mk ml mn mni mnw mo mos mr mrj ms mt mus
mwl my myv mzn na nah nan nap nb nds nds-nl ne new ng nia nl nn no nov nqo nr nrm nso nup nv ny oc olo om or os pa
pag pam pap pcd pcm pdc pfl pi pih pl pms pnb pnt ps pt pwn qu rki rm rmy rn ro roa-rup roa-tara rsk ru rue rup rw
sa sah sat sc scn sco sd se sg sgs sh shi shn si simple sk skr sl sm smn sn so sq sr srn ss st stq su sv sw syl szl
ta tay tcy tdd te tet tg th ti tig tk tl tly tn to tok tpi tr trv ts tt tum tw ty tyv udm ug uk ur uz ve vec vep vi
vls vo vro wa war wo wuu xal xh xmf yi yo yue za zea zgh zh zh-cfr zh-classical zh-cn zh-min-nan zh-tw zh-yue zu
"""

LANGUAGES = frozenset(_CODES.split())
"""Prefixes that lead to the same page in another language, and show nothing: the codes of Wikipedia's editions. All
other prefixes, such as `doi:` and `voy:`, make links like any. https://meta.wikimedia.org/wiki/List_of_Wikipedias"""

# A wiki may call its files by names that it does not tell: an export lists no aliases. No page is called like a file.
_FILE_NAME = re.compile(
    r"\.(?:jpe?g|png|gif|svg|tiff?|webp|xcf|bmp|pdf|djvu|og[gav]|opus|webm|mp[34]|mpe?g|wav|flac|midi?|stl)\Z", re.I
)
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_SPACES = re.compile(r"[\s_]+")
_DIRECTION_MARKS = dict.fromkeys(map(ord, "\u200e\u200f\u202a\u202b\u202c\u202d\u202e"))


class Kind(Enum):
    """The place that a link leads to, which decides whether it shows anything."""

    PAGE = "page"
    FILE = "file"
    CATEGORY = "category"
    LANGUAGE = "language"


class Target(NamedTuple):
    """The target of a link; `name` has no colon before it, no anchor, and for a file or a category no prefix."""

    kind: Kind
    name: str


class LinkNames(msgspec.Struct, frozen=True):
    """A wiki's names for its files and its categories, in lower case: `[[Datei:Karte.png]]` is a picture too."""

    file: tuple[str, ...] = ENGLISH_NAMES[FILE]
    category: tuple[str, ...] = ENGLISH_NAMES[CATEGORY]
    media: tuple[str, ...] = ENGLISH_NAMES[MEDIA]
    """For links to the file itself, which show their words."""

    @classmethod
    def of(cls, namespaces: Iterable[tuple[int, str]]) -> LinkNames:
        """Takes numbers and names, aliases included, as a wiki's site info and an export's head have them."""
        names = {number: list(english) for number, english in ENGLISH_NAMES.items()}
        for number, name in namespaces:
            if number in names and (plain := plain_name(name)):
                names[number].append(plain)
        return cls(*(tuple(dict.fromkeys(names[number])) for number in (FILE, CATEGORY, MEDIA)))

    def target(self, title: str) -> Target:
        """The target by its title as it is written; a colon before it makes a link of anything."""
        title = _plain(title)
        if title.startswith(":"):
            return Target(Kind.PAGE, title.lstrip(": "))
        before, colon, name = title.partition(":")
        prefix, name = before.rstrip().casefold(), name.lstrip()
        if not colon or not name:
            return Target(Kind.PAGE, title)
        if prefix in self.category:
            return Target(Kind.CATEGORY, name)
        if prefix in self.file or (":" not in name and prefix not in self.media and _FILE_NAME.search(name)):
            return Target(Kind.FILE, name)
        return Target(Kind.LANGUAGE if prefix in LANGUAGES else Kind.PAGE, title)


ENGLISH = LinkNames()


def plain_name(name: str) -> str:
    """A namespace's name as names are compared: neither case nor underscores make another one."""
    return _plain(name).casefold()


def _plain(title: str) -> str:
    """As the wiki shows it, without the anchor."""
    if "&" in title:
        title = _ENTITY.sub(lambda entity: html.unescape(entity[0]), title)
    title = title.partition("#")[0]
    return _SPACES.sub(" ", title if title.isascii() else title.translate(_DIRECTION_MARKS)).strip()
