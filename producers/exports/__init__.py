"""MediaWiki's XML exports: pages as wikitext, and wikitext as prose."""
