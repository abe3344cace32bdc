"""A small GPT-2 on Python's own documentation: what stage costs do to the depth of a language model."""
