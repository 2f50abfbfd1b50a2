"""Fetching files politely and whole, from web servers and object stores."""
