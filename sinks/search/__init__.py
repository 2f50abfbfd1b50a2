"""Search over a table, for programs and for `python -m sinks.search`.

from sinks.search import Filters, Search

with Search.open(table="wikipedia") as search:
    answer = search.answer("who built the lighthouse?", filters=Filters(wiki=("enwiki",)))
    for hit in answer.hits:
        print(hit.title, hit.text)
"""

from sinks.search.answers import Answer, By, Hit, LegReport, Mode, Passage
from sinks.search.filters import Filters
from sinks.search.opening import SearchOptions
from sinks.search.search import Search

__all__ = ["Answer", "By", "Filters", "Hit", "LegReport", "Mode", "Passage", "Search", "SearchOptions"]
