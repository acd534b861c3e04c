"""Python client of the Longshore API, sync and async."""
